"""Which columns of a table a task reads, and their rows: texts of labels, pairs and series."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import numpy as np

from lstm_jax.data.dataset import Say, say_nothing
from lstm_jax.data.table import MAX_NAMES, Table, counted, say_left_out
from lstm_jax.errors import UserError

# The beginning of a cell that holds a date: 2023-12-31, 2023/12/31, 12/31/2023, 31.12.2023.
DATE = re.compile(r"\s*(\d{4}[-/]\d\d?[-/]\d\d?|\d\d?[./]\d\d?[./]\d{4})(\s|T|$)")
TIME_NAMES = ("date", "datetime", "ds", "epoch", "time", "timestamp")  # of a column of numbers


def choose_columns(
    table: Table,
    options: dict[str, str | None],
    recognise: Callable[[Table], Sequence[int] | None],
    say: Say,
    *,
    further: bool = False,
) -> tuple[Table, list[str]]:
    """Returns the table with its header as such, and the names of the columns that are wanted.

    `options` holds the name or the number that the user gave for each column, by the name of the
    task's field. `recognise` returns the positions of the columns where the first row, or the
    file, names them. A file without names has the wanted columns alone, in their order; with
    `further`, other ones follow them. `say` is told which columns are left out. Raises UserError
    where it is not clear which column is which.
    """
    first, found = table.first_row(), recognise(table)
    if not table.has_header and (found or any(name in first for name in options.values())):
        shown = ", ".join(first[:MAX_NAMES])
        say(f"{table.path}: the first line names the columns, {shown}")
        table = table.with_header()
    names = list(table.columns)
    positions = list(found or ())
    if not table.has_header and (len(names) == len(options) or (further and len(names) > 1)):
        positions = list(range(len(options)))
    given = {field: table.resolve(name) for field, name in options.items() if name is not None}
    others = [name for name in names if name not in given.values()]
    for index, field in enumerate(options):
        if field in given:
            continue
        if positions and names[positions[index]] in others:
            given[field] = names[positions[index]]
        elif len(others) == 1:
            given[field] = others[0]
        else:
            fields = " and ".join(f"--task.{each.replace('_', '-')}" for each in options)
            shown = ", ".join(first[:MAX_NAMES]) or "none"
            if len(names) < len(options):
                shown += " (a tab separates columns in a .tsv, a delimiter in a .csv)"
            raise UserError(
                f"{table.path}: has {counted(len(names), 'column')}, {shown}: say which one is the "
                f"{field.removesuffix('_column')}, with {fields} (a name, or a number from 1)"
            )
    chosen = [given[field] for field in options]
    if len(set(chosen)) < len(chosen):
        raise UserError(f"task.{', task.'.join(options)}: both are the column {chosen[0]}")
    say_left_out_columns(table, chosen, say)
    return table, chosen


def say_left_out_columns(table: Table, chosen: Collection[str], say: Say) -> None:
    """Prints the columns of a table that are not among the chosen ones, if there are any."""
    if rest := [name for name in table.columns if name not in chosen]:
        more = " and more" if len(rest) > MAX_NAMES else ""
        shown = ", ".join(rest[:MAX_NAMES])
        say(f"{table.path}: left out {counted(len(rest), 'column')}, {shown}{more}")


def read_rows(table: Table, names: Sequence[str], say: Say) -> list[tuple[str, ...]]:
    """Returns the rows of these columns as texts, of which none is empty and none is repeated.

    `say` is told of those that were left out. Raises UserError where none is left.
    """
    rows: dict[tuple[str, ...], None] = {}
    incomplete, repeated = list[int](), list[int]()
    for index, row in enumerate(zip(*map(table.words, names), strict=True)):
        if not all(row):
            incomplete.append(index)
        elif row in rows:
            repeated.append(index)
        else:
            rows[row] = None
    lines = np.arange(1, 1 + len(rows) + len(incomplete) + len(repeated))
    lines = lines if table.lines is None else table.lines
    say_left_out(table.path, "a line with an empty column", lines[incomplete].tolist(), say)
    say_left_out(table.path, "a repeated line", lines[repeated].tolist(), say)
    if not rows:
        raise UserError(f"{table.path}: has no line of {counted(len(names), 'column')}")
    return list(rows)


class SeriesTable(NamedTuple):
    """The columns of a series, in the order of the file."""

    table: Table
    numbers: dict[str, np.ndarray]  # float64 [N] by name, finite
    words: dict[str, list[str]]  # as the file has them
    # The first column that begins with a date or, where there is none, is named as times are. It is
    # among the words.
    dates: str | None = None

    def locate(self, row: int) -> str:
        """Returns the file and the line of a row, counted from 0."""
        return self.table.locate(row)


def read_series(
    table: Table,
    numbers: Sequence[str],
    words: Sequence[str] = (),
    say: Say = say_nothing,
    *,
    allow_missing: bool = False,
) -> SeriesTable:
    """Returns columns of a table that has names: `numbers` as numbers, `words` as text.

    With `allow_missing` a missing number is nan. Raises UserError as `Table.numbers` does, and
    where a column is missing.
    """
    names = dict.fromkeys([*numbers, *words])
    lengths = {name: len(table.column(name)) for name in names}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} {length:,}" for name, length in lengths.items())
        raise UserError(f"{table.path}: needs arrays of one axis and one length, has {shown}")
    if not all(lengths.values()):
        raise UserError(f"{table.path}: no rows below the names of its columns")
    arrays = {name: table.numbers(name, say, allow_missing=allow_missing) for name in numbers}
    texts = {name: table.words(name) for name in words}
    others = [name for name in table.columns if name not in arrays]
    by_name = (name for name in others if name.strip().lower() in TIME_NAMES)
    dates = next((name for name in others if _is_date(table, name)), next(by_name, None))
    if dates is not None:
        texts.setdefault(dates, table.words(dates))
    return SeriesTable(table, arrays, texts, dates)


def _is_date(table: Table, name: str) -> bool:
    """Returns whether a column of a file, and not of an .npz, begins with a date."""
    column = table.columns[name]
    has_rows = column is not None and not isinstance(column, np.ndarray)
    return has_rows and DATE.match(str(column[0].as_py())) is not None
