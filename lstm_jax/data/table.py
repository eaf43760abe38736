"""A table as named columns: texts, numbers and dates of a user's file, with the line of each row.

Every mistake in a value is one line that names the file and the line in it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lstm_jax.data.dataset import Say, say_nothing
from lstm_jax.errors import UserError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

MAX_NAMES = 12  # in a message
POINT = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}")  # 1.149, which may be 1149
UNDER_THOUSAND = re.compile(r"[+-]?\d{1,3}")
MISSING = ("", "nan", "na", "n/a", "null", "none", "-", "?")


class TableOptions(NamedTuple):
    """How a file of text is read: fields of the tasks."""

    encoding: str | None = None  # None: UTF-8, or as a byte order mark says
    decimal: str = "."
    thousands: str | None = None
    raw_tabs: bool = False  # quotes between tabs belong to the cells, unless the file shows more


PLAIN = TableOptions()


class Table(NamedTuple):
    """Columns of one length, in the order of the file."""

    path: Path
    columns: dict[str, Any]  # PyArrow's arrays [N], arrays of an .npz; None: a name that is twice
    lines: np.ndarray | None  # int [N], the line on which a row begins; None: there are no lines
    has_header: bool  # whether the names are those of the file, and not "1", "2", ...
    options: TableOptions = PLAIN

    def locate(self, row: int) -> str:
        """Returns the file and the line of a row, counted from 0."""
        if self.lines is None:
            return f"{self.path}, entry {row + 1}"
        return f"{self.path}, line {self.lines[row]}"

    def head(self, count: int) -> Table:
        """Returns the first rows."""
        columns = {
            name: column[:count] for name, column in self.columns.items() if column is not None
        }
        return self._replace(
            columns=columns, lines=None if self.lines is None else self.lines[:count]
        )

    def first_row(self) -> list[str]:
        """Returns the cells of the first row, or the names of the columns where they are known."""
        if self.has_header:
            return list(self.columns)
        return [column[0].as_py().strip() for column in self.columns.values() if len(column)]

    def with_header(self) -> Table:
        """Returns the table with its first row as the names of its columns."""
        if self.has_header:
            return self
        names = [name or f"column {i}" for i, name in enumerate(self.first_row(), 1)]
        columns = [column[1:] for column in self.columns.values()]
        lines = None if self.lines is None else self.lines[1:]
        return self._replace(columns=by_name(names, columns), lines=lines, has_header=True)

    def resolve(self, name: str) -> str:
        """Returns the name of a column that is given by its name or its number, from 1.

        Raises UserError where there is none.
        """
        names = list(self.columns)
        if name not in names and name.isdecimal() and 0 < int(name) <= len(names):
            return names[int(name) - 1]
        self.column(name)
        return name

    def column(self, name: str) -> pa.Array:
        """Returns a column. Raises UserError where there is none, or where it is no column."""
        import pyarrow as pa

        if name not in self.columns:
            names = list(self.columns)
            more = " and more" if len(names) > MAX_NAMES else ""
            there = ", ".join(names[:MAX_NAMES]) or "none"
            raise UserError(
                f"{self.path} has no column {name!r}.{did_you_mean(name, names)} It has {there}"
                f"{more}"
            )
        column = self.columns[name]
        if column is None:
            raise UserError(f"{self.path}, line 1: the column {name} is there twice; rename one")
        if isinstance(column, np.ndarray):
            if column.ndim != 1:
                raise UserError(
                    f"{self.path}: needs arrays of one axis and one length, and {name} is "
                    f"{list(column.shape)}"
                )
            column = pa.array(column)
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column

    def bytes_column(self) -> str | None:
        """Returns the first column of bytes, such as those of pictures; None if there is none."""
        import pyarrow as pa

        types = {name: getattr(column, "type", None) for name, column in self.columns.items()}
        is_bytes = (
            name for name, each in types.items() if each in (pa.binary(), pa.large_binary())
        )
        return next(is_bytes, None)

    def is_text(self, name: str) -> bool:
        """Returns whether a column holds texts, as those of a CSV do until they are parsed."""
        column = self.columns[name]
        is_one = column is not None and getattr(column, "ndim", 1) == 1  # of an .npz may not be
        return is_one and _is_text(self.column(name))

    def words(self, name: str) -> list[str]:
        """Returns a column as text, without white space around it; a missing value is empty."""
        import pyarrow as pa

        column = self.column(name)
        if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
            raise UserError(f"{self.path}: column {name} is {column.type}, not text")
        if pa.types.is_temporal(column.type):
            column = column.cast(pa.string())
        return ["" if value is None else str(value).strip() for value in column.to_pylist()]

    def numbers(
        self, name: str, say: Say = say_nothing, *, allow_missing: bool = False
    ) -> np.ndarray:
        """Returns a column as numbers, float64 [N]; nan for a missing value that is allowed.

        Raises UserError for another value that is not finite, with its line, and where points may
        stand between thousands; `say` is told where this is not sure.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        column = self.column(name)
        is_text = _is_text(column)
        if not is_text and not (
            pa.types.is_integer(column.type)
            or pa.types.is_floating(column.type)
            or pa.types.is_decimal(column.type)
            or pa.types.is_boolean(column.type)
        ):
            raise UserError(f"{self.path}: column {name} is {column.type}, not numbers")
        is_plain = (self.options.decimal, self.options.thousands) == (".", None)
        try:
            if is_text and not is_plain:
                raise pa.ArrowInvalid
            values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            values = np.array([self._number(cell or "") for cell in column.to_pylist()])
        bad = ~np.isfinite(values)
        if allow_missing and bad.any():
            cells = [str(column[row].as_py() or "") for row in np.flatnonzero(bad).tolist()]
            bad[bad] = [cell.strip().lower() not in MISSING for cell in cells]
        if bad.any():
            row = int(np.argmax(bad))
            raise UserError(self._not_a_number(row, name, column[row].as_py()))
        if is_text and is_plain and pc.any(pc.match_substring(column, ".")).as_py():
            cells = [cell.strip() for cell in column.to_pylist() if cell]
            self._explain_points(name, iter(cells), say)
        return values

    def _number(self, cell: str) -> float:
        """Returns the number that a cell holds; nan where it holds none."""
        decimal, thousands = self.options.decimal, self.options.thousands
        whole, point, fraction = cell.strip().partition(decimal)
        if thousands is not None and thousands in whole:
            mark = re.escape(thousands)
            if not re.fullmatch(rf"[+-]?\d{{1,3}}({mark}\d{{3}})+", whole):
                return math.nan
            whole = whole.replace(thousands, "")
        if "_" in cell or (decimal != "." and "." in whole + fraction):  # float takes 1_000
            return math.nan
        with suppress(ValueError):
            return float(f"{whole}.{fraction}" if point else whole)
        return math.nan

    def _not_a_number(self, row: int, name: str, cell: Any) -> str:
        """Returns a message about a value that is not a finite number."""
        cell, advice = "" if cell is None else str(cell).strip(), ""
        if cell.lower() in MISSING:
            advice = (
                "; fill in the missing value: without its row, the next one is at the wrong time; "
                "or give --task.missing drop or interpolate"
            )
        elif re.fullmatch(r"[+-]?\d[\d.,_' \u00a0\u202f]*", cell):
            advice = (
                "; write decimals with a point, and nothing between thousands, or give "
                "--task.decimal and --task.thousands"
            )
        return f"{self.locate(row)}: {cell[:30]!r} in column {name} is not a finite number{advice}"

    def _explain_points(self, name: str, cells: Iterator[str], say: Say) -> None:
        """Raises UserError where points stand between thousands, and says so where they may.

        All points of the column stand before three digits, and beside them are whole numbers below
        a thousand. A program that writes 908 without decimals writes a decimal 1.150 as 1.15.
        """
        examples: dict[str, str] = {}
        for cell in cells:
            if UNDER_THOUSAND.fullmatch(cell):
                examples.setdefault("whole", cell)
            elif POINT.fullmatch(cell):
                examples.setdefault("ends in 0" if cell.endswith("0") else "point", cell)
            else:
                return
        example = examples.get("ends in 0", examples.get("point"))
        if example is None or "whole" not in examples:
            return
        message = f"{self.path}: column {name} has {example} beside {examples['whole']}"
        plain = example.replace(".", "")
        if "ends in 0" in examples:
            raise UserError(
                f"{message}: its points stand between thousands; write {plain}, without a point "
                f"(or {float(example):g}, if it is a decimal point), or give --task.decimal , "
                "--task.thousands ."
            )
        say(
            f"{message}; {example} is read with a decimal point: write {plain} if it is a "
            "thousand, or give --task.decimal , --task.thousands ."
        )


def _is_text(column: pa.Array) -> bool:
    import pyarrow as pa

    return pa.types.is_string(column.type) or pa.types.is_large_string(column.type)


def by_name(names: Sequence[str], columns: Sequence[Any]) -> dict[str, Any]:
    """Returns columns by their names; None for a name that is there twice."""
    counts = Counter(names)
    pairs = zip(names, columns, strict=True)
    return {name: column if counts[name] == 1 else None for name, column in pairs}


def say_left_out(path: Path, what: str, lines: Sequence[int], say: Say) -> None:
    """Prints how often something was left out, and the first line of it."""
    if lines:
        first = f"line {lines[0]}" + (" and others" if len(lines) > 1 else "")
        say(f"{path}: left out {what} {counted(len(lines), 'time')} ({first})")


def counted(count: int, noun: str) -> str:
    """Returns a count with its noun, in the plural where it is not one."""
    return f"{count:,} {noun}" + "s" * (count != 1)
