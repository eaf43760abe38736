"""The import of all that makes a page, while a run trains."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from pathlib import Path
from threading import Thread

from lstm_jax.runs.loggers.logger import Logger
from lstm_jax.runs.record import Record


class ImportAhead(Logger):
    """Imports the page of a run in a thread when the run begins to train.

    Matplotlib takes a third of a second. XLA holds no lock of Python while it compiles and trains.
    """

    def begin(self, record: Record, directory: Path) -> None:
        if record.position().next_round is not None:
            Thread(target=_import_page).start()


def _import_page() -> None:
    with suppress(Exception):  # the import that needs it says what is wrong
        import_module("lstm_jax.report.page")
