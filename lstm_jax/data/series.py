"""The series of a table: one, or several that a column names, in the order of time.

A row that does not follow the row before it begins anew: after a gap in time, and after a row that
lacks a value.

Axes: L rows of a series.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import Any

import numpy as np

from lstm_jax.data.columns import SeriesTable
from lstm_jax.data.dataset import Say
from lstm_jax.data.labelled_splits import SPLITS
from lstm_jax.data.table import Table
from lstm_jax.data.times import (
    MAX_HOLIDAYS,
    WORKING_DAYS,
    NotATime,
    Times,
    TimeStep,
    parse_times,
    usual_step,
)
from lstm_jax.errors import UserError

TENTH = 10  # validation and test are a tenth of the rows each, unless the user says otherwise
SPLIT_WORDS = {"true": "train", "1": "train", "training": "train", "false": "test", "0": "test"}
HOUR = 3600  # seconds
ZONE = re.compile(r"([+-]\d\d:?\d\d|Z)$")  # at the end of a time
MAX_SHOWN = 6  # series in a message
MAX_BLOCKS = 100  # of rows below each other that may be series


@dataclass(frozen=True)
class SeriesSplit:
    """The rows at which a series is split: training, then validation, then the test."""

    validation: int  # its first row
    test: int  # its first row
    rule: str  # in words, for the record; part of the data's fingerprint


@dataclass(frozen=True)
class Series:
    """One series, its oldest row first."""

    name: str  # "" where the file holds one series
    rows: np.ndarray  # int64 [L], in the table
    columns: dict[str, np.ndarray]  # float64 [L] by name; nan where a value is missing
    times: np.ndarray | None  # float64 [L]; None: unknown
    begins: np.ndarray  # bool [L], whether no window holds both this row and the one before it
    filled: dict[str, np.ndarray]  # bool [L] by name, whether the value was interpolated

    def take(self, rows: np.ndarray) -> Series:
        """Returns these rows of the series, as an index or a mask."""
        return replace(
            self, rows=self.rows[rows], begins=self.begins[rows],
            times=None if self.times is None else self.times[rows],
            columns={name: column[rows] for name, column in self.columns.items()},
            filled={name: filled[rows] for name, filled in self.filled.items()},
        )  # fmt: skip


@dataclass(frozen=True)
class SeriesTimes:
    """The column of times of a table, and the usual step from a row to the next."""

    column: str
    times: Times
    step: TimeStep | None  # None: unknown

    def metadata(self) -> dict[str, Any]:
        """Returns the column and the step as JSON values; see `recorded_step`."""
        return {"column": self.column, **(self.step._asdict() if self.step else {})}


def recorded_step(time: dict[str, Any]) -> TimeStep | None:
    """Returns the time step of `SeriesTimes.metadata`."""
    return TimeStep(time["amount"], time["unit"]) if "unit" in time else None


def order_by_time(
    table: SeriesTable, columns: Sequence[str], time: str | None, by: str | None, say: Say
) -> tuple[list[Series], SeriesTimes | None]:
    """Returns the series of a table in the order of time, and their times where they are known.

    `by` names the column that tells several series apart, `time` that of the times. If it is None,
    the first column of dates is taken, unless its dates do not rise. Series with their newest row
    first are turned, and `say` prints so. Raises UserError where a named time does not rise.
    """
    rows = _rows_by_series(table, by) if by else {"": np.arange(len(table.numbers[columns[0]]))}
    column = time or table.dates
    times = _parse_column(table, column, say, is_named=time is not None) if column else None
    if column and times:
        newest_first = [name for name, index in rows.items() if _falls(times.values[index])]
        for name in newest_first:
            rows[name] = rows[name][::-1]
        if newest_first:
            say(
                f"{table.table.path}: column {column} has the newest row first"
                f"{f' in {listed(newest_first)}' if by else ''}; it is read from the oldest row on"
            )
        doubts = [_why_not_rising(table, column, times.values, r, by) for r in rows.values()]
        doubt = next(filter(None, doubts), "")
        if doubt and time:
            raise UserError(doubt)
        if doubt:
            say(
                f"{doubt}. Each row is taken to follow the row above it, as no column of times is "
                f"named (--task.time {column})"
            )
            times = None
    each = [
        Series(
            name, index, {c: table.numbers[c][index] for c in columns},
            times.values[index] if times else None, np.zeros(len(index), bool),
            {c: np.zeros(len(index), bool) for c in columns},
        )
        for name, index in rows.items()
    ]  # fmt: skip
    if not column or not times:
        return each, None
    known = [one.times for one in each if one.times is not None]
    return each, SeriesTimes(column, times, usual_step(known, are_dates=times.are_dates))


def _rows_by_series(table: SeriesTable, by: str) -> dict[str, np.ndarray]:
    """Returns the rows of each series in the order of the file."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(table.words[by]):
        if not name:
            raise UserError(f"{table.locate(row)}: column {by} is empty; it names the series")
        rows.setdefault(name, []).append(row)
    return {name: np.array(index) for name, index in rows.items()}


