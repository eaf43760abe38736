"""Series as windows: what is known up to a row, and the values that come after it.

A window belongs to the split in which all values that it asks for lie; what it reads may lie before
that split, never after its own last row. All is scaled by the mean and the standard deviation of
the training rows.

Axes: L rows of a series, N windows, B batch, T rows of a window, I columns, S values asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

from lstm_jax.data.dataset import Arrays, Dataset, make_dataset
from lstm_jax.data.tables import Table
from lstm_jax.errors import UserError

TENTH = 10  # of the rows is each of validation and test, where no rule of the user's says otherwise
SPLITS = ("train", "validation", "test")
SAID = {"true": "train", "1": "train", "training": "train", "false": "test", "0": "test"}


class Cut(NamedTuple):
    """Where a series is cut: training lies before validation, and that before the test."""

    validation: int  # its first row
    test: int
    rule: str  # in words, for the record


def cut_by_share(rows: int) -> Cut:
    """Returns the last tenth as the test, and the tenth before it as validation."""
    tenth = rows // TENTH
    rule = f"in order: the last tenth ({tenth:,} rows) is test, the tenth before it validation"
    return Cut(rows - 2 * tenth, rows - tenth, rule)


def cut_by_column(table: Table, column: str) -> Cut:
    """Returns the splits that a column names: train, validation and test, or true and false.

    Without rows of validation the last tenth of the training rows is that. Raises UserError for
    another word, and where a split goes back to one before it: a window would see its future.
    """
    found = []
    for row, word in enumerate(table.words[column]):
        split = SAID.get(word.lower(), word.lower())
        if split not in SPLITS:
            raise UserError(
                f"{table.where(row)}: {word[:30]!r} in column {column} is no split; use train, "
                "validation and test, or true (training) and false (test)"
            )
        found.append(SPLITS.index(split))
    back = np.flatnonzero(np.diff(found) < 0)
    if len(back):
        raise UserError(
            f"{table.where(int(back[0]) + 1)}: column {column} goes back to "
            f"{SPLITS[found[back[0] + 1]]}; rows must be in the order train, validation, test"
        )
    test = int(np.searchsorted(found, 2))
    validation, rule = int(np.searchsorted(found, 1)), f"by column {column}"
    if validation == test:
        validation -= test // TENTH
        rule += f"; the last tenth of its training rows ({test - validation:,}) is validation"
    return Cut(validation, test, rule)


def cut_by_time(table: Table, column: str, validation_from: str, test_from: str) -> Cut:
    """Returns the splits that begin with the first rows at or after these times.

    Raises UserError for what is neither a number nor a date.
    """
    times = rising_times(table, column)
    bounds = list[int]()
    for name, word in (("validation_from", validation_from), ("test_from", test_from)):
        try:
            bounds.append(int(np.searchsorted(times, moment(word))))
        except ValueError:
            raise UserError(f"task.{name}: {word!r} is no number and no date") from None
    rule = f"by column {column}: validation from {validation_from}, test from {test_from}"
    return Cut(bounds[0], bounds[1], rule)


def rising_times(table: Table, column: str) -> np.ndarray:
    """Returns a column of times as numbers. Raises UserError where they do not rise."""
    times = np.empty(len(table.words[column]))
    for row, word in enumerate(table.words[column]):
        try:
            times[row] = moment(word)
        except ValueError:
            raise UserError(
                f"{table.where(row)}: {word[:30]!r} in column {column} is no number and no date "
                "such as 1980-01-31"
            ) from None
        if row and not times[row] > times[row - 1]:
            raise UserError(
                f"{table.where(row)}: {word[:30]} in column {column} is not after the row before "
                "it; sort the rows by time"
            )
    return times


def moment(word: str) -> float:
    """Returns a number, or of a date or time of ISO 8601 its seconds since 1970, UTC where it names
    no zone. Raises ValueError for anything else.
    """
    try:
        return float(word)
    except ValueError:
        when = datetime.fromisoformat(word)
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def make_windows(
    name: str,
    series: dict[str, np.ndarray],
    target: str,
    columns: Sequence[str],
    cut: Cut,
    *,
    window: int,
    horizon: int,
    history: int,
) -> Dataset:
    """Returns the windows of a series, its columns float64 [L] by name.

    Each split holds its part of the series once, and the first row of each window; see `gather`.
    `history` rows, at least `window`, lie before the values that a window asks for. Raises
    UserError where a split is too short.
    """
    rows = len(series[target])
    begins = {"train": 0, "validation": cut.validation, "test": cut.test}
    ends = {"train": cut.validation, "validation": cut.test, "test": rows}
    lengths = {split: ends[split] - begins[split] for split in SPLITS}
    scales = {column: _scale(series[column][: cut.validation]) for column in {*columns, target}}
    splits = {}
    for split in SPLITS:
        asked = max(begins[split], history)  # the first row that a window asks for
        count = ends[split] - asked - horizon + 1
        if count < 1:
            raise UserError(
                f"{name}: {lengths[split]:,} rows of {split} are too few for windows of {history} "
                f"rows and the {horizon} values after them"
            )
        part = slice(asked - history, ends[split])
        scaled = {c: _scaled(series[c][part], *scales[c]) for c in scales}
        if not all(np.isfinite(column).all() for column in scaled.values()):
            raise UserError(f"{name}: values of {split} are too large beside those of training")
        splits[split] = {
            "first": np.arange(count, dtype=np.int32) + np.int32(history - window),
            "series": np.stack([scaled[c] for c in columns], axis=1),
            "target": scaled[target],
        }
    metadata: dict[str, Any] = {
        "target": target,
        "columns": list(columns),
        "means": [scales[c][0] for c in columns],
        "scales": [scales[c][1] for c in columns],
        "target_mean": scales[target][0],
        "target_scale": scales[target][1],
        "rows": lengths,
        "rule": cut.rule,
    }
    return make_dataset(name, *splits.values(), shared=("series", "target"), **metadata)


def gather(split: Arrays, index: Any, window: int, horizon: int) -> dict[str, Any]:
    """Returns `x` [B,T,I], the rows of the windows of these indices, and `y` [B,S], what they ask
    for; of NumPy's arrays or JAX's.
    """
    start_B1 = split["first"][index][:, None]
    past_BT = start_B1 + np.arange(window, dtype=np.int32)[None]
    next_BS = start_B1 + np.arange(window, window + horizon, dtype=np.int32)[None]
    return {"x": split["series"][past_BT], "y": split["target"][next_BS]}


def _scale(column: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation; 1 for a column that never changes."""
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.mean(column)), float(np.std(column)) or 1.0


def _scaled(column: np.ndarray, mean: float, scale: float) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        return ((column - mean) / scale).astype(np.float32)
