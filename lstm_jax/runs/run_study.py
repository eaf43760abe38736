"""Runs a study: loads its data, trains its members round by round, records and shows them.

Every process of a run executes these lines; the main one alone reads and writes the directory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.rounds import Round
from lstm_jax.config.search import Study
from lstm_jax.data.dataset import say_nothing
from lstm_jax.errors import DivergedError, EnvironmentProblem, Interrupted, Stopped, UserError
from lstm_jax.runs.begin_with import begin_states, find_origins, resolve_begin_with
from lstm_jax.runs.broadcast import broadcast, broadcast_members_left, broadcast_round
from lstm_jax.runs.checkpoints import Saved
from lstm_jax.runs.datasets import check_members, file_stamp, load_data
from lstm_jax.runs.directory import run_directory
from lstm_jax.runs.files import write_csv
from lstm_jax.runs.loggers.console import ProgressBar
from lstm_jax.runs.loggers.jsonl import JsonLines
from lstm_jax.runs.loggers.logger import Logger
from lstm_jax.runs.metrics_file import read_metrics, trim_metrics
from lstm_jax.runs.progress import say, show_results
from lstm_jax.runs.results import Result, Segment
from lstm_jax.runs.reuse import reuse_finished
from lstm_jax.runs.session import RunSession, open_session, record_session
from lstm_jax.runs.train_group import TrainGroup
from lstm_jax.signals import SAVED, exit_on_signal, stop_on_signal
from lstm_jax.train import processes
from lstm_jax.train.memory_estimate import estimate_memory, refuse_what_does_not_fit
from lstm_jax.train.placement import Datasets, place_on_devices

Callback = Callable[[Segment], object]  # is called with each saved segment
STOP = "stop"  # the answer of a callback that ends the run
BY_CALLBACK = "stopped by the callback"
# Returns why to stop after this segment, or None to go on; takes whether the callback asked for it.
StopReason = Callable[[bool], str | None]
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
    loggers: Sequence[Logger] = (),
    datasets: Datasets | None = None,
    callback: Callback | None = None,
    note: str | None = None,
) -> Path:
    """Trains what is not trained yet and returns the run directory.

    `datasets` holds data sets that need not be loaded, by the data keys of their tasks. `callback`
    is called with each segment after it was saved. Where it answers "stop", the run stops as after
    `max_minutes`, and nothing is raised. `note` replaces the note on record.

    Raises UserError, EnvironmentProblem, DivergedError (when no member is left) and Interrupted.
    """
    if not processes.is_main_process():
        console, loggers, callback = Console(quiet=True), (), None
    study = resolve_begin_with(study, runs_dir)
    directory = run_directory(runs_dir, name, study)
    loaded: Datasets | None = None

    def load() -> Datasets:
        nonlocal loaded
        if loaded is None:
            _, _, loaded = load_data(name, study, False, console, datasets)
            check_members(study, loaded, partial(say, console))
        return loaded

    is_new = not broadcast(directory.exists, bool)
    if is_new or study.experiment.needs_data:
        name, study, loaded = load_data(name, study, fallback, console, datasets)
        check_members(study, loaded, partial(say, console))
        directory = run_directory(runs_dir, name, study)
        if processes.is_main_process():  # finds mistakes before a directory is made
            find_origins(study.members(), runs_dir, loaded, say_nothing)
    if study.shard:
        say(console, f"shard {study.shard}: {study.num_members} of {study.num_all} members")
    with open_session(name, study, directory, console, checkpoint_every) as session:
        if note is not None and note != session.record.note:
            session.record.note = note
            session.save_record()
        if broadcast(session.has_finished, bool):
            for key, task in study.experiment.data_tasks().items():
                stamp = session.record.metadata.get(key, {}).get("file_stamp")
                if stamp and stamp != file_stamp(task) and not datasets:
                    session.record.check_data(load()[key])
            if not session.record.stopped_by_budget():
                session.say("already finished; move the run directory away to train it again")
            with logging(session, loggers):
                pass  # they receive the results on record
        else:
            listeners = [JsonLines(), ProgressBar(console), *loggers]
            with (
                reasons_to_stop(max_minutes, session.say) as stop_reason,
                logging(session, listeners),
            ):
                try:
                    train(session, load(), stop_reason, callback)
                except Stopped as error:
                    session.say(str(error))
                    return directory
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
                if stopped := session.record.stopped_by_budget():
                    session.say(f"{stopped}; with a larger --search-minutes it goes on")
                infinite = [r for r in results if r.diverged_at is None and not r.has_finite_test]
                if infinite and len(results) > 1:
                    count = f"{len(infinite)} of {len(results)} members"
                    session.say(f"the test scores of {count} are not finite; see results.csv")
                session.say(f"{directory.parent.name} lies in {directory}")
        failure = broadcast(partial(describe_failure, results), str)
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


def train(
    session: RunSession, datasets: Datasets, stop_reason: StopReason, callback: Callback | None
) -> None:
    """Trains all members, from wherever the run stands to its end, and records them.

    Raises Interrupted, or Stopped if the callback answered "stop", when all is saved.
    """
    examples, seconds, asked = 0, 0.0, False

    def stopped(reason: str, after: str = "") -> Interrupted:
        error = Stopped if reason == BY_CALLBACK else Interrupted
        return error(f"{reason}{after}, saved; the same command goes on")

    with record_session(session, datasets) as entry:
        for group, stop in groups_to_train(session, datasets):
            last = group.members[0].num_steps
            group.compile()
            for segment in group.segments(stop):
                session.log(segment, group.members, group.saved())
                num_steps = segment.stop - segment.start
                examples += num_steps * len(segment.members) * segment.members[0].batch_size
                seconds += segment.seconds
                if callback is not None and num_steps:
                    asked = _asks_to_stop(callback(segment)) or asked
                if segment.stop < last and (reason := stop_reason(asked)):
                    raise stopped(reason, f" after step {segment.stop}")
            dataset = datasets[group.placement.data_key]
            if stop < last:
                validation = dataset.validation
                session.record_rung(group.results(group.state.params, validation=validation))
            else:
                session.record_finished(group.finished(dataset))
            if (reason := stop_reason(asked)) and not broadcast(session.has_finished, bool):
                raise stopped(reason)
        entry["examples_per_second"] = round(examples / seconds) if seconds else 0


def _asks_to_stop(answer: object) -> bool:
    """Returns whether a callback answered "stop". Raises UserError for any other text."""
    if isinstance(answer, str) and answer != STOP:
        raise UserError(f"callback: answered {answer!r}; the only answer it has is {STOP!r}")
    return isinstance(answer, str)


def groups_to_train(session: RunSession, datasets: Datasets) -> Iterator[tuple[TrainGroup, int]]:
    """Yields groups of members that train side by side, each with the step to train it to.

    They come round by round: the next round is asked for when the groups of the one before it are
    recorded. Raises EnvironmentProblem where a group does not fit into the memory.
    """
    session.decide_rungs()  # of a rung after which the run was killed
    experiment = session.study.experiment
    while (current := broadcast_round(session.begin_round, experiment)) is not None:
        if processes.is_main_process():
            record_origins(session, current.members)
            reuse_finished(session, current.members)
        left = partial(members_left, session, current)
        members, saved = broadcast_members_left(left, experiment)
        # Members go on from the same step, or begin with the same parameters, side by side.
        starts = {
            m: (saved[m.digest].step, saved[m.digest].identity) if m.digest in saved else (0, "")
            for m in members
        }
        platform = jax.default_backend()
        for placement in place_on_devices(members):
            estimate = estimate_memory(placement, datasets[placement.data_key], platform)
            refuse_what_does_not_fit(estimate, len(placement.members), platform)
        for start in sorted(set(starts.values())):
            for placement in place_on_devices(m for m in members if starts[m] == start):
                dataset = datasets[placement.data_key]
                group = TrainGroup(placement, dataset, session.checkpoint_every)
                group.identity = session.identity_of(group.members[0])
                if start != (0, ""):
                    try:
                        (group.restore if start[0] else group.begin_with)(saved)
                    except ValueError as error:
                        raise EnvironmentProblem(
                            f"{session.directory} holds checkpoints of another version ({error}); "
                            "move it away to start anew"
                        ) from error
                yield group, current.until
        session.decide_rungs()


def record_origins(session: RunSession, members: Iterable[Experiment]) -> None:
    """Records which parameters of another run start these members, if they begin with any."""
    known, runs_dir = session.record.begin_with, session.directory.parent.parent
    new = [member for member in members if member.digest not in known]
    known |= find_origins(new, runs_dir, session.datasets, session.say)


def members_left(session: RunSession, current: Round) -> tuple[list[Experiment], dict[str, Saved]]:
    """Returns the members of a round that are not scored yet, and the states they go on from.

    Drops the rows of metrics that a killed run logged beyond these states.
    """
    scores, steps_done = session.record.scores, session.record.steps_done()
    members = [m for m in current.members if (m.digest, current.until) not in scores]
    saved = session.states(m.digest for m in members)
    # A checkpoint with more steps belongs to a finished member whose result was lost: ignore it.
    saved = {digest: state for digest, state in saved.items() if state.step <= current.until}
    new = [m.digest for m in members if m.digest not in saved]
    saved |= begin_states(session.record, session.directory.parent.parent, new, session.say)
    steps = {m.digest: saved[m.digest].step if m.digest in saved else 0 for m in members}
    trim_metrics(session.directory, steps, session.say)
    resumed = [m for m in members if steps[m.digest] > steps_done.get(m.digest, 0)]
    if resumed:
        first = min(steps[m.digest] for m in resumed)
        session.say(f"resuming {len(resumed)} of {len(members)} members from step {first}")
    return members, saved


@contextmanager
def reasons_to_stop(max_minutes: float | None, say: Callable[[str], None]) -> Iterator[StopReason]:
    """Yields a function that tells whether to stop: after SIGINT, SIGTERM or `max_minutes`, or when
    the callback has asked for it.
    """
    deadline = np.inf if max_minutes is None else time.monotonic() + 60 * max_minutes
    reasons = None, f"{max_minutes or 0:g} minutes are over: stopped", BY_CALLBACK, "stopped"
    with stop_on_signal(say) as stopped:

        def stop_reason(asked: bool) -> str | None:
            here = 3 if stopped() else 2 if asked else int(time.monotonic() > deadline)
            return reasons[processes.all_reduce_max(here)]

        yield stop_reason
        if processes.all_reduce_max(stopped()):
            raise Interrupted(ENDED)


@contextmanager
def logging(session: RunSession, loggers: Sequence[Logger]) -> Iterator[None]:
    """Passes what a run logs to these loggers while the block runs; each is closed at its end."""
    with ExitStack() as stack:
        if processes.is_main_process():
            session.loggers = loggers
            for logger in loggers:
                logger.begin(session.record, session.directory)
                stack.callback(logger.close)
        yield
