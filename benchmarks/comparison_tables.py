"""The tables in `docs/comparison/`, which `benchmarks/equal_terms.py` and measurements write."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parent.parent / "docs"
TABLES = DOCS / "comparison"
YEARS = {"rnn": 1990, "lstm": 1997, "gru": 2014, "indrnn": 2018, "lru": 2023, "mingru": 2024,
         "rglru": 2024, "slstm": 2024, "mlstm": 2024, "gated_deltanet": 2024,
         "paragru": 2025}  # fmt: skip


class Score(NamedTuple):
    """The mean metric on the test, and half of its interval's width."""

    mean: float
    half_width: float

    def meets(self, other: Score) -> bool:
        """Returns whether the two intervals have a number in common."""
        return abs(self.mean - other.mean) <= self.half_width + other.half_width


def read_table(name: str) -> list[dict[str, str]]:
    """Returns the rows of a table."""
    with (TABLES / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def read_scores(name: str) -> dict[str, Score]:
    """Returns the score of each cell in a table of one condition."""
    return {row["cell"]: score_of(row) for row in read_table(name)}


def score_of(row: Mapping[str, str]) -> Score:
    """Returns the score of a row."""
    return Score(float(row["score"]), float(row["half_width"]))
