"""Logs to MLflow: a run for each member, in one experiment of MLflow for each experiment.

Its settings are those of the package `mlflow`, such as MLFLOW_TRACKING_URI.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lstm_jax.config.experiment import Experiment
from lstm_jax.runs.loggers import missing_logger
from lstm_jax.runs.loggers.logger import Logger, numbers
from lstm_jax.runs.record import Record
from lstm_jax.runs.results import Result, Segment


class MLflow(Logger):
    """Finds the run of a member by its tag, so that a run that was stopped goes on in it."""

    def __init__(self) -> None:
        """Raises EnvironmentProblem if mlflow is not installed."""
        try:
            from mlflow import MlflowClient
        except ImportError:
            raise missing_logger("mlflow") from None
        self.client, self.runs = MlflowClient(), dict[str, str]()  # MLflow's names, by digest

    def begin(self, record: Record, directory: Path) -> None:
        self.record, self.directory = record, directory
        known = self.client.get_experiment_by_name(record.name)
        self.experiment = known.experiment_id if known else None
        if self.experiment is None:
            self.experiment = self.client.create_experiment(record.name)

    def metrics(self, segment: Segment) -> None:
        for member in segment.members:
            if member.digest not in self.runs:
                self.runs[member.digest] = self._run(member)
        for row in segment.rows():
            for name, value in numbers(row).items():
                self.client.log_metric(self.runs[row["member"]], name, value, step=row["step"])

    def _run(self, member: Experiment) -> str:
        """Returns MLflow's name of a member's run, which is made where there is none."""
        tag = f"{self.directory.name}-{member.digest}"
        for run in self.client.search_runs([self.experiment], f"tags.member = '{tag}'"):
            return str(run.info.run_id)
        label = self.record.study.experiment.label(member)
        run = self.client.create_run(self.experiment, tags={"member": tag}, run_name=label)
        for name, value in member.to_values().items():
            self.client.log_param(run.info.run_id, name, value)
        return str(run.info.run_id)

    def finish(self, results: Iterable[Result]) -> None:
        for result in results:
            if run := self.runs.pop(result.member.digest, None):
                for name, value in result.scores().items():
                    self.client.log_metric(run, name, value, step=result.steps)
                self.client.set_terminated(run)

    def close(self) -> None:
        for run in self.runs.values():
            self.client.set_terminated(run, "KILLED")