def _parse_column(table: SeriesTable, column: str, say: Say, *, is_named: bool) -> Times | None:
    """Returns the times of a column. Raises UserError where a named one holds another word."""
    try:
        times = parse_times(table.words[column])
    except NotATime as error:
        where = f"{table.locate(error.row)}: {table.words[column][error.row][:30]!r}"
        if is_named:
            raise UserError(
                f"{where} in column {column} is neither a number nor a date such as 1980-01-31"
            ) from None
        say(f"{where} in column {column} is no date: no gap in time is looked for")
        return None
    if times.doubt:
        say(f"{table.table.path}: column {column}: {times.doubt}")
    return times


def _falls(times: np.ndarray) -> bool:
    return bool(times[-1] < times[0] and (np.diff(times) <= 0).all())


def _why_not_rising(
    table: SeriesTable, column: str, times: np.ndarray, rows: np.ndarray, by: str | None
) -> str:
    """Returns where times do not rise, and what to do about it; an empty text where they rise."""
    steps = np.diff(times[rows])
    if not len(steps) or steps.min() > 0:
        return ""
    first = int(np.argmax(steps <= 0))
    row, back = int(rows[first + 1]), -float(steps[first])
    word = table.words[column][row]
    reason, remedy = "is not after the row before it", "sort the rows by time"
    if back == 0:
        reason, remedy = "is also the time of the row before it", "keep one row per time"
    if by is None:
        remedy += ", or name the column that tells several series apart (--task.series)"
    if ":" in word and back <= HOUR and not ZONE.search(word):
        remedy += ", or, where clocks are turned back, write the offset (2023-10-29T02:00:00+02:00)"
    return f"{table.locate(row)}: {word[:30]} in column {column} {reason}; {remedy}"


def listed(names: Iterable[str]) -> str:
    """Returns the first names of a list, and how many there are besides."""
    names = list(names)
    more = f" and {len(names) - MAX_SHOWN:,} more" if len(names) > MAX_SHOWN else ""
    return ", ".join(names[:MAX_SHOWN]) + more


def say_blocks(table: Table, read: Collection[str], window: int, say: Say) -> None:
    """Prints which column that is not read has one block of rows for each of its names.

    Such blocks, longer than a window, may be several series below each other.
    """
    for column in table.columns:
        if column in read or not table.is_text(column):
            continue
        words = table.words(column)
        blocks = {name: len(list(rows)) for name, rows in groupby(words)}
        are_whole = sum(blocks.values()) == len(words)  # no name comes back
        is_name = [re.search(r"[^\W\d_]", name) is not None for name in blocks]
        is_split = {SPLIT_WORDS.get(name.lower(), name.lower()) for name in blocks} <= {*SPLITS}
        if (
            2 <= len(blocks) <= MAX_BLOCKS
            and (are_whole and all(is_name) and not is_split)
            and min(blocks.values()) > window
        ):
            say(
                f"{table.path}: column {column} has {len(blocks):,} names, each in rows that "
                f"follow each other ({listed(blocks)}), and windows cross from one to the next; if "
                f"they name several series, give --task.series {column}"
            )


