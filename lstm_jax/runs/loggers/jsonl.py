"""Writes `metrics.jsonl`, the rows on record."""

from __future__ import annotations

from pathlib import Path

from lstm_jax.runs.loggers.logger import Logger
from lstm_jax.runs.metrics_file import append_metrics
from lstm_jax.runs.record import Record
from lstm_jax.runs.results import Segment


class JsonLines(Logger):
    """Appends the rows of each segment to `metrics.jsonl`; `metrics_file` describes the file."""

    def begin(self, record: Record, directory: Path) -> None:
        self.directory = directory

    def metrics(self, segment: Segment) -> None:
        append_metrics(self.directory, segment.rows())
