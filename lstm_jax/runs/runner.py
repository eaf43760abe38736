"""The one loop: load, place members, run segments, show progress, store. Drives everything else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
from rich.console import Console

from lstm_jax.data import Arrays, Dataset
from lstm_jax.errors import DivergedError, Interrupted, SurroundingsError
from lstm_jax.experiment import Experiment
from lstm_jax.interrupts import SAVED, leaving, stoppable
from lstm_jax.results import Result, Segment
from lstm_jax.runs import checkpoints, store
from lstm_jax.runs.looks import Looks
from lstm_jax.runs.metrics import read_metrics, trim_metrics
from lstm_jax.runs.opened import OpenRun, now, open_run, session
from lstm_jax.runs.record import run_directory
from lstm_jax.runs.scoring import columns, finite, metric_rows, parameter_digests, scores
from lstm_jax.runs.screen import Meter, Tick, metered, say, show_results
from lstm_jax.runs.tensorboard import Scalars
from lstm_jax.search import Round, Study
from lstm_jax.train.declare import Params
from lstm_jax.train.memory import needed, refuse_what_does_not_fit
from lstm_jax.train.step import TrainState
from lstm_jax.train.sweep import (
    Datasets,
    Placement,
    Programs,
    build,
    ends_of,
    name_arrays,
    place_here,
    refuse_absent_backend,
    stack_states,
)

ENDED = "stopped after training had ended, saved; the same command shows the results"
Stop = Callable[[], str | None]  # why to stop after this segment, if so


@dataclass
class Cohort:
    """Members trained side by side, and how far they are."""

    members: tuple[Experiment, ...]
    programs: Programs
    identity: str  # under which they were trained so far; see `checkpoints.Saved`
    state: TrainState  # consumed by the next segment
    looks: Looks
    step: int
    seconds: np.ndarray  # of training so far, by member: its share of what all took; nan: not known


def run(
    name: str,
    study: Study,
    console: Console,
    *,
    runs_dir: Path,
    segment_steps: int,
    fallback: bool = False,
    max_minutes: float | None = None,
    tensorboard: bool = False,
    given: Datasets | None = None,
    callback: Callable[[Segment], object] | None = None,
) -> Path:
    """Trains what is not yet trained and returns the run directory.

    `given` are data sets that are not to be loaded, by the key of their task. `callback` hears of
    each segment after it was saved.

    Raises UserError, SurroundingsError, DivergedError (when no member is left) and Interrupted.
    """
    directory = run_directory(runs_dir, name, study)
    datasets = None
    if not directory.exists():
        name, study, datasets = load_data(name, study, fallback, console, given)
        directory = run_directory(runs_dir, name, study)
    with store.locked(directory) as lock:
        current = open_run(name, study, directory, console, lock, segment_steps)
        current.callback = callback
        current.distrust()
        if current.next_round() is not None:
            if datasets is None:
                _, _, datasets = load_data(name, study, False, console, given)
            with (
                _reasons_to_stop(max_minutes, current.say) as stop,
                _mirrored(current, tensorboard),
            ):
                _train(current, datasets, stop)
        else:
            current.say("already finished; move the run directory away to train it again")
        with leaving(SAVED, ENDED):
            _show(current)
        results = current.record.results.values()
    if all(result.diverged_at is not None for result in results):
        raise DivergedError(
            f"the loss of every member stopped being finite; see {directory}", directory
        )
    return directory


def _show(current: OpenRun) -> None:
    """Writes the table of results and shows them."""
    record, directory = current.record, current.directory
    results, dropped = list(record.results.values()), record.dropped
    store.write_csv(directory / "results.csv", [row.flat() for row in (*results, *dropped)])
    rows = read_metrics(directory, current.say)
    show_results(
        current.console, current.study, results, dropped,
        [row for row in rows if row["member"] in record.results],
    )  # fmt: skip
    current.say(f"{directory.parent.name} lies in {directory}")


def load_data(
    name: str, study: Study, fallback: bool, console: Console, given: Datasets | None = None
) -> tuple[str, Study, Datasets]:
    """Returns the data sets, or in plain sight the built-in one, whose name the run carries.

    Those that are given are not loaded.
    """
    experiment = study.experiment
    refuse_absent_backend(experiment)
    tell = partial(say, console)
    try:
        tasks = experiment.data_tasks().items()
        datasets = {key: (given or {}).get(key) or task.load(tell) for key, task in tasks}
    except SurroundingsError as error:
        built_in = experiment.task.built_in()
        if not fallback or built_in is None:
            raise
        study = Study(replace(experiment, task=built_in), study.search)
        datasets = {key: t.load(tell) for key, t in study.experiment.data_tasks().items()}
        dataset = next(iter(datasets.values()))
        tell(f"{error}")
        tell(f"FALLING BACK to the data set {dataset.name}: these are not the results of {name}")
        name = f"{name}-{dataset.name}"
    for group in {member.group: member for member in study.members()}.values():
        ends_of(group, datasets[group.task.data_key])
    return name, study, datasets


@contextmanager
def _reasons_to_stop(max_minutes: float | None, tell: Callable[[str], None]) -> Iterator[Stop]:
    """SIGINT, SIGTERM or the end of the time: a segment ends and is saved."""
    deadline = np.inf if max_minutes is None else time.monotonic() + 60 * max_minutes
    with stoppable(tell) as stopped:

        def stop() -> str | None:
            if stopped():
                return "stopped"
            late = time.monotonic() > deadline
            return f"{max_minutes:g} minutes are over: stopped" if late else None

        yield stop
        if stopped():
            raise Interrupted(ENDED)


@contextmanager
def _mirrored(current: OpenRun, tensorboard: bool) -> Iterator[None]:
    """Sends the run's metrics to TensorBoard too, if they shall go there."""
    if not tensorboard:
        yield
        return
    current.scalars = Scalars(current.directory)
    try:
        yield
    finally:
        current.scalars.close()