def begin_after_gaps(
    each: list[Series], times: SeriesTimes, table: SeriesTable, say: Say, *, cross: bool = False
) -> list[Series]:
    """Returns the series, which begin anew after each gap in time. `say` prints where.

    With `cross` they go on as if no row were missing.
    """
    if times.step is None:
        return each
    marked, num_gaps, first_gap = list[Series](), 0, ""
    for one in each:
        assert one.times is not None
        gaps = np.r_[False, times.step.is_gap(one.times)] if len(one.rows) else one.begins
        num_gaps += int(np.count_nonzero(gaps))
        if gaps.any() and not first_gap:
            row = int(np.argmax(gaps))
            length = times.step.between(*one.times[row - 1 : row + 1].tolist())
            first_gap = (
                f"{table.locate(int(one.rows[row]))}: the step of column {times.column} before it "
                f"is {length}, not {times.step}"
            )
        marked.append(one if cross else replace(one, begins=one.begins | gaps))
    if times.step.unit == WORKING_DAYS:
        _say_holidays(times, each, say)
    if first_gap:
        more = num_gaps - 1
        others = f", nor {'is one' if more == 1 else f'are {more:,}'} after it" if more else ""
        what = "rows are taken to follow each other" if cross else "no window crosses such a step"
        say(f"{first_gap}{others}; {what}")
    return marked


def _say_holidays(times: SeriesTimes, each: list[Series], say: Say) -> None:
    """Prints how many working days are left out of a column, which may be holidays."""
    step = TimeStep(1, WORKING_DAYS)
    skipped = [np.diff(step.positions(one.times)) - 1 for one in each if one.times is not None]
    days = np.concatenate(skipped)
    if (days > 0).any():
        say(
            f"column {times.column} has working days alone; up to "
            f"{days[days <= MAX_HOLIDAYS].max():g} in a row are left out, "
            f"{np.count_nonzero(days > 0):,} times in all, and taken for holidays"
        )


# Splits.


def split_by_share(num_rows: int, *, of_several: bool = False) -> SeriesSplit:
    """Returns a split with the last tenth as the test, and the tenth before it as validation."""
    tenth = num_rows // TENTH
    count = "of each series" if of_several else f"{tenth:,} rows"
    rule = f"in order: the last tenth ({count}) is test, the tenth before it validation"
    return SeriesSplit(num_rows - 2 * tenth, num_rows - tenth, rule)


def split_by_column(table: SeriesTable, column: str, one: Series) -> SeriesSplit:
    """Returns the split that a column names: train, validation and test, or true and false.

    If no row is for validation, the last tenth of the training rows is. Raises UserError for any
    other word, and where the splits are out of order: a window would see its future.
    """
    splits = []
    for row in one.rows.tolist():
        word = table.words[column][row]
        split = SPLIT_WORDS.get(word.lower(), word.lower())
        if split not in SPLITS:
            raise UserError(
                f"{table.locate(row)}: {word[:30]!r} in column {column} is not a split; use train, "
                "validation and test, or true (training) and false (test)"
            )
        splits.append(SPLITS.index(split))
    back = np.flatnonzero(np.diff(splits) < 0)
    if len(back):
        raise UserError(
            f"{table.locate(int(one.rows[back[0] + 1]))}: column {column} goes back to "
            f"{SPLITS[splits[back[0] + 1]]}; rows must be in the order train, validation, test"
        )
    test = int(np.searchsorted(splits, 2))
    validation, rule = int(np.searchsorted(splits, 1)), f"by column {column}"
    if validation == test:
        validation -= test // TENTH
        count = f" ({test - validation:,})" if not one.name else ""
        rule += f"; the last tenth of its training rows{count} is validation"
    return SeriesSplit(validation, test, rule)


def split_by_time(
    times: SeriesTimes, one: Series, validation_from: str, test_from: str
) -> SeriesSplit:
    """Returns the split whose validation and test begin at the first rows not before these times.

    Raises UserError for a time that is neither a number nor a date.
    """
    assert one.times is not None
    bounds = list[int]()
    for name, word in (("validation_from", validation_from), ("test_from", test_from)):
        try:
            bounds.append(int(np.searchsorted(one.times, times.times.parse(word))))
        except ValueError:
            raise UserError(
                f"task.{name}: {word!r} is neither a number nor a date, as column {times.column} "
                "has them"
            ) from None
    rule = f"by column {times.column}: validation from {validation_from}, test from {test_from}"
    return SeriesSplit(bounds[0], bounds[1], rule)


# Missing values.

