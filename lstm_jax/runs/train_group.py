"""Members trained side by side: begun or gone on with, segment by segment, scored, recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import jax
import numpy as np

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.results import Result, Segment
from lstm_jax.data.dataset import Arrays, Dataset
from lstm_jax.errors import EnvironmentProblem, Interrupted
from lstm_jax.model.init import Params
from lstm_jax.runs import checkpoints
from lstm_jax.runs.evaluation import Evaluator
from lstm_jax.runs.progress import Progress, ProgressBar
from lstm_jax.runs.scoring import columns, finite, metric_rows, parameter_digests, scores
from lstm_jax.runs.session import RunSession, now
from lstm_jax.train import distributed
from lstm_jax.train.step import TrainState
from lstm_jax.train.sweep import Placement, Programs, build, name_arrays, stack_states

Stop = Callable[[], str | None]  # why to stop after this segment, if so


@dataclass
class TrainGroup:
    """Members trained side by side, and how far they are."""

    members: tuple[Experiment, ...]
    programs: Programs
    identity: str  # under which they were trained so far; see `checkpoints.Saved`
    state: TrainState  # consumed by the next segment
    looks: Evaluator
    step: int
    seconds: np.ndarray  # of training so far, by member: its share of what all took; nan: not known


def begin(
    current: RunSession,
    placement: Placement,
    dataset: Dataset,
    saved: dict[str, checkpoints.Saved],
    step: int,
) -> TrainGroup:
    """Returns a placement's members in their initial state, or in the one they were saved in."""
    programs = build(placement, dataset, current.checkpoint_every)
    digests = [member.digest for member in placement.members]
    state, identity = programs.init(), current.identities[placement.data_key]
    looks = Evaluator(placement.members, programs, dataset.validation)
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
            raise EnvironmentProblem(
                f"{current.directory} holds checkpoints of another version ({error}); move it "
                "away to start anew"
            ) from error
    return TrainGroup(placement.members, programs, identity, state, looks, step, seconds)


def advance(
    current: RunSession, cohort: TrainGroup, until: int, bar: ProgressBar, stop: Stop
) -> None:
    """Runs segment by segment, each followed by its metrics and a checkpoint."""
    members, segment = cohort.members, cohort.programs.segment
    count, last = len(members), members[0].num_steps
    # No steps: compiles before the clock starts.
    cohort.state, _ = segment(cohort.state, cohort.step, cohort.step)
    bar.start()
    while cohort.step < until:
        step, look = cohort.step, cohort.looks.look(cohort.step, cohort.state)
        end = cohort.looks.end_of_segment(step, min(step + current.checkpoint_every, until))
        clock = time.perf_counter()
        cohort.state, metrics = jax.block_until_ready(segment(cohort.state, step, end))
        cohort.seconds = cohort.seconds + (time.perf_counter() - clock) / count
        cohort.step = end
        metrics = distributed.fetch(metrics)
        current.log(metric_rows(members, metrics, step, end, look))
        if end == last:
            cohort.looks.look(end, cohort.state)
        arrays = {n: a[:count] for n, a in distributed.fetch(name_arrays(cohort.state)).items()}
        saved = checkpoints.Saved(
            end, arrays | cohort.looks.best, cohort.identity,
            [finite(seconds) for seconds in cohort.seconds],
        )  # fmt: skip
        current.keep(members, saved)
        loss, metric = (float(np.mean(m[:count, end - step - 1])) for m in metrics[:2])
        bar.update(Progress(members, end - step, end, loss, metric, look))
        if current.callback:
            seen = {
                k: column[:count, : end - step] for k, column in columns(members, metrics).items()
            }
            current.callback(Segment(members, step, end, seen))
        if end < last and (why := stop()):
            raise Interrupted(f"{why} after step {end}, saved; the same command goes on")


def score(cohort: TrainGroup, params: Params, **splits: Arrays) -> Sequence[Result]:
    """Returns how the members stand with these parameters, on each of the splits."""
    members = cohort.members
    found = scores(cohort.programs, params, members, splits)
    diverged_at = distributed.fetch(cohort.state.diverged_at)
    results = []
    for row, member in enumerate(members):
        bad = int(diverged_at[row])
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


def finish(current: RunSession, cohort: TrainGroup, dataset: Dataset) -> None:
    """Scores validation and test, once, and records the members as finished."""
    params = cohort.looks.kept(cohort.state.params)
    results = score(cohort, params, validation=dataset.validation, test=dataset.test)
    digests = parameter_digests(params, len(results))
    finished = {
        result.member.digest: replace(result, parameters_sha256=digest, finished=now())
        for result, digest in zip(results, digests, strict=True)
    }
    current.record.results |= finished
    current.record.distrusted -= finished.keys()
    current.save()
    if current.scalars:
        current.scalars.finish(finished.values())
