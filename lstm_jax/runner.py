"""The one loop: load, place members, run segments, show progress, store. Drives everything else."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from lstm_jax import checkpoints, environment, store
from lstm_jax.config import (
    DivergedError,
    Experiment,
    Interrupted,
    SurroundingsError,
    UserError,
)
from lstm_jax.data import Dataset, Split, load
from lstm_jax.memory import needed, refuse_what_does_not_fit
from lstm_jax.record import Run, now, open_run, run_directory, session, take_over
from lstm_jax.screen import Meter, Tick, metered, say, show_results
from lstm_jax.search import Round
from lstm_jax.sweep import (
    Placement,
    Programs,
    build,
    name_arrays,
    place,
    stack_members,
    tile_of,
)
from lstm_jax.tensorboard import Scalars
from lstm_jax.train import Metrics, TrainState

Stop = Callable[[], str | None]  # why to stop after this segment, if so


def run(
    name: str,
    experiment: Experiment,
    console: Console,
    *,
    runs_dir: Path,
    segment_steps: int,
    fallback: str | None = None,
    max_minutes: float | None = None,
    tensorboard: bool = False,
) -> Path:
    """Trains what is not yet trained and returns the run directory.

    Raises UserError, SurroundingsError, DivergedError (when no member is left) and Interrupted.
    """
    directory = run_directory(runs_dir, name, experiment)
    dataset = None
    if not directory.exists():
        name, experiment, dataset = load_data(name, experiment, fallback, console)
        directory = run_directory(runs_dir, name, experiment)
    with store.locked(directory):
        current = open_run(name, experiment, directory, console, segment_steps)
        if current.next_round() is not None:
            if dataset is None:
                _, _, dataset = load_data(name, experiment, None, console)
            with _reasons_to_stop(max_minutes) as stop, _mirrored(current, tensorboard):
                _train(current, dataset, stop)
        else:
            current.say("already finished; move the run directory away to train it again")
        results = list(current.results.values())
        store.write_csv(directory / "results.csv", results + current.dropped)
        rows = [row for row in store.read_metrics(directory) if row["member"] in current.results]
        show_results(console, results, current.dropped, rows, experiment.log_every)
        current.say(f"{name} lies in {directory}")
    if all(result["diverged_at"] is not None for result in results):
        raise DivergedError(
            f"the loss of every member stopped being finite; see {directory}", directory
        )
    return directory


def load_data(
    name: str, experiment: Experiment, fallback: str | None, console: Console
) -> tuple[str, Experiment, Dataset]:
    """The data set, or in plain sight the fallback: then name and experiment carry its name."""
    tell = partial(say, console)
    try:
        dataset = load(experiment.dataset, tell, experiment.reading)
    except SurroundingsError as error:
        if fallback is None or fallback == experiment.dataset:
            raise
        tell(f"{error}")
        tell(f"FALLING BACK to the data set {fallback}: these are not the results of {name}")
        name, experiment = f"{name}-{fallback}", replace(experiment, dataset=fallback)
        dataset = load(fallback, tell, experiment.reading)
    if experiment.batch_size > len(dataset.train.labels):
        raise UserError(
            f"batch_size: {experiment.batch_size} is more than the {len(dataset.train.labels):,} "
            f"training examples of {dataset.name}"
        )
    rows, features = dataset.image_shape
    if experiment.shift and not (
        rows == features or (features == 3 * rows and experiment.reading == "rows")
    ):
        raise UserError(
            f"shift: needs square images, grey or, by rows, in colour; {dataset.name} has "
            f"{rows} x {features}, reading {experiment.reading}"
        )
    return name, experiment, dataset


@contextmanager
def _reasons_to_stop(max_minutes: float | None) -> Iterator[Stop]:
    """SIGINT, SIGTERM or the end of the time: a segment ends and is saved. A second signal acts at
    once.
    """
    seen: list[int] = []
    deadline = np.inf if max_minutes is None else time.monotonic() + 60 * max_minutes

    def note(number: int, _frame: Any) -> None:
        seen.append(number)
        signal.signal(number, before[number])

    def stop() -> str | None:
        if seen:
            return "stopped"
        return f"{max_minutes:g} minutes are over: stopped" if time.monotonic() > deadline else None

    before: dict[int, Any] = {
        number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _mirrored(current: Run, tensorboard: bool) -> Iterator[None]:
    """The run's metrics also go to TensorBoard, if they shall."""
    if not tensorboard:
        yield
        return
    current.scalars = Scalars(current.directory)
    try:
        yield
    finally:
        current.scalars.close()


