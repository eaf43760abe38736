"""Logs to Weights & Biases: a run for each member, in one project for each experiment.

Its settings are those of the package `wandb`, such as WANDB_MODE=offline.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lstm_jax.runs.loggers import missing_logger
from lstm_jax.runs.loggers.logger import Logger, numbers
from lstm_jax.runs.record import Record
from lstm_jax.runs.results import Result, Segment


class WandB(Logger):
    """Names a run by its member, so that a run that was stopped goes on under the same name."""

    def __init__(self) -> None:
        """Raises EnvironmentProblem if wandb is not installed."""
        try:
            import wandb
        except ImportError:
            raise missing_logger("wandb") from None
        self.init, self.runs = wandb.init, dict[str, Any]()  # by the members' digests

    def begin(self, record: Record, directory: Path) -> None:
        self.record, self.directory = record, directory

    def metrics(self, segment: Segment) -> None:
        for member in segment.members:
            if member.digest not in self.runs:
                self.runs[member.digest] = self.init(
                    project=self.record.name, group=self.directory.name,
                    name=self.record.study.experiment.label(member),
                    id=f"{self.directory.name}-{member.digest}", config=member.to_values(),
                    dir=self.directory, resume="allow", reinit="create_new",
                )  # fmt: skip
        for row in segment.rows():
            self.runs[row["member"]].log(numbers(row), step=row["step"])

    def finish(self, results: Iterable[Result]) -> None:
        for result in results:
            if run := self.runs.pop(result.member.digest, None):
                run.summary.update(result.scores())
                run.finish()

    def close(self) -> None:
        for run in self.runs.values():
            run.finish()
