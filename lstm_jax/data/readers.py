"""A user's files: texts, lines of columns, and tables of numbers (CSV or .npz).

Every mistake in a file is one line that names the file and the line in it.
"""

from __future__ import annotations

import csv
import glob
import gzip
import io
import itertools
import math
import re
import zlib
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lstm_jax.data.dataset import Say, say_nothing
from lstm_jax.errors import EnvironmentProblem, UserError, did_you_mean

MAX_TEXT_CHARACTERS = 1_000_000  # in a line: a longer one shows that the file is not text
MAX_CSV_BYTES = 1_000_000  # in a line
MAX_NAMES = 12  # in a message
GZIP = b"\x1f\x8b"  # the first bytes of a file that gzip wrote
# The first bytes of files that hold no lines of text, and what to do about them.
OTHER_FILES = {
    b"PK\x03\x04": "is packed by zip, or is a workbook; unpack it, or save it as CSV UTF-8",
    b"\xd0\xcf\x11\xe0": "is a workbook or a document; save it as CSV UTF-8",
    b"BZh91AY": "is packed by bzip2; unpack it",
    b"\xfd7zXZ": "is packed by xz; unpack it",
    b"\x28\xb5\x2f\xfd": "is packed by zstd; unpack it",
    b"PAR1\x15": "is a Parquet file; write it as CSV",
}
# The beginning of a cell that holds a date: 2023-12-31, 2023/12/31, 12/31/2023, 31.12.2023.
DATE = re.compile(r"\s*(\d{4}[-/]\d\d?[-/]\d\d?|\d\d?[./]\d\d?[./]\d{4})(\s|T|$)")
POINT = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}")  # 1.149, which may be 1149
UNDER_THOUSAND = re.compile(r"[+-]?\d{1,3}")


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
    content = _content(path)
    _refuse_other_file(path, content)
    if b"\n" not in content:
        content = content.replace(b"\r", b"\n")  # the line ends of an old Mac
    return decode_lines(content, path)


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


def _refuse_other_file(path: Path, content: bytes) -> None:
    """Raises UserError where a file begins as an archive does, or as another program's file."""
    for first_bytes, message in OTHER_FILES.items():
        if content.startswith(first_bytes):
            raise UserError(f"{path}: {message}")


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + "s" * (count != 1)


# Tables: a CSV with the columns' names in its first line, or the named arrays of an .npz.


class SeriesTable(NamedTuple):
    """Columns of one length, in the order of the file."""

    path: Path
    numbers: dict[str, np.ndarray]  # float64 [N] by name, finite
    words: dict[str, list[str]]  # as the file has them
    lines: np.ndarray | None  # int [N], the line on which a row ends; None: the file has no lines
    dates: str | None = None  # the first column that begins with a date; it is among the words

    def locate(self, row: int) -> str:
        """Returns the file and the line of a row, counted from 0."""
        if self.lines is None:
            return f"{self.path}, entry {row + 1}"
        return f"{self.path}, line {self.lines[row]}"


def read_table(
    path: str | Path, numbers: Sequence[str], words: Sequence[str] = (), say: Say = say_nothing
) -> SeriesTable:
    """Returns columns of a file: `numbers` as numbers, `words` as text.

    A CSV is UTF-8, plain or packed by gzip; its cells are separated by commas, semicolons or tabs:
    see `_delimiter`. An empty line is left out where it can hold no value, and a line says so.
    Raises EnvironmentProblem if the file is missing or cannot be read, UserError if it has no such
    column or if a cell is not a finite number.
    """
    path = Path(path)
    with _explain_unreadable(path):
        if path.suffix == ".npz":
            return _read_npz(path, numbers, words)
        return _read_csv(path, numbers, words, say)


def table_columns(path: str | Path) -> list[str]:
    """Returns the names of a file's columns. Raises as `read_table` does."""
    path = Path(path)
    with _explain_unreadable(path):
        if path.suffix != ".npz":
            return next(_csv_rows(path), (0, list[str]()))[1]
        with _open_npz(path) as file:
            return list(file.files)


