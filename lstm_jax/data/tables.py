"""Columns out of a file: CSV by the names in its first line, or the arrays of an .npz by theirs.

A CSV is UTF-8, its cells apart by commas, semicolons or tabs: whichever the first line has most of.
Lines without a value are skipped. Whatever is wrong is named by file and line.
"""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lstm_jax.errors import EnvironmentProblem, UserError, did_you_mean

MOST_BYTES = 1_000_000  # of a line
MOST_SHOWN = 12  # names in a message


class Table(NamedTuple):
    """Columns of one length, in the order of the file."""

    path: Path
    numbers: dict[str, np.ndarray]  # float64 [N] by name, finite
    words: dict[str, list[str]]  # as they are written
    lines: np.ndarray | None  # int [N], the line that a row ends on; None: the file has no lines

    def where(self, row: int) -> str:
        """Returns the file and the line of a row, counted from 0."""
        if self.lines is None:
            return f"{self.path}, entry {row + 1}"
        return f"{self.path}, line {self.lines[row]}"


def read_table(path: str | Path, numbers: Sequence[str], words: Sequence[str] = ()) -> Table:
    """Returns the wanted columns of a file.

    Raises EnvironmentProblem when it is not there or cannot be read, UserError when it has no such
    column or a cell is no finite number.
    """
    path = Path(path)
    try:
        if path.suffix == ".npz":
            return _read_npz(path, numbers, words)
        return _read_csv(path, numbers, words)
    except OSError as error:
        reason = error.strerror or "it is damaged"
        raise EnvironmentProblem(f"{path} cannot be read: {reason}") from error


def _read_csv(path: Path, numbers: Sequence[str], words: Sequence[str]) -> Table:
    rows = _rows(path)
    _, names = next(rows, (0, []))
    names = [name.strip() for name in names]
    if twice := [name for name in {*numbers, *words} if names.count(name) > 1]:
        raise UserError(f"{path}, line 1: the column {twice[0]} is there twice; rename one")
    _refuse_absent(path, [*numbers, *words], names)
    found = {name: array("d") for name in numbers}
    said: dict[str, list[str]] = {name: [] for name in words}
    lines = array("q")
    for line, cells in rows:
        if len(cells) != len(names):
            raise UserError(
                f"{path}, line {line}: {len(cells)} cells, and line 1 names {len(names)} columns"
            )
        for name, column in found.items():
            column.append(_number(cells[names.index(name)], f"{path}, line {line}", name))
        for name, texts in said.items():
            texts.append(cells[names.index(name)].strip())
        lines.append(line)
    if not lines:
        raise UserError(f"{path}: no rows below the names of its columns")
    arrays = {name: np.array(column) for name, column in found.items()}
    return Table(path, arrays, said, np.array(lines))


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields the cells of every line that has any, with the line's number; the names first."""
    with path.open("rb") as file:
        lines = _lines(file, path)
        first = next(lines, "")
        delimiter = max(",;\t", key=first.count)  # the comma, where there is none
        reader = csv.reader(_again(first, lines), delimiter=delimiter, strict=True)
        try:
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield reader.line_num, cells
        except csv.Error as error:
            raise UserError(f"{path}, line {reader.line_num}: no CSV ({error})") from error


def _lines(file: object, path: Path) -> Iterator[str]:
    """Yields the lines as text; an enormous one, or one of another encoding, is refused."""
    number = 0
    while raw := file.readline(MOST_BYTES + 1):  # type: ignore[attr-defined]
        number += 1
        if len(raw) > MOST_BYTES:
            raise UserError(
                f"{path}, line {number}: longer than {MOST_BYTES:,} bytes; is it a CSV?"
            )
        try:
            yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path}, line {number}: byte {raw[error.start]:#04x} is no UTF-8; save the file "
                "as UTF-8"
            ) from error


def _again(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _number(cell: str, where: str, name: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        shown = cell.strip()[:30]
        raise UserError(f"{where}: {shown!r} in column {name} is no finite number")
    return value


def _refuse_absent(path: Path, wanted: Sequence[str], names: Sequence[str]) -> None:
    for name in wanted:
        if name not in names:
            more = " and more" if len(names) > MOST_SHOWN else ""
            there = ", ".join(map(str.strip, names[:MOST_SHOWN])) or "none"
            raise UserError(
                f"{path} has no column {name!r}.{did_you_mean(name, names)} It has {there}{more}"
            )


def _read_npz(path: Path, numbers: Sequence[str], words: Sequence[str]) -> Table:
    """Arrays of one axis and one length."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            _refuse_absent(path, [*numbers, *words], file.files)
            found = {name: file[name] for name in dict.fromkeys([*numbers, *words])}
    except (UserError, OSError):
        raise
    except Exception as error:  # a damaged archive raises whatever its part raises
        raise UserError(f"{path} is no whole .npz of plain arrays: {error}") from error
    shapes = {array.shape for array in found.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1 or not next(iter(shapes))[0]:
        shown = ", ".join(f"{name} {list(array.shape)}" for name, array in found.items())
        raise UserError(f"{path}: needs arrays of one axis and one length, has {shown}")
    arrays = {}
    for name in numbers:
        if found[name].dtype.kind not in "biuf":
            raise UserError(f"{path}: {name} is {found[name].dtype}, not numbers")
        arrays[name] = found[name].astype(np.float64)
        bad = np.flatnonzero(~np.isfinite(arrays[name]))
        if len(bad):
            raise UserError(
                f"{path}, entry {bad[0] + 1}: {arrays[name][bad[0]]} in {name} is no finite number"
            )
    said = {name: [str(value) for value in found[name].tolist()] for name in words}
    return Table(path, arrays, said, None)
