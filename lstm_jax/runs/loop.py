"""The one loop: load, place members, have them trained round by round. Drives everything else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import jax
import numpy as np
from rich.console import Console

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.results import Segment
from lstm_jax.config.search import Round, Study
from lstm_jax.errors import DivergedError, Interrupted
from lstm_jax.runs import checkpoints
from lstm_jax.runs.datasets import load_data
from lstm_jax.runs.directory import locked, write_csv
from lstm_jax.runs.metrics_file import read_metrics, trim_metrics
from lstm_jax.runs.progress import ProgressBar, progress_bar, say, show_results
from lstm_jax.runs.record import Record, run_directory
from lstm_jax.runs.reuse import reuse_finished
from lstm_jax.runs.session import RunSession, open_session, session
from lstm_jax.runs.tensorboard import Scalars
from lstm_jax.runs.train_group import Stop, advance, begin, finish, score
from lstm_jax.signals import SAVED, leaving, stoppable
from lstm_jax.train import distributed
from lstm_jax.train.memory import estimate_memory, refuse_what_does_not_fit
from lstm_jax.train.sweep import Datasets, place_here

ENDED = "stopped after training had ended, saved; the same command shows the results"


def run(
    name: str,
    study: Study,
    console: Console,
    *,
    runs_dir: Path,
    checkpoint_every: int,
    fallback: bool = False,
    max_minutes: float | None = None,
    tensorboard: bool = False,
    given: Datasets | None = None,
    callback: Callable[[Segment], object] | None = None,
) -> Path:
    """Trains what is not yet trained and returns the run directory.

    `given` are data sets that are not to be loaded, by the key of their task. `callback` hears of
    each segment after it was saved.

    Raises UserError, EnvironmentProblem, DivergedError (when no member is left) and Interrupted.
    """
    if not distributed.is_main_process():
        console, tensorboard, callback = Console(quiet=True), False, None
    if study.shard:
        say(console, f"shard {study.shard}: {study.num_members} of {study.num_all} members")
    directory = run_directory(runs_dir, name, study)
    datasets = None
    if not distributed.broadcast_from_main(directory.exists):
        name, study, datasets = load_data(name, study, fallback, console, given)
        directory = run_directory(runs_dir, name, study)
    with _opened(name, study, directory, console, checkpoint_every) as current:
        current.callback = callback
        if distributed.broadcast_from_main(current.next_round) is not None:
            if datasets is None:
                _, _, datasets = load_data(name, study, False, console, given)
            with (
                _reasons_to_stop(max_minutes, current.say) as stop,
                _mirrored(current, tensorboard),
            ):
                _train(current, datasets, stop)
        else:
            current.say("already finished; move the run directory away to train it again")
            with _mirrored(current, tensorboard):
                pass  # what was logged is written
        if distributed.is_main_process():
            with leaving(SAVED, ENDED):
                _show(current)
        results = current.record.results.values()
        diverged = distributed.broadcast_from_main(
            lambda: bool(results) and all(r.diverged_at is not None for r in results)
        )
    if diverged:
        raise DivergedError(
            f"the loss of every member stopped being finite; see {directory}", directory
        )
    return directory


@contextmanager
def _opened(
    name: str, study: Study, directory: Path, console: Console, checkpoint_every: int
) -> Iterator[RunSession]:
    """Holds the run directory in the process that leads; the others begin with an empty record,
    and are told what is left to train.
    """
    if not distributed.is_main_process():
        yield RunSession(Record(name, study), directory, console, None, checkpoint_every)
        return
    with locked(directory, partial(say, console) if study.shard else None) as lock:
        current = open_session(name, study, directory, console, lock, checkpoint_every)
        current.distrust()
        yield current


def _show(current: RunSession) -> None:
    """Writes the table of results and shows them."""
    record, directory = current.record, current.directory
    results, dropped = list(record.results.values()), record.dropped
    write_csv(directory / "results.csv", [row.flat() for row in (*results, *dropped)])
    rows = read_metrics(directory, current.say)
    show_results(
        current.console, current.study, results, dropped,
        [row for row in rows if row["member"] in record.results],
    )  # fmt: skip
    current.say(f"{directory.parent.name} lies in {directory}")


@contextmanager
def _reasons_to_stop(max_minutes: float | None, tell: Callable[[str], None]) -> Iterator[Stop]:
    """SIGINT, SIGTERM or the end of the time: a segment ends and is saved."""
    deadline = np.inf if max_minutes is None else time.monotonic() + 60 * max_minutes
    with stoppable(tell) as stopped:

        def stop() -> str | None:
            why = 2 if stopped() else int(time.monotonic() > deadline)
            return (None, f"{max_minutes or 0:g} minutes are over: stopped", "stopped")[
                distributed.all_reduce_max(why)
            ]

        yield stop
        if distributed.all_reduce_max(stopped()):
            raise Interrupted(ENDED)


@contextmanager
def _mirrored(current: RunSession, tensorboard: bool) -> Iterator[None]:
    """Sends the run's metrics to TensorBoard too, if they shall go there."""
    if not tensorboard or not distributed.is_main_process():
        yield
        return
    before = read_metrics(current.directory, current.say)
    current.scalars = Scalars(current.directory, current.study.experiment, before)
    try:
        results = current.record.results.values()
        fresh = current.scalars.begin(result.member for result in results)
        current.scalars.finish(result for result in results if result.member.digest in fresh)
        yield
    finally:
        current.scalars.close()


