"""The metrics once more as TensorBoard reads them: `tensorboard --logdir RUN_DIR/tensorboard`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lstm_jax.errors import not_installed
from lstm_jax.runs.files import disk, make_folder


class Scalars:
    """A folder of events for each member, opened when it has its first row.

    What a killed run wrote beyond its checkpoint is purged when the member goes on.
    """

    def __init__(self, directory: Path) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise not_installed("--tensorboard", "tensorboardX", "tensorboard") from None
        self.open = SummaryWriter
        self.directory = directory / "tensorboard"
        self.writers: dict[str, Any] = {}
        make_folder(self.directory)  # refuses a link in its place

    def write(self, rows: Iterable[dict[str, Any]]) -> None:
        """Rows of metrics, as `metrics.jsonl` has them."""
        with disk(self.directory):
            for row in rows:
                member, step = row["member"], row["step"]
                if member not in self.writers:
                    make_folder(self.directory / member)
                    folder = str(self.directory / member)
                    self.writers[member] = self.open(folder, purge_step=step)
                for name, value in row.items():
                    if name not in ("member", "step") and value is not None:
                        self.writers[member].add_scalar(name, value, step)
            for writer in self.writers.values():
                writer.flush()

    def finish(self, members: Iterable[str]) -> None:
        """Closes the files of members that are done: there may be many more than can be open."""
        with disk(self.directory):
            for member in set(members) & self.writers.keys():
                self.writers.pop(member).close()

    def close(self) -> None:
        self.finish(list(self.writers))