def _train(current: OpenRun, datasets: Datasets, stop: Stop) -> None:
    """Trains round after round, from wherever the run stands to its end."""
    with session(current, datasets) as entry, metered(current.console, current.study) as meter:
        record = current.record
        current.decide()  # of a rung after which the run was killed
        scored = record.steps_done()
        meter.skip((m, scored[m.digest]) for m in current.study.members() if m.digest in scored)
        meter.members_done = record.num_done
        while (each := current.next_round()) is not None:
            taken = current.take_over(each.members)
            meter.skip((member, member.num_steps) for member in taken)
            meter.members_done += len(taken)
            _train_round(current, each, datasets, meter, stop)
            current.decide()
            meter.members_done = record.num_done
        entry["examples_per_second"] = round(meter.rate)


def _train_round(
    current: OpenRun, each: Round, datasets: Datasets, meter: Meter, stop: Stop
) -> None:
    """Trains the members of a round to its step, each from wherever it stands, and scores them."""
    known, scored = current.record.scores, current.record.steps_done()
    platform = jax.default_backend()
    members = [m for m in each.members if (m.digest, each.until) not in known]
    for placement in place_here(members):
        need = needed(placement, datasets[placement.data_key], platform)
        refuse_what_does_not_fit(need, len(placement.members), platform)
    saved = current.states(m.digest for m in members)
    # A checkpoint beyond the round is of a finished member whose result was lost.
    saved = {digest: one for digest, one in saved.items() if one.step <= each.until}
    start = {m.digest: saved[m.digest].step if m.digest in saved else 0 for m in members}
    trim_metrics(current.directory, start, current.say)
    resumed = [m for m in members if start[m.digest] > scored.get(m.digest, 0)]
    if resumed:
        first = min(start[m.digest] for m in resumed)
        current.say(f"resuming {len(resumed)} of {len(members)} members from step {first}")
        meter.skip((m, start[m.digest] - scored.get(m.digest, 0)) for m in resumed)
    for step in sorted(set(start.values())):
        for placement in place_here(m for m in members if start[m.digest] == step):
            dataset = datasets[placement.data_key]
            cohort = _begin(current, placement, dataset, saved if step else {}, step)
            _advance(current, cohort, each.until, meter, stop)
            if each.until < placement.group.num_steps:
                current.note_rung(
                    _score(cohort, cohort.state.params, validation=dataset.validation)
                )
            else:
                _finish(current, cohort, dataset)
                meter.members_done += len(placement.members)
            if (why := stop()) and current.next_round() is not None:
                raise Interrupted(f"{why}, saved; the same command goes on")