def _train(current: Run, dataset: Dataset, stop: Stop) -> None:
    """Round after round, from wherever the run stands to its end."""
    experiment = current.experiment
    identity = environment.identity(dataset.fingerprint)
    current.note_data(dataset)
    with session(current, identity) as entry, metered(current.console, experiment) as meter:
        current.decide()  # of a rung after which the run was killed
        meter.skip(current.steps_scored())
        meter.members_done = current.members_done
        while (found := current.next_round()) is not None:
            taken = take_over(current, identity, found.members)
            meter.skip(dict.fromkeys(taken, experiment.num_steps))
            meter.members_done += len(taken)
            _train_round(current, found, dataset, meter, stop)
            current.decide()
            meter.members_done = current.members_done
        entry["examples_per_second"] = round(meter.rate)


def _train_round(current: Run, found: Round, dataset: Dataset, meter: Meter, stop: Stop) -> None:
    """Trains the members of a round to its step, each from wherever it stands, and scores them."""
    experiment, scores, scored = current.experiment, current.scores, current.steps_scored()
    platform = jax.default_backend()
    spread = partial(
        place,
        num_devices=len(jax.devices()),
        chunks=experiment.chunks,
        tile=tile_of(platform),
    )
    members = [m for m in found.members if (m, found.until) not in scores]
    for placement in spread(members):
        need = needed(experiment, placement, dataset, platform)
        refuse_what_does_not_fit(need, len(placement.members), platform)
    wanted = {member: current.digest(member) for member in members}
    saved = checkpoints.load(current.directory, wanted.values(), current.say)
    start = {m: saved[d].step if d in saved else 0 for m, d in wanted.items()}
    store.trim_metrics(current.directory, {d: start[m] for m, d in wanted.items()})
    resumed = {m: step for m, step in start.items() if step > scored.get(m, 0)}
    if resumed:
        current.say(
            f"resuming {len(resumed)} of {len(members)} members from step {min(resumed.values())}"
        )
        meter.skip({m: step - scored.get(m, 0) for m, step in resumed.items()})
    for step in sorted(set(start.values())):
        for placement in spread(m for m in members if start[m] == step):
            programs = build(experiment, placement, dataset, current.segment_steps)
            state = _first_state(current, placement, programs, saved if step else {})
            before = {saved[wanted[m]].identity for m in placement.members} if step else set()
            identity = environment.digest(current.record["identity"])
            if before - {identity}:
                identity = "mixed"  # no other run shall take its members for its own
            state = _advance(
                current, placement, programs, state, (step, found.until), identity, meter, stop
            )
            if found.until < experiment.num_steps:
                rows = _scores(current, placement, programs, state, found.until, dataset.validation)
                current.note_rung(found.until, rows)
            else:
                _finish(current, placement, programs, state, dataset, identity)
                meter.members_done += len(placement.members)


def _first_state(
    current: Run, placement: Placement, programs: Programs, saved: dict[str, checkpoints.Saved]
) -> TrainState:
    """The members' initial state, or the one they were saved in."""
    state = programs.init()
    if not saved:
        return state
    try:
        rows = [saved[current.digest(member)].arrays for member in placement.rows]
        return programs.load(stack_members(state, rows))
    except ValueError as error:
        raise SurroundingsError(
            f"{current.directory} holds checkpoints of another version ({error}); move it away "
            "to start anew"
        ) from error


