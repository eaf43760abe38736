"""Writes the metrics for TensorBoard as well: `tensorboard --logdir RUN_DIR/tensorboard`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.labels import format_value
from lstm_jax.data.dataset import say_nothing
from lstm_jax.errors import missing_package
from lstm_jax.runs.files import disk_errors, list_folder, make_folder
from lstm_jax.runs.loggers.logger import Logger, numbers
from lstm_jax.runs.metrics_file import Row, read_metrics
from lstm_jax.runs.record import Record
from lstm_jax.runs.results import Result, Segment

MAX_NAME_LENGTH = 100  # of a folder's name, without the digest


class TensorBoard(Logger):
    """A folder of event files for each member, named after the member's values.

    A member's event file is opened at its first row, and closed when it is finished. A member that
    goes on from a checkpoint, or was reused, is written anew as it is on record. What was written
    before is hidden then.
    """

    def __init__(self) -> None:
        """Raises EnvironmentProblem if tensorboardX is not installed."""
        try:
            from tensorboardX import SummaryWriter, summary
        except ImportError:
            raise missing_package("--tensorboard", "tensorboardX", "tensorboard") from None
        self.open, self.hparams = SummaryWriter, summary.hparams
        self.writers: dict[str, Any] = {}  # by digest

    def begin(self, record: Record, directory: Path) -> None:
        """Prepares the folder `tensorboard` of a run directory.

        Writes the finished members that have no folder, as they were trained without TensorBoard.
        """
        self.run_directory, self.directory = directory, directory / "tensorboard"
        self.record = record
        make_folder(self.directory)
        self.finish(r for r in record.results.values() if not self._folder(r.member).exists())

    def _folder(self, member: Experiment) -> Path:
        label = self.record.study.experiment.label(member)
        name = re.sub(r"[^\w.=, -]", "_", label)[:MAX_NAME_LENGTH]
        return self.directory / f"{name} ({member.digest[:6]})"

    def metrics(self, segment: Segment) -> None:
        new = {m.digest: m for m in segment.members if m.digest not in self.writers}
        if new and segment.start:
            self._write_record(new, segment.start)
        with disk_errors(self.directory):
            for member in new.values():
                self.writers[member.digest] = self._open(member, segment.start)
            self._write(segment.rows())
            for writer in self.writers.values():
                writer.flush()

    def _write_record(self, members: dict[str, Experiment], step: float) -> None:
        """Writes the rows on record of members, by digest, before a step.

        Closes each member's file before it opens the next one: there may be more members than
        files that can be open.
        """
        rows: dict[str, list[Row]] = defaultdict(list)
        for row in read_metrics(self.run_directory, say_nothing):
            if row["member"] in members and row["step"] < step:
                rows[row["member"]].append(row)
        with disk_errors(self.directory):
            for digest, member_rows in rows.items():
                self.writers[digest] = self._open(members[digest], 0)
                self._write(member_rows)
                self.writers.pop(digest).close()

    def _open(self, member: Experiment, step: int) -> Any:
        """Returns the writer of a new event file, which hides the rows of earlier files from this
        step on.
        """
        folder = self._folder(member)
        make_folder(folder)
        # TensorBoard reads files in the order of their names, which begin with the second in which
        # they were opened.
        number = len(list_folder(folder))
        return self.open(str(folder), purge_step=step, filename_suffix=f".{number:06d}")

    def _write(self, rows: Iterable[Row]) -> None:
        for row in rows:
            for name, value in numbers(row).items():
                self.writers[row["member"]].add_scalar(tag(name), value, row["step"])

    def finish(self, results: Iterable[Result]) -> None:
        """Writes hyper-parameters and scores of members, and closes their files."""
        by_digest = {result.member.digest: result for result in results}
        new = {d: r.member for d, r in by_digest.items() if d not in self.writers}
        if new:
            self._write_record(new, float("inf"))
        with disk_errors(self.directory):
            for digest, result in by_digest.items():
                writer = self.writers.pop(digest, None) or self._open(result.member, result.steps)
                hyper_parameters = {
                    path: value if isinstance(value, (int, float)) else format_value(value)
                    for path, value in result.member.values.items()
                }
                scores = {f"result/{name}": value for name, value in result.scores().items()}
                for summary in self.hparams(hyper_parameters, scores):
                    writer.file_writer.add_summary(summary)
                for name, value in scores.items():
                    writer.add_scalar(name, value, result.steps)
                writer.close()

    def close(self) -> None:
        """Closes the files of members that are not finished."""
        with disk_errors(self.directory):
            for digest in list(self.writers):
                self.writers.pop(digest).close()


def tag(name: str) -> str:
    """Returns TensorBoard's name of a column: training and validation lie side by side."""
    if name.startswith("validation_"):
        return f"{name.removeprefix('validation_')}/validation"
    if name.endswith("_norm"):
        return f"norm/{name.removesuffix('_norm')}"
    return f"{name}/training"
