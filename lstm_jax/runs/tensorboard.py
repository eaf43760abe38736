"""The metrics once more as TensorBoard reads them: `tensorboard --logdir RUN_DIR/tensorboard`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lstm_jax.config.experiment import Experiment, format_value
from lstm_jax.errors import missing_package
from lstm_jax.runs.files import disk_errors, make_folder
from lstm_jax.runs.results import Result

LONGEST_NAME = 100  # of a folder, in letters


class Scalars:
    """A folder of events for each member, named after its values and opened at its first row.

    What a killed run wrote beyond its checkpoint is purged when the member goes on.
    """

    def __init__(
        self, directory: Path, experiment: Experiment, before: Iterable[dict[str, Any]] = ()
    ) -> None:
        """`before` are rows that were logged earlier, perhaps when nobody asked for TensorBoard."""
        try:
            from tensorboardX import SummaryWriter, summary
        except ImportError:
            raise missing_package("--tensorboard", "tensorboardX", "tensorboard") from None
        self.open, self.hparams = SummaryWriter, summary.hparams
        self.directory, self.experiment = directory / "tensorboard", experiment
        self.writers: dict[str, Any] = {}
        self.folders: dict[str, Path] = {}
        self.before: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in before:
            self.before[row["member"]].append(row)
        make_folder(self.directory)  # refuses a link in its place

    def begin(self, members: Iterable[Experiment]) -> set[str]:
        """Names the folders of members; writes what was logged of those that have none yet, and
        returns their digests.
        """
        fresh = set()
        for member in members:
            name = re.sub(r"[^\w.=, -]", "_", self.experiment.label(member))[:LONGEST_NAME]
            self.folders[member.digest] = self.directory / f"{name} ({member.digest[:6]})"
            if not self.folders[member.digest].exists():
                fresh.add(member.digest)
                self.write_whole({member.digest: self.before[member.digest]})
        return fresh

    def write_whole(self, rows: dict[str, list[dict[str, Any]]]) -> None:
        """Writes all rows of members, by digest, one member after another: files are closed
        again, there may be many more than can be open.
        """
        for digest, of_one in rows.items():
            self.write(of_one)
            self._close(digest)

    def write(self, rows: Iterable[dict[str, Any]]) -> None:
        """Rows of metrics, as `metrics.jsonl` has them, of members that have begun."""
        with disk_errors(self.directory):
            for row in rows:
                writer = self._writer(row["member"], row["step"])
                for name, value in row.items():
                    if name not in ("member", "step") and value is not None:
                        writer.add_scalar(tag(name), value, row["step"])
            for writer in self.writers.values():
                writer.flush()

    def _writer(self, member: str, step: int) -> Any:
        if member not in self.writers:
            make_folder(self.folders[member])
            # Two files of one second would have one name.
            self.writers[member] = self.open(
                str(self.folders[member]), purge_step=step, filename_suffix=f".{step}"
            )
        return self.writers[member]

    def finish(self, results: Iterable[Result]) -> None:
        """Writes hyper-parameters and results of members that are done, and closes their files."""
        with disk_errors(self.directory):
            for result in results:
                writer = self._writer(result.member.digest, result.steps)
                values = result.member.values.items()
                given = {
                    path: v if isinstance(v, (int, float)) else format_value(v)
                    for path, v in values
                }
                metric = result.member.task.metric
                scores = {
                    f"result/validation_{metric}": result.validation_metric,
                    f"result/test_{metric}": result.test_metric,
                }
                for summary in self.hparams(given, scores):
                    writer.file_writer.add_summary(summary)
                for name, score in scores.items():
                    writer.add_scalar(name, score, result.steps)
                self._close(result.member.digest)

    def close(self) -> None:
        """Closes the files of members that are not done."""
        for digest in list(self.writers):
            self._close(digest)

    def _close(self, digest: str) -> None:
        with disk_errors(self.directory):
            if digest in self.writers:
                self.writers.pop(digest).close()


def tag(name: str) -> str:
    """Returns what TensorBoard shows for a column: training and validation lie side by side."""
    if name.startswith("validation_"):
        return f"{name.removeprefix('validation_')}/validation"
    if name.endswith("_norm"):
        return f"norm/{name.removesuffix('_norm')}"
    return f"{name}/training"
