"""A user's files: texts, lines of columns, and tables of numbers (CSV or .npz).

Every mistake in a file is one line that names the file and the line in it.
"""

from __future__ import annotations

import csv
import glob
import gzip
import itertools
import math
import re
import zlib
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lstm_jax.data.dataset import Say
from lstm_jax.errors import EnvironmentProblem, UserError, did_you_mean

MAX_TEXT_CHARACTERS = 1_000_000  # in a line: a longer one shows that the file is not text
MAX_CSV_BYTES = 1_000_000  # in a line
MAX_NAMES = 12  # in a message
GZIP = b"\x1f\x8b"  # the first bytes of a file that gzip wrote


def is_text_file(name: str) -> bool:
    """Returns whether a data set's name is that of a text file, or a pattern of files.

    It begins with `.`, `/` or `~`, contains `*`, or ends as files of text do, in any case.
    """
    return re.search(r"^[./~]|[*]|\.(txt|tsv|gz|csv|md|py)$", name.lower()) is not None


# Texts, plain or packed by gzip, UTF-8.


def read_columns(path: str | Path, count: int, say: Say) -> list[tuple[str, ...]]:
    """Returns the lines of a file as tuples of `count` texts; tabs separate them, none is empty.

    It leaves out empty lines, lines with an empty column and repeated lines, and prints how many.
    Raises UserError, with the line number, for a file that is missing or not such text, and
    EnvironmentProblem for one that cannot be read.
    """
    rows: dict[tuple[str, ...], None] = {}
    empty, incomplete, repeated = list[int](), list[int](), list[int]()
    for number, line in enumerate(_text_lines(Path(path)), 1):
        columns = tuple(column.strip() for column in line.split("\t"))
        if not line.strip():
            empty.append(number)
        elif len(columns) != count:
            raise UserError(
                f"{path}: line {number} has {_counted(len(columns), 'column')}, not {count}; "
                "a tab separates columns"
            )
        elif not all(columns):
            incomplete.append(number)
        elif columns in rows:
            repeated.append(number)
        else:
            rows[columns] = None
    for numbers, reason in (
        (empty, "an empty line"),
        (incomplete, "a line with an empty column"),
        (repeated, "a repeated line"),
    ):
        if numbers:
            first = f"line {numbers[0]}" + (" and others" if len(numbers) > 1 else "")
            say(f"{path}: left out {reason} {_counted(len(numbers), 'time')} ({first})")
    if not rows:
        raise UserError(f"{path}: has no line of {_counted(count, 'column')}")
    return list(rows)


def read_text(path: str | Path) -> bytes:
    """Returns the bytes of a file, or of all files that match a pattern such as `folder/**/*.txt`.

    Several files follow each other in the order of their names, separated by a line feed. Raises
    UserError if there is no file, EnvironmentProblem for one that cannot be read.
    """
    if Path(path).is_file():
        return _content(Path(path))
    if Path(path).is_dir():
        raise UserError(f"{path}: is a folder; give a pattern of its files, such as {path}/*.txt")
    files = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]
    files = [file for file in files if file.is_file()]
    if not files:
        raise UserError(f"{path}: there is no such file, and no file matches it as a pattern")
    return b"\n".join(map(_content, files))


def _text_lines(path: Path) -> list[str]:
    """Returns the lines of a text file, without their line ends."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give a file of lines")
    return decode_lines(_content(path), path)


def decode_lines(content: bytes, path: str | Path) -> list[str]:
    """Returns the lines of a text without their line ends and without a byte order mark.

    A line ends with a line feed alone. Raises UserError, which names the path and the line, for
    content that is not UTF-8 and for a line of more than `MAX_TEXT_CHARACTERS`.
    """
    lines = []
    for number, line in enumerate(content.removeprefix("\ufeff".encode()).split(b"\n"), 1):
        try:
            lines.append(line.removesuffix(b"\r").decode())
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path}: line {number} is not UTF-8 ({error.reason}, byte {error.start + 1}); "
                "convert the file, for instance with iconv -t UTF-8"
            ) from None
        if len(lines[-1]) > MAX_TEXT_CHARACTERS:
            raise UserError(
                f"{path}: line {number} has {len(lines[-1]):,} characters, more than "
                f"{MAX_TEXT_CHARACTERS:,}; a text is one line"
            )
    return lines[:-1] if lines and not lines[-1] else lines


def _content(path: Path) -> bytes:
    """Returns a file's bytes, unpacked if gzip packed them."""
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content.startswith(GZIP) else content
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise EnvironmentProblem(f"{path}: is damaged ({error}); fetch it again") from error
    except OSError as error:
        raise EnvironmentProblem(f"{path}: cannot be read ({error.strerror})") from error


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + "s" * (count != 1)


# Tables: a CSV with the columns' names in its first line, or the named arrays of an .npz.


class SeriesTable(NamedTuple):
    """Columns of one length, in the order of the file."""

    path: Path
    numbers: dict[str, np.ndarray]  # float64 [N] by name, finite
    words: dict[str, list[str]]  # as the file has them
    lines: np.ndarray | None  # int [N], the line on which a row ends; None: the file has no lines

    def locate(self, row: int) -> str:
        """Returns the file and the line of a row, counted from 0."""
        if self.lines is None:
            return f"{self.path}, entry {row + 1}"
        return f"{self.path}, line {self.lines[row]}"