# What programs write where a value is missing.
PLACEHOLDERS = tuple(sign * (10**digits - 1) for digits in (2, 3, 4, 5, 6) for sign in (-1, 1))
FAR = 3  # times the range of all other values
VERY_FAR = 20  # times that range: for one value that is none of these numbers
FEWEST = 20  # other values, whose range says something


def say_placeholders(table: SeriesTable, columns: Iterable[str], say: Say) -> None:
    """Prints where a number is far from all others: it may be a mistake or a missing value.

    Such a number is one of `PLACEHOLDERS`, or the lowest or the highest value, if it is there once.
    """
    for name in columns:
        column = table.numbers[name]
        known = column[np.isfinite(column)]
        if not len(known):
            continue
        for value in dict.fromkeys([*PLACEHOLDERS, float(known.min()), float(known.max())]):
            is_there, others = column == value, known[known != value]
            count, is_placeholder = int(np.count_nonzero(is_there)), value in PLACEHOLDERS
            if not count or not len(others):
                continue
            low, high = float(others.min()), float(others.max())
            is_extreme = count == 1 and low < high and len(others) >= FEWEST
            far = FAR if is_placeholder else VERY_FAR
            distance = max(low - value, value - high)
            if (is_placeholder or is_extreme) and distance > far * (high - low):
                times = "once" if count == 1 else f"{count:,} times"
                say(
                    f"{table.locate(int(np.argmax(is_there)))}: {value:g} in column {name}, "
                    f"{times}, is far from all other values, {low:g} to {high:g}; if it is a "
                    "mistake or stands for a missing value, leave the cell empty and give "
                    "--task.missing drop or interpolate"
                )


def missing_rows(one: Series) -> np.ndarray:
    """Returns whether a row lacks a value, bool [L]."""
    return np.any([np.isnan(column) for column in one.columns.values()], axis=0)


def say_missing(table: SeriesTable, each: list[Series], missing: str, say: Say) -> None:
    """Prints where values are missing, and what becomes of them."""
    rows = np.sort(np.concatenate([one.rows[missing_rows(one)] for one in each]))
    if not len(rows):
        return
    of_rows = f"{len(rows):,} rows lack a value" if len(rows) > 1 else "this row lacks a value"
    what = "such rows are left out, and no window crosses one (task.missing=drop)"
    if missing == "interpolate":
        what = (
            "values between two known ones of a split are filled in, other rows are left out; no "
            "window asks for a value that was filled in, nor ends in one (task.missing=interpolate)"
        )
    say(f"{table.locate(int(rows[0]))}: {of_rows}; {what}")


def without_missing(
    one: Series, split_at: SeriesSplit, *, interpolate: bool
) -> tuple[Series, SeriesSplit]:
    """Returns a series without missing values, and where its splits begin then.

    A row that lacks a value is left out, and the series begins anew behind it. With `interpolate`
    a value between two known ones is filled in first, linear in time (or in rows, if no time is
    known), inside of each split and between gaps alone.
    """
    if not missing_rows(one).any():
        return one, split_at
    if interpolate:
        one = _interpolated(one, split_at)
    kept = ~missing_rows(one)
    num_begun = np.cumsum(one.begins | ~kept)[kept]
    taken = one.take(kept)
    begins = np.r_[False, np.diff(num_begun) > 0][: len(num_begun)]
    before = np.r_[0, np.cumsum(kept)]
    bounds = int(before[split_at.validation]), int(before[split_at.test])
    return replace(taken, begins=begins), SeriesSplit(*bounds, split_at.rule)


def _interpolated(one: Series, split_at: SeriesSplit) -> Series:
    length = len(one.rows)
    bounds = {0, split_at.validation, split_at.test, length, *np.flatnonzero(one.begins).tolist()}
    axis = np.arange(length, dtype=np.float64) if one.times is None else one.times
    columns, filled = {}, {}
    for name, column in one.columns.items():
        columns[name] = column.copy()
        for first, stop in pairwise(sorted(bounds)):
            known = first + np.flatnonzero(~np.isnan(column[first:stop]))
            if len(known):
                between = np.s_[known[0] : known[-1] + 1]
                columns[name][between] = np.interp(axis[between], axis[known], column[known])
        filled[name] = np.isnan(column) & ~np.isnan(columns[name])
    return replace(one, columns=columns, filled=filled)
