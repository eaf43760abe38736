"""Runs a study: loads its data, trains its members round by round, records and shows them.

Every process of a run executes these lines; the main one alone reads and writes the directory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.search import Round, Study
from lstm_jax.errors import DivergedError, EnvironmentProblem, Interrupted
from lstm_jax.runs.checkpoints import Saved
from lstm_jax.runs.datasets import load_data
from lstm_jax.runs.directory import run_directory
from lstm_jax.runs.evaluation import metric_rows
from lstm_jax.runs.files import write_csv
from lstm_jax.runs.metrics_file import read_metrics, trim_metrics
from lstm_jax.runs.progress import Progress, ProgressBar, progress_bar, say, show_results
from lstm_jax.runs.results import Result, Segment
from lstm_jax.runs.reuse import reuse_finished
from lstm_jax.runs.session import RunSession, open_session, record_session
from lstm_jax.runs.tensorboard import TensorBoardWriter
from lstm_jax.runs.train_group import TrainGroup
from lstm_jax.signals import SAVED, exit_on_signal, stop_on_signal
from lstm_jax.train import processes
from lstm_jax.train.memory_estimate import estimate_memory, refuse_what_does_not_fit
from lstm_jax.train.placement import Datasets, place_on_devices

StopReason = Callable[[], str | None]  # returns why to stop after this segment; None: go on
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
    datasets: Datasets | None = None,
    callback: Callable[[Segment], object] | None = None,
) -> Path:
    """Trains what is not trained yet and returns the run directory.

    `datasets` holds data sets that need not be loaded, by the data keys of their tasks. `callback`
    is called with each segment after it was saved.

    Raises UserError, EnvironmentProblem, DivergedError (when no member is left) and Interrupted.
    """
    if not processes.is_main_process():
        console, tensorboard, callback = Console(quiet=True), False, None
    directory = run_directory(runs_dir, name, study)
    loaded: Datasets | None = None

    def load() -> Datasets:
        nonlocal loaded
        if loaded is None:
            _, _, loaded = load_data(name, study, False, console, datasets)
        return loaded

    is_new = not processes.broadcast_from_main(directory.exists)
    if is_new or study.experiment.needs_data_sizes:
        name, study, loaded = load_data(name, study, fallback, console, datasets)
        directory = run_directory(runs_dir, name, study)
    if study.shard:
        say(console, f"shard {study.shard}: {study.num_members} of {study.num_all} members")
    with open_session(name, study, directory, console, checkpoint_every, load) as session:
        session.callback = callback
        if processes.broadcast_from_main(session.next_round) is None:
            session.say("already finished; move the run directory away to train it again")
            with write_tensorboard(session, tensorboard):
                pass  # writes what was logged
        else:
            with (
                reasons_to_stop(max_minutes, session.say) as stop_reason,
                write_tensorboard(session, tensorboard),
            ):
                train(session, load(), stop_reason)
        results = list(session.record.results.values())
        if processes.is_main_process():
            with exit_on_signal(SAVED, ENDED):
                dropped = session.record.dropped
                write_results(directory, [*results, *dropped])
                rows = read_metrics(directory, session.say)
                rows = [row for row in rows if row["member"] in session.record.results]
                show_results(
                    *(console, session.study, results, dropped, rows),
                    session.record.trivial_score_of,
                )
                infinite = [r for r in results if r.diverged_at is None and not r.has_finite_test]
                if infinite and len(results) > 1:
                    count = f"{len(infinite)} of {len(results)} members"
                    session.say(f"the test scores of {count} are not finite; see results.csv")
                session.say(f"{directory.parent.name} lies in {directory}")
        failure = processes.broadcast_from_main(partial(describe_failure, results))
    if failure:
        raise DivergedError(f"{failure}; see {directory}", directory)
    return directory


def write_results(directory: Path, results: Iterable[Result]) -> None:
    """Writes `results.csv`, a row for each result, condition by condition."""
    by_condition: dict[Any, list[dict[str, Any]]] = {}
    for result in results:
        by_condition.setdefault(result.member.condition, []).append(result.flat())
    write_csv(directory / "results.csv", [*chain(*by_condition.values())])


def describe_failure(results: Sequence[Result]) -> str:
    """Returns why no member of a run has a result that means something; empty if one has."""
    if not results:
        return ""
    if all(result.diverged_at is not None for result in results):
        return "the loss of every member stopped being finite"
    if any(result.has_finite_test for result in results):
        return ""
    return (
        "the test scores of every member are not finite: the values of the test are far from those "
        "of training, or training has gone astray"
    )


def train(session: RunSession, datasets: Datasets, stop_reason: StopReason) -> None:
    """Trains all members, from wherever the run stands to its end, and records them."""
    console, study = session.console, session.study
    with record_session(session, datasets) as entry, progress_bar(console, study) as bar:
        for group, stop in groups_to_train(session, datasets, bar):
            last = group.members[0].num_steps
            group.compile()
            bar.start()
            for segment in group.segments(stop):
                end, columns = segment.stop, segment.metrics
                session.log(
                    metric_rows(group.members, columns, segment.start, end, segment.evaluation)
                )
                session.save_checkpoint(group.members, group.saved())
                loss, metric = (float(np.mean(c[:, -1])) for c in list(columns.values())[:2])
                steps = end - segment.start
                bar.update(Progress(group.members, steps, end, loss, metric, segment.evaluation))
                if session.callback:
                    session.callback(segment)
                if end < last and (reason := stop_reason()):
                    raise Interrupted(f"{reason} after step {end}, saved; the same command goes on")
            dataset = datasets[group.placement.data_key]
            if stop < last:
                validation = dataset.validation
                session.record_rung(group.results(group.state.params, validation=validation))
            else:
                session.record_finished(group.finished(dataset))
                bar.members_done += len(group.members)
            if (reason := stop_reason()) and processes.broadcast_from_main(
                session.next_round
            ) is not None:
                raise Interrupted(f"{reason}, saved; the same command goes on")
        entry["examples_per_second"] = round(bar.rate)


def groups_to_train(
    session: RunSession, datasets: Datasets, bar: ProgressBar
) -> Iterator[tuple[TrainGroup, int]]:
    """Yields groups of members that train side by side, each with the step to train it to.

    They come round by round: the next round is asked for when the groups of the one before it are
    recorded. Raises EnvironmentProblem where a group does not fit into the memory.
    """
    record = session.record
    session.decide_rungs()  # of a rung after which the run was killed
    steps_done = record.steps_done()
    members = session.study.members()
    bar.skip((m, steps_done[m.digest]) for m in members if m.digest in steps_done)
    bar.members_done = record.num_done
    while (current := processes.broadcast_from_main(session.next_round)) is not None:
        if session.tensorboard:
            session.tensorboard.add_members(current.members)
        is_main = processes.is_main_process()
        reused = reuse_finished(session, current.members) if is_main else []
        bar.skip((member, member.num_steps) for member in reused)
        bar.members_done += len(reused)
        members, saved = processes.broadcast_from_main(partial(members_left, session, current, bar))
        steps = {m.digest: saved[m.digest].step if m.digest in saved else 0 for m in members}
        platform = jax.default_backend()
        for placement in place_on_devices(members):
            estimate = estimate_memory(placement, datasets[placement.data_key], platform)
            refuse_what_does_not_fit(estimate, len(placement.members), platform)
        for step in sorted(set(steps.values())):
            for placement in place_on_devices(m for m in members if steps[m.digest] == step):
                dataset = datasets[placement.data_key]
                group = TrainGroup(placement, dataset, session.checkpoint_every)
                group.identity = session.identity_of(group.members[0])
                if step:
                    try:
                        group.restore(saved)
                    except ValueError as error:
                        raise EnvironmentProblem(
                            f"{session.directory} holds checkpoints of another version ({error}); "
                            "move it away to start anew"
                        ) from error
                yield group, current.until
        session.decide_rungs()
        bar.members_done = record.num_done


def members_left(
    session: RunSession, current: Round, bar: ProgressBar
) -> tuple[list[Experiment], dict[str, Saved]]:
    """Returns the members of a round that are not scored yet, and the states they go on from.

    Drops the rows of metrics that a killed run logged beyond these states.
    """
    scores, steps_done = session.record.scores, session.record.steps_done()
    members = [m for m in current.members if (m.digest, current.until) not in scores]
    saved = session.states(m.digest for m in members)
    # A checkpoint with more steps belongs to a finished member whose result was lost: ignore it.
    saved = {digest: state for digest, state in saved.items() if state.step <= current.until}
    steps = {m.digest: saved[m.digest].step if m.digest in saved else 0 for m in members}
    trim_metrics(session.directory, steps, session.say)
    resumed = [m for m in members if steps[m.digest] > steps_done.get(m.digest, 0)]
    if resumed:
        first = min(steps[m.digest] for m in resumed)
        session.say(f"resuming {len(resumed)} of {len(members)} members from step {first}")
        bar.skip((m, steps[m.digest] - steps_done.get(m.digest, 0)) for m in resumed)
    return members, saved


@contextmanager
def reasons_to_stop(max_minutes: float | None, say: Callable[[str], None]) -> Iterator[StopReason]:
    """Yields a function that tells whether to stop: after SIGINT, SIGTERM or `max_minutes`."""
    deadline = np.inf if max_minutes is None else time.monotonic() + 60 * max_minutes
    with stop_on_signal(say) as stopped:

        def stop_reason() -> str | None:
            reason = 2 if stopped() else int(time.monotonic() > deadline)
            return (None, f"{max_minutes or 0:g} minutes are over: stopped", "stopped")[
                processes.all_reduce_max(reason)
            ]

        yield stop_reason
        if processes.all_reduce_max(stopped()):
            raise Interrupted(ENDED)


@contextmanager
def write_tensorboard(session: RunSession, tensorboard: bool) -> Iterator[None]:
    """Writes the metrics for TensorBoard as well while the block runs, if it is asked for."""
    if not tensorboard or not processes.is_main_process():
        yield
        return
    rows = read_metrics(session.directory, session.say)
    session.tensorboard = TensorBoardWriter(session.directory, session.study.experiment, rows)
    try:
        results = session.record.results.values()
        new = session.tensorboard.add_members(result.member for result in results)
        session.tensorboard.write_results(
            result for result in results if result.member.digest in new
        )
        yield
    finally:
        session.tensorboard.close()
