"""Writes the metrics for TensorBoard as well: `tensorboard --logdir RUN_DIR/tensorboard`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lstm_jax.config.experiment import Experiment, format_value
from lstm_jax.errors import missing_package
from lstm_jax.runs.files import disk_errors, list_folder, make_folder
from lstm_jax.runs.metrics_file import Row
from lstm_jax.runs.results import Result

MAX_NAME_LENGTH = 100  # of a folder's name, without the digest


class TensorBoardWriter:
    """A folder of event files for each member, named after the member's values.

    A member's event file is opened at its first row. What a killed run wrote beyond its checkpoint
    is hidden when the member goes on.
    """

    def __init__(
        self, directory: Path, experiment: Experiment, earlier_rows: Iterable[Row] = ()
    ) -> None:
        """Prepares the folder `tensorboard` of a run directory.

        `earlier_rows` are the rows logged so far, perhaps without TensorBoard. Raises
        EnvironmentProblem if tensorboardX is not installed.
        """
        try:
            from tensorboardX import SummaryWriter, summary
        except ImportError:
            raise missing_package("--tensorboard", "tensorboardX", "tensorboard") from None
        self.open, self.hparams = SummaryWriter, summary.hparams
        self.directory, self.experiment = directory / "tensorboard", experiment
        self.writers: dict[str, Any] = {}  # by digest, as are the others
        self.folders: dict[str, Path] = {}
        self.earlier_rows: dict[str, list[Row]] = defaultdict(list)
        for row in earlier_rows:
            self.earlier_rows[row["member"]].append(row)
        make_folder(self.directory)

    def add_members(self, members: Iterable[Experiment]) -> set[str]:
        """Names the folders of members and writes the earlier rows of those without a folder.

        Returns the digests of the members without a folder.
        """
        new = set()
        for member in members:
            name = re.sub(r"[^\w.=, -]", "_", self.experiment.label(member))[:MAX_NAME_LENGTH]
            folder = self.directory / f"{name} ({member.digest[:6]})"
            self.folders[member.digest] = folder
            if not folder.exists():
                new.add(member.digest)
                self.replace_rows({member.digest: self.earlier_rows[member.digest]})
        return new

    def replace_rows(self, rows: dict[str, list[Row]]) -> None:
        """Writes all rows of members, given by digest.

        Closes each member's file before it opens the next one: there may be more members than
        files that can be open.
        """
        for digest, member_rows in rows.items():
            self.write(member_rows)
            self._close(digest)

    def write(self, rows: Iterable[Row]) -> None:
        """Writes rows of metrics, as `metrics.jsonl` has them, of members that were added."""
        with disk_errors(self.directory):
            for row in rows:
                writer = self._writer(row["member"], row["step"])
                for name, value in row.items():
                    if name not in ("member", "step") and value is not None:
                        writer.add_scalar(tag(name), value, row["step"])
            for writer in self.writers.values():
                writer.flush()

    def _writer(self, digest: str, step: int) -> Any:
        """Returns the open writer of a member; opens it at this step if there is none."""
        if digest not in self.writers:
            folder = self.folders[digest]
            make_folder(folder)
            # TensorBoard reads files in the order of their names, which begin with the second they
            # were opened in. At the start of this one it hides the rows of earlier files from
            # `purge_step` on.
            self.writers[digest] = self.open(
                str(folder), purge_step=step, filename_suffix=f".{len(list_folder(folder)):06d}"
            )
        return self.writers[digest]

    def write_results(self, results: Iterable[Result]) -> None:
        """Writes hyper-parameters and scores of finished members, and closes their files."""
        with disk_errors(self.directory):
            for result in results:
                writer = self._writer(result.member.digest, result.steps)
                hyper_parameters = {
                    path: value if isinstance(value, (int, float)) else format_value(value)
                    for path, value in result.member.values.items()
                }
                metric = result.member.task.metric
                scores = {
                    f"result/validation_{metric}": result.validation_metric,
                    f"result/test_{metric}": result.test_metric,
                }
                for summary in self.hparams(hyper_parameters, scores):
                    writer.file_writer.add_summary(summary)
                for name, score in scores.items():
                    writer.add_scalar(name, score, result.steps)
                self._close(result.member.digest)

    def close(self) -> None:
        """Closes the files of members that are not finished."""
        for digest in list(self.writers):
            self._close(digest)

    def _close(self, digest: str) -> None:
        with disk_errors(self.directory):
            if digest in self.writers:
                self.writers.pop(digest).close()


def tag(name: str) -> str:
    """Returns TensorBoard's name of a column: training and validation lie side by side."""
    if name.startswith("validation_"):
        return f"{name.removeprefix('validation_')}/validation"
    if name.endswith("_norm"):
        return f"norm/{name.removesuffix('_norm')}"
    return f"{name}/training"
