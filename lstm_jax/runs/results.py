"""A member that was scored, as one row of named values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from lstm_jax.config.experiment import Experiment

if TYPE_CHECKING:
    import numpy as np

Score = dict[str, float | None]  # `loss` and the task's metric; None where not finite


class Segment(NamedTuple):
    """Some steps of members that train side by side, and their metrics. Axis: M members."""

    members: tuple[Experiment, ...]
    start: int
    stop: int  # the number of steps done now
    metrics: dict[str, np.ndarray]  # loss, the task's metric, norms: float32 [M, stop - start]
    evaluation: list[Score] | None = None  # on validation before the first step, where it was due
    seconds: float = math.nan  # of training, of all members together

    def __repr__(self) -> str:
        last = {name: float(column[:, -1].mean()) for name, column in self.metrics.items()}
        values = ", ".join(f"{name} {value:.4g}" for name, value in last.items())
        return f"Segment({len(self.members)} members, steps {self.start} to {self.stop}: {values})"


@dataclass(frozen=True, repr=False)
class Result:
    """How a member stood when it was scored: at its end, or at a rung of a halving."""

    member: Experiment
    steps: int
    validation: Score
    test: Score | None  # at its end alone
    diverged_at: int | None  # frozen since that step
    seconds: float | None  # of training, its share of what all took that trained beside it
    identity: str  # digest of that under which it was trained; "mixed": under several
    parameters_sha256: str | None = None
    finished: str | None = None
    reused_from: str | None = None  # the sibling directory in which it was trained
    dropped: bool | None = None  # at a rung: whether it does not go on; None: not decided yet

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
        """The task's metric on the test; nan where it is not finite or not taken."""
        return _number((self.test or {}).get(self.member.task.metric))

    @property
    def rank(self) -> float:
        """A number for the search: the validation metric, the worst there is once it diverged."""
        worst = -math.inf if self.member.task.higher_is_better else math.inf
        value = self.validation_metric
        return value if self.diverged_at is None and math.isfinite(value) else worst

    def to_values(self, experiment: Experiment) -> dict[str, Any]:
        """Returns the row of a record, as JSON has it: of the member, what the grid varies."""
        own = {path: self.member.values[path] for path in experiment.axes}
        return {"member": own} | {k: getattr(self, k) for k in SCHEMA if k != "member"}

    @staticmethod
    def from_values(experiment: Experiment, row: dict[str, Any]) -> Result:
        """Returns the result of what `to_values` gave."""
        rest = {name: row[name] for name in SCHEMA if name != "member"}
        return Result(member=experiment.replace_unchecked(row["member"]), **rest)

    def flat(self) -> dict[str, Any]:
        """Returns a line of a table: the member's digest, its values, how it did."""
        line: dict[str, Any] = {"member": self.member.digest, "steps": self.steps}
        for split in ("validation", "test"):
            for name, value in (getattr(self, split) or {}).items():
                line[f"{split}_{name}"] = value
        for name in ("diverged_at", "seconds", "parameters_sha256", "identity", "reused_from"):
            line[name] = getattr(self, name)
        line["dropped_at"] = self.steps if self.dropped else None
        values = self.member.to_values()
        return {"member": line.pop("member"), **values, **line}


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
    "parameters_sha256": (str, None),
    "finished": (str, None),
    "reused_from": (str, None),
    "dropped": (bool, None),
}


def _number(value: float | None) -> float:
    return math.nan if value is None else value
