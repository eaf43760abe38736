"""The results of members, and the segments of training that loggers and a callback receive."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from lstm_jax.config.experiment import Experiment
from lstm_jax.runs.metrics_file import Row

if TYPE_CHECKING:
    import numpy as np

Score = dict[str, float | None]  # `loss` and the task's metrics; None where not finite


class Segment(NamedTuple):
    """Some training steps of members that train side by side. Axis: M members.

    A segment of no steps is the last one of members that are stopped by its evaluation.
    """

    members: tuple[Experiment, ...]
    start: int
    stop: int  # the number of steps done now
    metrics: dict[str, np.ndarray]  # loss, the task's metric, norms: float32 [M, stop - start]
    evaluation: list[Score] | None = None  # on validation before the first step, where it was due
    seconds: float = math.nan  # of training, of all members together

    def rows(self) -> list[Row]:
        """Returns the rows of `metrics.jsonl`: one for each member and logged step.

        A number that is not finite is None. The members share a program, so they log at the same
        steps and have the same metrics. The scores of an evaluation stand in the rows of its step.
        """
        every, scores = self.members[0].log_every, self.evaluation or ()
        if self.start == self.stop:  # the evaluation stopped these members
            rows: list[Row] = [{"member": m.digest, "step": self.start} for m in self.members]
            return [row | _of_validation(score) for row, score in zip(rows, scores, strict=True)]
        rows = [
            {
                "member": member.digest,
                "step": step,
                **{name: finite(column[row, step - self.start]) for name, column in columns},
            }
            for columns in [self.metrics.items()]
            for step in range(self.start, self.stop)
            if step % every == 0
            for row, member in enumerate(self.members)
        ]
        for row, score in zip(rows, scores, strict=False):
            row |= _of_validation(score)
        return rows

    def __repr__(self) -> str:
        columns = self.metrics if self.stop > self.start else {}
        last = {name: float(column[:, -1].mean()) for name, column in columns.items()}
        values = ", ".join(f"{name} {value:.4g}" for name, value in last.items())
        return f"Segment({len(self.members)} members, steps {self.start} to {self.stop}: {values})"


@dataclass(frozen=True, repr=False)
class Result:
    """The scores of a member after its last step, or at a rung of successive halving."""

    member: Experiment
    steps: int  # fewer than the member's budget where it was stopped, or at a rung
    validation: Score
    test: Score | None  # only after the last step
    diverged_at: int | None  # the step since which its parameters are frozen
    seconds: float | None  # of training: its share of the time of all members beside it
    identity: str  # the digest of the identity under which it was trained, or "mixed A B"
    parameters_sha256: str | None = None
    finished: str | None = None
    reused_from: str | None = None  # the sibling directory in which it was trained
    dropped: bool | None = None  # whether halving dropped it at this rung; None: undecided
    num_parameters: int | None = None

    def __repr__(self) -> str:
        metric = self.member.task.metric
        scores = f"validation {metric} {self.validation_metric:.4f}"
        if self.test is not None:
            scores += f", test {metric} {self.test_metric:.4f}"
        return f"Result({self.member.digest}, {self.steps} steps, {scores})"

    @property
    def validation_metric(self) -> float:
        """The task's metric on validation; nan where it is not finite."""
        return _number(self.validation[self.member.task.metric])

    @property
    def test_metric(self) -> float:
        """The task's metric on the test; nan where it is not finite or was not computed."""
        return _number((self.test or {}).get(self.member.task.metric))

    @property
    def has_finite_test(self) -> bool:
        """Whether loss and metric on the test are finite numbers, of a member that did not diverge.

        False of a member at a rung, which was not scored on the test.
        """
        test = self.test or {}
        scores = test.get("loss"), test.get(self.member.task.metric)
        return self.diverged_at is None and None not in scores

    @property
    def stopped_at(self) -> int | None:
        """The step at which `patience` stopped the member, which is finished then; else None."""
        stopped = self.finished is not None and self.steps < self.member.num_steps
        return self.steps if stopped else None

    @property
    def rank(self) -> float:
        """The validation metric for the search, the worst possible one where it diverged."""
        worst = -math.inf if self.member.task.higher_is_better else math.inf
        value = self.validation_metric
        return value if self.diverged_at is None and math.isfinite(value) else worst

    def scores(self) -> dict[str, float]:
        """Returns the scores that are finite: `validation_loss`, `test_accuracy` and so on."""
        return {
            f"{split}_{name}": value
            for split in ("validation", "test")
            for name, value in (getattr(self, split) or {}).items()
            if value is not None
        }

    def to_values(self, experiment: Experiment) -> dict[str, Any]:
        """Returns the row of a record as JSON has it; a member is its values on the grid's axes."""
        values = experiment.coordinates(self.member)
        return {"member": values} | {k: getattr(self, k) for k in SCHEMA if k != "member"}

    @staticmethod
    def from_values(experiment: Experiment, row: dict[str, Any]) -> Result:
        """Returns the result whose `to_values` is given. Raises ValueError for another member."""
        rest = {name: row[name] for name in SCHEMA if name != "member"}
        return Result(member=experiment.member(row["member"]), **rest)

    def flat(self) -> dict[str, Any]:
        """Returns the columns of a table: the member's digest, its values, and its scores."""
        row: dict[str, Any] = {"member": self.member.digest, "steps": self.steps}
        for split in ("validation", "test"):
            for name, value in (getattr(self, split) or {}).items():
                row[f"{split}_{name}"] = value
        row["stopped_at"] = self.stopped_at
        row["num_parameters"] = self.num_parameters
        for name in ("diverged_at", "seconds", "parameters_sha256", "identity", "reused_from"):
            row[name] = getattr(self, name)
        row["dropped_at"] = self.steps if self.dropped else None
        task = self.member.task.spec_string()
        return {"member": row.pop("member"), "task": task, **self.member.values, **row}


# What a row of a record looks like; see `runs/json_files.py`.
_SCORE = {str: (float, None)}
SCHEMA: dict[str, Any] = {
    "member": dict,
    "steps": range(2**63),
    "validation": _SCORE,
    "test": (_SCORE, None),
    "diverged_at": (range(2**63), None),
    "seconds": (float, None),
    "identity": str,
    "num_parameters": (range(2**63), None),
    "parameters_sha256": (str, None),
    "finished": (str, None),
    "reused_from": (str, None),
    "dropped": (bool, None),
}


def _of_validation(score: Score) -> Row:
    return {f"validation_{name}": value for name, value in score.items()}


def finite(value: Any) -> float | None:
    """Returns the number as JSON has it, which knows no nan."""
    return float(value) if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else value
