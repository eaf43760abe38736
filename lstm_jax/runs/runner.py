"""The one loop: load, place members, run segments, show progress, store. Drives everything else."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from lstm_jax.runs import checkpoints
from lstm_jax.runs import environment
from lstm_jax.runs import store
from lstm_jax.errors import DivergedError, Interrupted, SurroundingsError, UserError
from lstm_jax.experiment import Experiment, Member
from lstm_jax.data.load import Dataset, Split, load
from lstm_jax.train.memory import needed, refuse_what_does_not_fit
from lstm_jax.runs.record import Run, now, open_run, run_directory, session, take_over
from lstm_jax.runs.results import finite, metric_rows, parameter_digests, score_rows
from lstm_jax.runs.screen import Meter, Tick, metered, say, show_results
from lstm_jax.search import Round
from lstm_jax.train.sweep import (
    Placement,
    Programs,
    build,
    name_arrays,
    place_here,
    refuse_absent_backend,
    stack_members,
)
from lstm_jax.runs.tensorboard import Scalars
from lstm_jax.train.step import TrainState

Stop = Callable[[], str | None]  # why to stop after this segment, if so


@dataclass
class Cohort:
    """Members trained side by side, by their digests, and how far they are."""

    hidden_size: int
    members: dict[str, Member]
    programs: Programs
    identity: str  # under which they were trained so far; see `checkpoints.Saved`
    state: TrainState  # consumed by the next segment
    step: int
    seconds: np.ndarray  # of training so far, by member: its share of what all took; nan: not known


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
    refuse_absent_backend(experiment)
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
    members = [m for m in found.members if (m, found.until) not in scores]
    for placement in place_here(experiment, members):
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
        for placement in place_here(experiment, (m for m in members if start[m] == step)):
            cohort = _begin(current, placement, dataset, saved if step else {}, step)
            _advance(current, cohort, found.until, meter, stop)
            if found.until < experiment.num_steps:
                current.note_rung(found.until, _scores(cohort, validation=dataset.validation))
            else:
                _finish(current, cohort, dataset)
                meter.members_done += len(placement.members)


def _begin(
    current: Run,
    placement: Placement,
    dataset: Dataset,
    saved: dict[str, checkpoints.Saved],
    step: int,
) -> Cohort:
    """The members of a placement in their initial state, or in the one they were saved in."""
    programs = build(current.experiment, placement, dataset, current.segment_steps)
    members = {current.digest(member): member for member in placement.members}
    state, identity = programs.init(), environment.digest(current.record["identity"])
    seconds = np.zeros(len(members))
    if saved:
        if {saved[digest].identity for digest in members} - {identity}:
            identity = "mixed"  # no other run shall take its members for its own
        seconds = np.array([saved[digest].seconds for digest in members], float)  # None: nan
        rows = [saved[current.digest(member)].arrays for member in placement.rows]
        try:
            state = programs.load(stack_members(state, rows))
        except ValueError as error:
            raise SurroundingsError(
                f"{current.directory} holds checkpoints of another version ({error}); move it "
                "away to start anew"
            ) from error
    return Cohort(placement.hidden_size, members, programs, identity, state, step, seconds)


def _advance(current: Run, cohort: Cohort, until: int, meter: Meter, stop: Stop) -> None:
    """Segment by segment, each followed by its metrics and a checkpoint."""
    experiment, segment = current.experiment, cohort.programs.segment
    digests = tuple(cohort.members)
    # No steps: compiles before the clock starts.
    cohort.state, _ = segment(cohort.state, cohort.step, cohort.step)
    meter.start()
    while cohort.step < until:
        step, end = cohort.step, min(cohort.step + current.segment_steps, until)
        clock = time.perf_counter()
        cohort.state, metrics = jax.block_until_ready(segment(cohort.state, step, end))
        cohort.seconds = cohort.seconds + (time.perf_counter() - clock) / len(digests)
        cohort.step = end
        current.log(metric_rows(digests, metrics, step, end, experiment.log_every))
        named = name_arrays(cohort.state)
        saved = checkpoints.Saved(
            end, {n: np.asarray(leaf)[: len(digests)] for n, leaf in named.items()},
            cohort.identity, [finite(seconds) for seconds in cohort.seconds],
        )  # fmt: skip
        checkpoints.save(current.directory, digests, saved)
        loss, accuracy = (float(np.mean(m[: len(digests), end - step - 1])) for m in metrics[:2])
        done = (end - step) * len(digests)
        meter.tick(Tick(cohort.hidden_size, done, end, loss, accuracy))
        if end < experiment.num_steps and (why := stop()):
            raise Interrupted(f"{why} after step {end}, saved; the same command goes on")


def _scores(cohort: Cohort, **splits: Split) -> dict[str, dict[str, Any]]:
    """A row for each member, by its digest, on each of the splits."""
    rows = score_rows(cohort.programs, cohort.state, cohort.members, cohort.step, splits)
    for row, seconds in zip(rows.values(), cohort.seconds, strict=True):
        row["seconds"] = finite(np.round(seconds, 3))
    return rows


def _finish(current: Run, cohort: Cohort, dataset: Dataset) -> None:
    """Scores validation and test, once, and records the members as finished."""
    rows = _scores(cohort, validation=dataset.validation, test=dataset.test)
    digests = parameter_digests(cohort.state.params, len(rows))
    for row, digest in zip(rows.values(), digests, strict=True):
        row["parameters_sha256"] = digest
        row["identity"] = cohort.identity
        row["finished"] = now()
        row["from"] = None  # or the sibling directory it was taken over from
    current.results.update(rows)
    current.save_record()
    if current.scalars:
        current.scalars.finish(rows)