def _begin(
    current: OpenRun,
    placement: Placement,
    dataset: Dataset,
    saved: dict[str, checkpoints.Saved],
    step: int,
) -> Cohort:
    """Returns a placement's members in their initial state, or in the one they were saved in."""
    programs = build(placement, dataset, current.segment_steps)
    digests = [member.digest for member in placement.members]
    state, identity = programs.init(), current.identities[placement.data_key]
    looks = Looks(placement.members, programs, dataset.validation)
    seconds = np.zeros(len(digests))
    if saved:
        if {saved[digest].identity for digest in digests} - {identity}:
            identity = "mixed"  # no other run shall take its members for its own
        seconds = np.array([saved[digest].seconds for digest in digests], float)  # None: nan
        arrays = {digest: one.arrays for digest, one in saved.items()}
        looks.best = looks.gone_on(arrays[digest] for digest in digests)
        rows = [looks.without(arrays[member.digest]) for member in placement.rows]
        try:
            state = programs.put(stack_states(state, rows))
        except ValueError as error:
            raise SurroundingsError(
                f"{current.directory} holds checkpoints of another version ({error}); move it "
                "away to start anew"
            ) from error
    return Cohort(placement.members, programs, identity, state, looks, step, seconds)


def _advance(current: OpenRun, cohort: Cohort, until: int, meter: Meter, stop: Stop) -> None:
    """Runs segment by segment, each followed by its metrics and a checkpoint."""
    members, segment = cohort.members, cohort.programs.segment
    count, last = len(members), members[0].num_steps
    # No steps: compiles before the clock starts.
    cohort.state, _ = segment(cohort.state, cohort.step, cohort.step)
    meter.start()
    while cohort.step < until:
        step, look = cohort.step, cohort.looks.look(cohort.step, cohort.state)
        end = cohort.looks.end_of_segment(step, min(step + current.segment_steps, until))
        clock = time.perf_counter()
        cohort.state, metrics = jax.block_until_ready(segment(cohort.state, step, end))
        cohort.seconds = cohort.seconds + (time.perf_counter() - clock) / count
        cohort.step = end
        current.lock.still_ours()
        current.log(metric_rows(members, metrics, step, end, look))
        if end == last:
            cohort.looks.look(end, cohort.state)
        arrays = {n: np.asarray(leaf)[:count] for n, leaf in name_arrays(cohort.state).items()}
        saved = checkpoints.Saved(
            end, arrays | cohort.looks.best, cohort.identity,
            [finite(seconds) for seconds in cohort.seconds],
        )  # fmt: skip
        checkpoints.save(current.directory, tuple(m.digest for m in members), saved)
        loss, metric = (float(np.mean(m[:count, end - step - 1])) for m in metrics[:2])
        meter.tick(Tick(members, end - step, end, loss, metric))
        if current.callback:
            seen = {
                k: column[:count, : end - step] for k, column in columns(members, metrics).items()
            }
            current.callback(Segment(members, step, end, seen))
        if end < last and (why := stop()):
            raise Interrupted(f"{why} after step {end}, saved; the same command goes on")


def _score(cohort: Cohort, params: Params, **splits: Arrays) -> Sequence[Result]:
    """Returns how the members stand with these parameters, on each of the splits."""
    members = cohort.members
    found = scores(cohort.programs, params, members, splits)
    results = []
    for row, member in enumerate(members):
        bad = int(cohort.state.diverged_at[row])
        results.append(
            Result(
                member=member,
                steps=cohort.step,
                validation=found["validation"][row],
                test=found["test"][row] if "test" in found else None,
                diverged_at=None if bad < 0 else bad,
                seconds=finite(np.round(cohort.seconds[row], 3)),
                identity=cohort.identity,
            )
        )
    return results


def _finish(current: OpenRun, cohort: Cohort, dataset: Dataset) -> None:
    """Scores validation and test, once, and records the members as finished."""
    params = cohort.looks.kept(cohort.state.params)
    results = _score(cohort, params, validation=dataset.validation, test=dataset.test)
    digests = parameter_digests(params, len(results))
    finished = {
        result.member.digest: replace(result, parameters_sha256=digest, finished=now())
        for result, digest in zip(results, digests, strict=True)
    }
    current.record.results |= finished
    current.record.distrusted -= finished.keys()
    current.save()
    if current.scalars:
        current.scalars.finish([result.member.digest for result in results])
