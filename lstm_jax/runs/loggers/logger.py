"""The interface of a logger, which receives what a run logs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lstm_jax.runs.metrics_file import Row
from lstm_jax.runs.results import Result, Segment

if TYPE_CHECKING:
    from lstm_jax.runs.record import Record


class Logger:
    """Receives what a run logs. A subclass defines the methods that it needs.

    The main process of a run calls them, in this order: `begin`; then, for each segment of
    training, `evaluation` where the members were evaluated before it, and `metrics`; `finish` as
    soon as members are finished; `close`, however the run ends. What a logger raises ends the run,
    and the same command resumes it.
    """

    def begin(self, record: Record, directory: Path) -> None:
        """Receives the record of the run, which grows with it, and the run directory.

        A run that was stopped begins again; `record.results` holds the members that are finished.
        """

    def evaluation(self, segment: Segment) -> None:
        """Receives `segment.evaluation`: for each member, its scores on validation before the first
        step of a segment. The rows of this segment, in `metrics`, hold them too.
        """

    def metrics(self, segment: Segment) -> None:
        """Receives some steps of members that train side by side: `segment.rows()`.

        A run that was killed goes on from the last saved state, and logs the steps since then
        again, with the same numbers.
        """

    def finish(self, results: Iterable[Result]) -> None:
        """Receives the results of members that are trained to their end, or dropped by halving."""

    def close(self) -> None:
        """Ends what `begin` has begun."""


def numbers(row: Row) -> dict[str, float]:
    """Returns the numbers of a row by name, without its member, its step and what is not finite."""
    return {k: v for k, v in row.items() if k not in ("member", "step") and v is not None}