def _advance(
    current: Run,
    placement: Placement,
    programs: Programs,
    state: TrainState,
    span: tuple[int, int],
    identity: str,
    meter: Meter,
    stop: Stop,
) -> TrainState:
    """Segment by segment over a span of steps, each followed by its metrics and a checkpoint."""
    step, until = span
    experiment = current.experiment
    digests = tuple(current.digest(member) for member in placement.members)
    state, _ = programs.segment(state, step, step)  # no steps: compiles before the clock starts
    meter.start()
    while step < until:
        end = min(step + current.segment_steps, until)
        state, metrics = jax.block_until_ready(programs.segment(state, step, end))
        rows = metric_rows(digests, metrics, step, end, experiment.log_every)
        current.log(rows)
        arrays = {n: np.asarray(leaf)[: len(digests)] for n, leaf in name_arrays(state).items()}
        checkpoints.save(current.directory, end, digests, arrays, identity)
        loss, accuracy = (float(np.mean(m[: len(digests), end - step - 1])) for m in metrics[:2])
        done = (end - step) * len(digests)
        meter.tick(Tick(placement.hidden_size, done, end, loss, accuracy))
        step = end
        if step < experiment.num_steps and (why := stop()):
            raise Interrupted(f"{why} after step {step}, saved; the same command goes on")
    return state


def metric_rows(
    digests: tuple[str, ...], metrics: Metrics, start: int, stop: int, every: int
) -> list[dict[str, Any]]:
    """A row for each member and each step that is a multiple of `every`; null if not finite."""
    columns = {name: np.asarray(column) for name, column in metrics._asdict().items()}

    def number(name: str, row: int, step: int) -> float | None:
        value = float(columns[name][row, step - start])
        return value if np.isfinite(value) else None

    return [
        {"member": digest, "step": step, **{name: number(name, row, step) for name in columns}}
        for step in range(start, stop)
        if step % every == 0
        for row, digest in enumerate(digests)
    ]


def _scores(
    current: Run,
    placement: Placement,
    programs: Programs,
    state: TrainState,
    steps: int,
    validation: Split,
    **more: Split,
) -> dict[str, dict[str, Any]]:
    """A row for each member, by its digest: who it is and how it does, on validation and `more`."""
    splits = {"validation": validation, **more}
    scores = {name: programs.score(state.params, split) for name, split in splits.items()}
    rows = {}
    for index, member in enumerate(placement.members):
        bad = int(state.diverged_at[index])
        row: dict[str, Any] = {
            **asdict(member),
            "steps": steps,
            "diverged_at": None if bad < 0 else bad,
        }
        for name, split in splits.items():
            row[f"{name}_accuracy"] = int(scores[name].correct[index]) / len(split.labels)
            loss = float(scores[name].loss[index])
            row[f"{name}_loss"] = loss if np.isfinite(loss) else None
        rows[current.digest(member)] = row
    return rows


def _finish(
    current: Run,
    placement: Placement,
    programs: Programs,
    state: TrainState,
    dataset: Dataset,
    identity: str,
) -> None:
    """Scores validation and test, once, and records the members as finished."""
    steps = current.experiment.num_steps
    rows = _scores(
        current, placement, programs, state, steps, dataset.validation, test=dataset.test
    )
    params = {name: np.asarray(leaf) for name, leaf in name_arrays(state.params).items()}
    for index, row in enumerate(rows.values()):
        row["parameters_sha256"] = checkpoints.fingerprint({k: v[index] for k, v in params.items()})
        row["identity"] = identity
        row["finished"] = now()
        row["from"] = None  # or the sibling directory it was taken over from
    current.results.update(rows)
    current.save_record()
    if current.scalars:
        current.scalars.finish(rows)
