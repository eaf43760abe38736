"""Members that train side by side: started or restored, segment by segment, scored."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.data.dataset import Arrays, Dataset
from lstm_jax.model.init import Params
from lstm_jax.runs.checkpoints import Saved
from lstm_jax.runs.evaluation import (
    NEVER,
    Evaluator,
    best_of,
    metric_columns,
    parameter_digests,
    score_splits,
    without_best,
)
from lstm_jax.runs.results import Result, Score, Segment, finite
from lstm_jax.train.placement import Placement, build_programs, named_leaves, stack_states
from lstm_jax.train.processes import to_host
from lstm_jax.train.step import Metrics


class TrainGroup:
    """The members of a placement, their state, and how far they are.

    This is the one loop over training steps: a run, `reproduce`, `plan --measure` and the figures
    of a report all take their steps by `segments`. Axis: M members.
    """

    def __init__(
        self, placement: Placement, dataset: Dataset, max_steps: int, *, evaluate: bool = True
    ) -> None:
        """Puts the members into their initial state.

        A segment has at most `max_steps` steps. Without `evaluate` there are no evaluations on
        validation between them.
        """
        self.placement, self.members, self.max_steps = placement, placement.members, max_steps
        self.dataset = dataset
        self.programs = build_programs(placement, dataset, max_steps)
        self.state = self.programs.init()  # the next segment consumes it
        self.evaluator = Evaluator(self.members, self.programs, dataset)
        self.evaluates = evaluate
        self.identity = ""  # under which they were trained so far; see `checkpoints.Saved`
        self.step = 0
        self.seconds_M = np.zeros(len(self.members))  # of training so far; nan: not known

    def restore(self, saved: Mapping[str, Saved]) -> None:
        """Goes on from the saved states, by the members' digests, which all have the same step.

        Raises ValueError where their arrays are not those of this model.
        """
        states = [saved[member.digest] for member in self.members]
        self.step = states[0].step
        before = {digest for s in states for digest in s.identity.removeprefix("mixed ").split()}
        if before != {self.identity}:  # no other run may take these members for its own
            self.identity = f"mixed {' '.join(sorted(before | {self.identity}))}"
        self.seconds_M = np.array([state.seconds for state in states], float)  # None becomes nan
        self.evaluator.best = best_of(state.arrays for state in states)
        rows = [without_best(saved[member.digest].arrays) for member in self.placement.rows]
        self.state = self.programs.put(stack_states(self.state, rows))

    def begin_with(self, saved: Mapping[str, Saved]) -> None:
        """Starts from the parameters of these states, by the members' digests, at step 0 and with
        a fresh optimiser. Raises ValueError where their arrays are not those of this model.
        """
        fresh = to_host(named_leaves(self.state))
        rows = [
            {name: array[row] for name, array in fresh.items()} | saved[member.digest].arrays
            for row, member in enumerate(self.placement.rows)
        ]
        self.state = self.programs.put(stack_states(self.state, rows))

    def compile(self) -> None:
        """Compiles the program of a segment, by one of no steps."""
        self.state, _ = self.programs.segment(self.state, self.step, self.step)

    def segments(self, stop: int) -> Iterator[Segment]:
        """Trains to step `stop`, and yields each segment as soon as it is done.

        A segment ends after `max_steps` steps or where the members are evaluated.
        `Segment.evaluation` holds the scores from before the segment's first step. Members that are
        stopped by them come in a segment of no steps, and are in no later one.
        """
        evaluator, count = self.evaluator, len(self.members)
        while self.step < stop and len(active := self.active_rows()):
            start, scores = self.step, None
            end = min(start + self.max_steps, stop)
            if self.evaluates:
                scores = evaluator.evaluate(start, self.state)
                end = evaluator.next_stop(start, end)
            rows = self.active_rows()
            if len(rows) < len(active):
                stopped = np.setdiff1d(active, rows)
                no_steps = Metrics(*[jnp.zeros((count, 0))] * len(Metrics._fields))
                columns = metric_columns(self.members, no_steps)
                yield self._segment(stopped, start, start, columns, scores, 0.0)
                if not len(rows):
                    return
            is_stopped = np.isin(np.arange(len(self.placement.rows)), rows, invert=True)
            is_stopped[count:] = is_stopped[count - 1]  # copies that fill up a tile
            clock = time.perf_counter()
            self.state, metrics = jax.block_until_ready(
                self.programs.segment(self.state, start, end, is_stopped)
            )
            seconds = time.perf_counter() - clock
            self.seconds_M[rows] += seconds / len(rows)
            self.step = end
            if self.evaluates and end == self.members[0].num_steps:
                evaluator.evaluate(end, self.state)
            columns = metric_columns(self.members, to_host(metrics))
            columns = {name: array[:count, : end - start] for name, array in columns.items()}
            yield self._segment(rows, start, end, columns, scores, seconds)

    def active_rows(self) -> np.ndarray:
        """Returns the rows of the members that are not stopped, int [m]."""
        return np.flatnonzero(self.evaluator.stopped_at_M == NEVER)

    def _segment(
        self,
        rows: np.ndarray,
        start: int,
        stop: int,
        columns: dict[str, np.ndarray],
        scores: list[Score] | None,
        seconds: float,
    ) -> Segment:
        """Returns the segment of the members in these rows."""
        return Segment(
            tuple(self.members[row] for row in rows), start, stop,
            {name: column[rows] for name, column in columns.items()},
            None if scores is None else [scores[row] for row in rows], seconds,
        )  # fmt: skip

    def saved(self) -> Saved:
        """Returns the members' state as a checkpoint holds it."""
        leaves = to_host(named_leaves(self.state))
        arrays = {name: array[: len(self.members)] for name, array in leaves.items()}
        seconds = [finite(seconds) for seconds in self.seconds_M]
        return Saved(self.step, arrays | self.evaluator.best, self.identity, seconds)

    def final_params(self) -> Params:
        """Returns the parameters that are the members' results, in rows as the state has them."""
        return self.evaluator.final_params(self.state.params)

    def results(self, params: Params, **splits: Arrays) -> list[Result]:
        """Returns how the members score with these parameters on each of the splits."""
        scores = score_splits(self.programs, params, self.members, splits, self.dataset)
        diverged_at_M = to_host(self.state.diverged_at)[: len(self.members)].tolist()
        stopped_at_M = self.evaluator.stopped_at_M.tolist()
        count = sum(math.prod(leaf.shape[1:]) for leaf in jax.tree.leaves(params))
        return [
            Result(
                member=member,
                steps=self.step if stopped_at_M[row] == NEVER else stopped_at_M[row],
                validation=scores["validation"][row],
                test=scores["test"][row] if "test" in scores else None,
                diverged_at=None if diverged_at < 0 else diverged_at,
                seconds=finite(np.round(self.seconds_M[row], 3)),
                identity=self.identity,
                num_parameters=count,
            )
            for row, (member, diverged_at) in enumerate(
                zip(self.members, diverged_at_M, strict=True)
            )
        ]

    def finished(self, dataset: Dataset) -> Iterable[Result]:
        """Returns the results of members that are trained to their end, scored on the test set."""
        params = self.final_params()
        results = self.results(params, validation=dataset.validation, test=dataset.test)
        digests = parameter_digests(params, len(results))
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return [
            replace(result, parameters_sha256=digest, finished=now)
            for result, digest in zip(results, digests, strict=True)
        ]