@contextmanager
def _explain_unreadable(path: Path) -> Iterator[None]:
    """Raises EnvironmentProblem where the block cannot read the file."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise EnvironmentProblem(f"{path}: is damaged ({error}); fetch it again") from error
    except OSError as error:
        reason = error.strerror or "it is damaged"
        raise EnvironmentProblem(f"{path} cannot be read: {reason}") from error


def _read_csv(path: Path, numbers: Sequence[str], words: Sequence[str], say: Say) -> SeriesTable:
    rows = _csv_rows(path)
    _, names = next(rows, (0, list[str]()))
    if repeated := [name for name in {*numbers, *words} if names.count(name) > 1]:
        raise UserError(f"{path}, line 1: the column {repeated[0]} is there twice; rename one")
    _refuse_missing(path, [*numbers, *words], names)
    values = {name: array("d") for name in numbers}
    texts: dict[str, list[str]] = {name: [] for name in words}
    thousands: dict[str, dict[str, str]] = {name: {} for name in numbers}
    dates = None
    lines, empty = array("q"), list[int]()
    for line, cells in rows:
        if not cells or (len(cells) == 1 and cells[0].isspace()):
            empty.append(line)
            continue
        if empty and len(names) == 1:
            raise UserError(_not_a_number(f"{path}, line {empty[0]}", names[0], ""))
        if len(cells) != len(names):
            raise UserError(
                f"{path}, line {line}: {len(cells)} cells, and line 1 names {len(names)} columns"
            )
        if not lines:
            beginning = dict(zip(names, cells, strict=True))
            others = [n for n in names if n not in values and names.count(n) == 1]
            dates = next((name for name in others if DATE.match(beginning[name])), None)
            if dates is not None:
                texts.setdefault(dates, [])
        for name, column in values.items():
            cell = cells[names.index(name)].strip()
            try:
                value = math.nan if "_" in cell else float(cell)  # float takes 1_000
            except ValueError:
                value = math.nan
            if not math.isfinite(value):
                raise UserError(_not_a_number(f"{path}, line {line}", name, cell))
            column.append(value)
            if name in thousands and not _may_be_thousands(cell, thousands[name]):
                del thousands[name]
        for name, text in texts.items():
            text.append(cells[names.index(name)].strip())
        lines.append(line)
    if not lines:
        raise UserError(f"{path}: no rows below the names of its columns")
    for name, examples in thousands.items():
        _explain_thousands(path, name, examples, say)
    if len(names) > 1:  # an empty line at the end can hold no value
        empty = [line for line in empty if line < lines[-1]]
    if empty:
        first = f"line {empty[0]}" + (" and others" if len(empty) > 1 else "")
        say(f"{path}: left out an empty line {_counted(len(empty), 'time')} ({first})")
    arrays = {name: np.array(column) for name, column in values.items()}
    return SeriesTable(path, arrays, texts, np.array(lines), dates)


def _not_a_number(line: str, name: str, cell: str) -> str:
    """Returns a message about a cell of a CSV."""
    advice = ""
    if not cell or cell.lower() in ("nan", "na", "null", "none", "-", "?"):
        advice = "; fill in the missing value: without its row, the next one is at the wrong time"
    elif re.fullmatch(r"[+-]?\d[\d.,_' ]*", cell):
        advice = "; write decimals with a point, and nothing between thousands"
    return f"{line}: {cell[:30]!r} in column {name} is not a finite number{advice}"


def _may_be_thousands(cell: str, examples: dict[str, str]) -> bool:
    """Returns whether a cell may be written with points between thousands, and notes an example."""
    if UNDER_THOUSAND.fullmatch(cell):
        examples.setdefault("whole", cell)
    elif POINT.fullmatch(cell):
        examples.setdefault("ends in 0" if cell.endswith("0") else "point", cell)
    else:
        return False
    return True


def _explain_thousands(path: Path, name: str, examples: dict[str, str], say: Say) -> None:
    """Raises UserError where points stand between thousands, and says so where they may.

    All points of the column stand before three digits, and beside them are whole numbers below a
    thousand. A program that writes 908 without decimals writes a decimal 1.150 as 1.15.
    """
    example = examples.get("ends in 0", examples.get("point"))
    if example is None or "whole" not in examples:
        return
    message = f"{path}: column {name} has {example} beside {examples['whole']}"
    plain = example.replace(".", "")
    if "ends in 0" in examples:
        raise UserError(
            f"{message}: its points stand between thousands; write {plain}, without a point "
            f"(or {float(example):g}, if it is a decimal point)"
        )
    say(f"{message}; {example} is read with a decimal point: write {plain} if it is a thousand")


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields the line number and the cells of every line, from the names on."""
    with path.open("rb") as file:
        lines = _csv_lines(file, path)
        head = list[str]()  # up to the second line that is not empty
        for line in lines:
            head.append(line)
            if sum(not line.isspace() for line in head) == 2:
                break
        delimiter = _delimiter([line for line in head if not line.isspace()])
        reader = csv.reader(itertools.chain(head, lines), delimiter=delimiter, strict=True)
        try:
            for names in reader:
                if any(map(str.strip, names)):
                    yield reader.line_num, [name.strip() for name in names]
                    break
            for cells in reader:
                yield reader.line_num, cells
        except csv.Error as error:
            raise UserError(f"{path}, line {reader.line_num}: not a CSV ({error})") from error


def _delimiter(head: Sequence[str]) -> str:
    """Returns the delimiter that is most frequent in the first line, the comma where none is there.

    One that cuts the second line into as many cells as the first goes before those that do not.
    """
    first = head[0] if head else ""
    by_frequency = sorted(",;\t", key=first.count, reverse=True)
    for delimiter in by_frequency:
        with suppress(csv.Error):
            counts = {len(cells) for cells in csv.reader(head, delimiter=delimiter) if cells}
            if delimiter in first and len(counts) == 1:
                return delimiter
    return by_frequency[0]


def _csv_lines(file: io.BufferedReader, path: Path) -> Iterator[str]:
    """Yields the lines as text. Raises UserError for one that is too long or not UTF-8."""
    opened: Any = gzip.GzipFile(fileobj=file) if file.peek(2).startswith(GZIP) else file
    beginning = opened.peek(MAX_CSV_BYTES)
    _refuse_other_file(path, beginning)
    if b"\r" in beginning and b"\n" not in beginning:  # the line ends of an old Mac
        opened = io.BytesIO(opened.read().replace(b"\r", b"\n"))
    number = 0
    while raw := opened.readline(MAX_CSV_BYTES + 1):
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


@contextmanager
def _open_npz(path: Path) -> Iterator[Any]:
    """Opens an .npz file. Raises UserError where it is not whole."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            yield file
    except (UserError, OSError):
        raise
    except Exception as error:  # NumPy and zipfile raise many kinds for a damaged archive
        raise UserError(f"{path} is not a whole .npz of plain arrays: {error}") from error


def _read_npz(path: Path, numbers: Sequence[str], words: Sequence[str]) -> SeriesTable:
    with _open_npz(path) as file:
        _refuse_missing(path, [*numbers, *words], file.files)
        columns = {name: file[name] for name in dict.fromkeys([*numbers, *words])}
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
