"""The one loop: load, place members, run segments, show progress, store. Drives everything else."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from lstm_jax import environment, store
from lstm_jax.config import (
    DivergedError,
    Experiment,
    Interrupted,
    SurroundingsError,
    UserError,
)
from lstm_jax.data import Dataset, load
from lstm_jax.record import Run, now, open_run, run_directory, session, take_over
from lstm_jax.screen import Meter, Tick, metered, say, show_results
from lstm_jax.sweep import Placement, Programs, build, name_arrays, place, stack_members
from lstm_jax.train import Metrics, TrainState


@dataclass(frozen=True)
class Options:
    """How to run, whatever the experiment: none of it changes a bit of the results."""

    runs_dir: Path = Path("runs")
    segment_steps: int = 100
    fallback: str | None = None


def run(name: str, experiment: Experiment, options: Options, console: Console) -> Path:
    """Trains what is not yet trained and returns the run directory.

    Raises UserError, SurroundingsError, DivergedError (when no member is left) and Interrupted.
    """
    directory = run_directory(options.runs_dir, name, experiment)
    dataset = None
    if not directory.exists():
        name, experiment, dataset = load_data(name, experiment, options.fallback, console)
        directory = run_directory(options.runs_dir, name, experiment)
    with store.locked(directory):
        current = open_run(name, experiment, directory, console, options.segment_steps)
        if current.unfinished():
            if dataset is None:
                _, _, dataset = load_data(name, experiment, None, console)
            with _stop_signals() as stopped:
                _train(current, dataset, stopped)
        else:
            current.say("already finished; move the run directory away to train it again")
        results = list(current.results.values())
        store.write_csv(directory / "results.csv", results)
        rows = [row for row in store.read_metrics(directory) if row["member"] in current.results]
        show_results(console, results, rows, experiment.log_every)
        current.say(f"{name} lies in {directory}")
    if all(result["diverged_at"] is not None for result in results):
        raise DivergedError(f"the loss of every member stopped being finite; see {directory}")
    return directory


def load_data(
    name: str, experiment: Experiment, fallback: str | None, console: Console
) -> tuple[str, Experiment, Dataset]:
    """The data set, or in plain sight the fallback: then name and experiment carry its name."""
    tell = partial(say, console)
    try:
        dataset = load(experiment.dataset, tell)
    except SurroundingsError as error:
        if fallback is None or fallback == experiment.dataset:
            raise
        tell(f"{error}")
        tell(f"FALLING BACK to the data set {fallback}: these are not the results of {name}")
        name, experiment = f"{name}-{fallback}", replace(experiment, dataset=fallback)
        dataset = load(fallback, tell)
    if experiment.batch_size > len(dataset.train.labels):
        raise UserError(
            f"batch_size: {experiment.batch_size} is more than the {len(dataset.train.labels):,} "
            f"training examples of {dataset.name}"
        )
    return name, experiment, dataset


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM, so that a segment ends and is saved; a second acts at once."""
    seen: list[int] = []

    def note(number: int, _frame: Any) -> None:
        seen.append(number)
        signal.signal(number, before[number])

    before: dict[int, Any] = {
        number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _train(current: Run, dataset: Dataset, stopped: list[int]) -> None:
    """Trains every unfinished member to its end, from wherever it stands."""
    experiment = current.experiment
    identity = environment.identity(dataset.fingerprint)
    take_over(current, identity)
    members = current.unfinished()
    wanted = {member: current.digest(member) for member in members}
    with session(current, identity) as entry:
        saved = store.load_members(current.directory, wanted.values(), current.say)
        start = {m: saved[d].step if d in saved else 0 for m, d in wanted.items()}
        store.trim_metrics(current.directory, {d: start[m] for m, d in wanted.items()})
        if saved:
            current.say(
                f"resuming {len(saved)} of {len(members)} members from step "
                f"{min(s.step for s in saved.values())}"
            )
        total = experiment.batch_size * sum(experiment.num_steps - s for s in start.values())
        with metered(current.console, total, experiment.num_steps) as meter:
            for step in sorted(set(start.values())):
                peers = [member for member in members if start[member] == step]
                for placement in place(peers, len(jax.devices()), experiment.chunks):
                    programs = build(experiment, placement, dataset, current.segment_steps)
                    state = _first_state(current, placement, programs, saved if step else {})
                    state = _advance(current, placement, programs, state, step, meter, stopped)
                    _finish(current, placement, programs, state, dataset)
            entry["examples_per_second"] = round(meter.rate)


def _first_state(
    current: Run, placement: Placement, programs: Programs, saved: dict[str, store.Saved]
) -> TrainState:
    """The members' initial state, or the one they were saved in."""
    state = programs.init()
    if not saved:
        return state
    try:
        rows = [saved[current.digest(member)].arrays for member in placement.members]
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
    step: int,
    meter: Meter,
    stopped: list[int],
) -> TrainState:
    """Segment by segment to the last step, each followed by its metrics and a checkpoint."""
    experiment = current.experiment
    digests = tuple(current.digest(member) for member in placement.members)
    state, _ = programs.segment(state, step, step)  # no steps: compiles before the clock starts
    meter.start()
    while step < experiment.num_steps:
        stop = min(step + current.segment_steps, experiment.num_steps)
        state, metrics = jax.block_until_ready(programs.segment(state, step, stop))
        rows = metric_rows(digests, metrics, step, stop, experiment.log_every)
        store.append_metrics(current.directory, rows)
        arrays = {name: np.asarray(leaf) for name, leaf in name_arrays(state).items()}
        store.save_checkpoint(current.directory, stop, digests, arrays)
        last = (float(np.mean(column[:, stop - step - 1])) for column in metrics)
        meter.tick(Tick((stop - step) * experiment.batch_size * len(digests), stop, *last))
        step = stop
        if stopped and step < experiment.num_steps:
            raise Interrupted(f"stopped after step {step}, saved; the same command goes on")
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


def _finish(
    current: Run, placement: Placement, programs: Programs, state: TrainState, dataset: Dataset
) -> None:
    """Scores validation and test, once, and records the members as finished."""
    splits = {"validation": dataset.validation, "test": dataset.test}
    scores = {name: programs.score(state.params, split) for name, split in splits.items()}
    params = {name: np.asarray(leaf) for name, leaf in name_arrays(state.params).items()}
    for row, member in enumerate(placement.members):
        bad = int(state.diverged_at[row])
        result: dict[str, Any] = {
            "hidden_size": member.hidden_size,
            "learning_rate": member.learning_rate,
            "seed": member.seed,
            "steps": current.experiment.num_steps,
            "diverged_at": None if bad < 0 else bad,
            "parameters_sha256": store.fingerprint({k: v[row] for k, v in params.items()}),
            "identity": environment.digest(current.record["identity"]),
            "finished": now(),
            "from": None,  # or the sibling directory it was taken over from
        }
        for name, split in splits.items():
            result[f"{name}_accuracy"] = int(scores[name].correct[row]) / len(split.labels)
            loss = float(scores[name].loss[row])
            result[f"{name}_loss"] = loss if np.isfinite(loss) else None
        current.results[current.digest(member)] = result
    current.save_record()