def read_table(path: str | Path, numbers: Sequence[str], words: Sequence[str] = ()) -> SeriesTable:
    """Returns columns of a file: `numbers` as numbers, `words` as text.

    A CSV is UTF-8; its cells are separated by commas, semicolons or tabs, whichever is most
    frequent in the first line; lines without a value are skipped. Raises EnvironmentProblem if
    the file is missing or cannot be read, UserError if it has no such column or if a cell is not a
    finite number.
    """
    path = Path(path)
    try:
        return (_read_npz if path.suffix == ".npz" else _read_csv)(path, numbers, words)
    except OSError as error:
        reason = error.strerror or "it is damaged"
        raise EnvironmentProblem(f"{path} cannot be read: {reason}") from error


def _read_csv(path: Path, numbers: Sequence[str], words: Sequence[str]) -> SeriesTable:
    rows = _csv_rows(path)
    _, names = next(rows, (0, []))
    names = [name.strip() for name in names]
    if repeated := [name for name in {*numbers, *words} if names.count(name) > 1]:
        raise UserError(f"{path}, line 1: the column {repeated[0]} is there twice; rename one")
    _refuse_missing(path, [*numbers, *words], names)
    values = {name: array("d") for name in numbers}
    texts: dict[str, list[str]] = {name: [] for name in words}
    lines = array("q")
    for line, cells in rows:
        if len(cells) != len(names):
            raise UserError(
                f"{path}, line {line}: {len(cells)} cells, and line 1 names {len(names)} columns"
            )
        for name, column in values.items():
            cell = cells[names.index(name)]
            try:
                value = float(cell)
            except ValueError:
                value = math.nan
            if not math.isfinite(value):
                raise UserError(
                    f"{path}, line {line}: {cell.strip()[:30]!r} in column {name} is not a finite "
                    "number"
                )
            column.append(value)
        for name, text in texts.items():
            text.append(cells[names.index(name)].strip())
        lines.append(line)
    if not lines:
        raise UserError(f"{path}: no rows below the names of its columns")
    arrays = {name: np.array(column) for name, column in values.items()}
    return SeriesTable(path, arrays, texts, np.array(lines))


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields the line number and the cells of every line that is not empty, the names first."""
    with path.open("rb") as file:
        lines = _csv_lines(file, path)
        first = next(lines, "")
        delimiter = max(",;\t", key=first.count)  # the comma, where there is none
        reader = csv.reader(itertools.chain([first], lines), delimiter=delimiter, strict=True)
        try:
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield reader.line_num, cells
        except csv.Error as error:
            raise UserError(f"{path}, line {reader.line_num}: not a CSV ({error})") from error


def _csv_lines(file: Any, path: Path) -> Iterator[str]:
    """Yields the lines as text. Raises UserError for one that is too long or not UTF-8."""
    number = 0
    while raw := file.readline(MAX_CSV_BYTES + 1):
        number += 1
        if len(raw) > MAX_CSV_BYTES:
            raise UserError(
                f"{path}, line {number}: longer than {MAX_CSV_BYTES:,} bytes; is it a CSV?"
            )
        try:
            yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path}, line {number}: byte {raw[error.start]:#04x} is not UTF-8; save the file "
                "as UTF-8"
            ) from error


def _refuse_missing(path: Path, wanted: Sequence[str], names: Sequence[str]) -> None:
    """Raises UserError where a wanted column is not among the names."""
    for name in wanted:
        if name not in names:
            more = " and more" if len(names) > MAX_NAMES else ""
            there = ", ".join(map(str.strip, names[:MAX_NAMES])) or "none"
            raise UserError(
                f"{path} has no column {name!r}.{did_you_mean(name, names)} It has {there}{more}"
            )


def _read_npz(path: Path, numbers: Sequence[str], words: Sequence[str]) -> SeriesTable:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            _refuse_missing(path, [*numbers, *words], file.files)
            columns = {name: file[name] for name in dict.fromkeys([*numbers, *words])}
    except (UserError, OSError):
        raise
    except Exception as error:  # NumPy and zipfile raise many kinds for a damaged archive
        raise UserError(f"{path} is not a whole .npz of plain arrays: {error}") from error
    shapes = {column.shape for column in columns.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1 or not next(iter(shapes))[0]:
        shown = ", ".join(f"{name} {list(column.shape)}" for name, column in columns.items())
        raise UserError(f"{path}: needs arrays of one axis and one length, has {shown}")
    arrays = {}
    for name in numbers:
        if columns[name].dtype.kind not in "biuf":
            raise UserError(f"{path}: {name} is {columns[name].dtype}, not numbers")
        arrays[name] = columns[name].astype(np.float64)
        bad = np.flatnonzero(~np.isfinite(arrays[name]))
        if len(bad):
            raise UserError(
                f"{path}, entry {bad[0] + 1}: {arrays[name][bad[0]]} in {name} is not a finite "
                "number"
            )
    texts = {name: [str(value) for value in columns[name].tolist()] for name in words}
    return SeriesTable(path, arrays, texts, None)
