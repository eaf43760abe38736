"""What was read of the data, from the data cards on record."""

from __future__ import annotations

from collections.abc import Iterator

from lstm_jax.report.drawing import TextTable
from lstm_jax.runs.data_card import SPLITS, count_rows, describe
from lstm_jax.runs.record import Record


def data_tables(record: Record) -> Iterator[TextTable]:
    """Yields two tables for each data set: its examples by split and class, and how it was read,
    with three examples and warnings. Yields none for a record of an earlier version.
    """
    cards = [values["card"] for values in record.metadata.values() if "card" in values]
    for number, card in enumerate(cards):
        suffix = f"_{number}" if number else ""
        source = f"{card['name']} ({card['source']})" if card["source"] else card["name"]
        counts = count_rows(card)
        yield TextTable(f"data_counts{suffix}", "What was read", source, ["", *SPLITS], counts)
        lines = [*describe(card), *(f"while reading: {note}" for note in card["notes"])]
        yield TextTable(
            f"data_as_read{suffix}", "How it was read",
            f"{source}; the first examples of training as the model reads them", (),
            [line.partition(": ")[::2] for line in lines],
        )  # fmt: skip