def _train(current: RunSession, datasets: Datasets, stop: Stop) -> None:
    """Trains round after round, from wherever the run stands to its end."""
    with session(current, datasets) as entry, progress_bar(current.console, current.study) as bar:
        record = current.record
        current.decide()  # of a rung after which the run was killed
        scored = record.steps_done()
        bar.skip((m, scored[m.digest]) for m in current.study.members() if m.digest in scored)
        bar.members_done = record.num_done
        while (each := distributed.broadcast_from_main(current.next_round)) is not None:
            if current.scalars:
                current.scalars.begin(each.members)
            taken = reuse_finished(current, each.members) if distributed.is_main_process() else []
            bar.skip((member, member.num_steps) for member in taken)
            bar.members_done += len(taken)
            _train_round(current, each, datasets, bar, stop)
            current.decide()
            bar.members_done = record.num_done
        entry["examples_per_second"] = round(bar.rate)


def _train_round(
    current: RunSession, each: Round, datasets: Datasets, bar: ProgressBar, stop: Stop
) -> None:
    """Trains the members of a round to its step, each from wherever it stands, and scores them."""
    platform = jax.default_backend()
    members, saved = distributed.broadcast_from_main(lambda: _left(current, each, bar))
    start = {m.digest: saved[m.digest].step if m.digest in saved else 0 for m in members}
    for placement in place_here(members):
        need = estimate_memory(placement, datasets[placement.data_key], platform)
        refuse_what_does_not_fit(need, len(placement.members), platform)
    for step in sorted(set(start.values())):
        for placement in place_here(m for m in members if start[m.digest] == step):
            dataset = datasets[placement.data_key]
            cohort = begin(current, placement, dataset, saved if step else {}, step)
            advance(current, cohort, each.until, bar, stop)
            if each.until < placement.static_key.num_steps:
                current.note_rung(score(cohort, cohort.state.params, validation=dataset.validation))
            else:
                finish(current, cohort, dataset)
                bar.members_done += len(placement.members)
            if (why := stop()) and distributed.broadcast_from_main(current.next_round) is not None:
                raise Interrupted(f"{why}, saved; the same command goes on")


def _left(
    current: RunSession, each: Round, bar: ProgressBar
) -> tuple[list[Experiment], dict[str, checkpoints.Saved]]:
    """The members of a round that are not scored yet, and the states that they go on from."""
    known, scored = current.record.scores, current.record.steps_done()
    members = [m for m in each.members if (m.digest, each.until) not in known]
    saved = current.states(m.digest for m in members)
    # A checkpoint beyond the round is of a finished member whose result was lost.
    saved = {digest: one for digest, one in saved.items() if one.step <= each.until}
    start = {m.digest: saved[m.digest].step if m.digest in saved else 0 for m in members}
    trim_metrics(current.directory, start, current.say)
    resumed = [m for m in members if start[m.digest] > scored.get(m.digest, 0)]
    if resumed:
        first = min(start[m.digest] for m in resumed)
        current.say(f"resuming {len(resumed)} of {len(members)} members from step {first}")
        bar.skip((m, start[m.digest] - scored.get(m.digest, 0)) for m in resumed)
    return members, saved
