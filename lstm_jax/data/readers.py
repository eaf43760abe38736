"""A user's table as named columns: CSV, TSV, JSON Lines, Parquet, or the arrays of an .npz.

PyArrow parses CSV and reads Parquet: it comes with TensorFlow Datasets, it reads a CSV of a
thousand columns in a fifth of a second, and it decodes numbers as Python does, to the bit. Its
import takes a tenth of a second, so that data sets by name do not import it.

Every mistake in a file is one line that names the file and the line in it.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lstm_jax.data.dataset import Say, say_nothing
from lstm_jax.data.files import MAX_LINE, decode_lines, explain_unreadable, read_bytes
from lstm_jax.errors import UserError, did_you_mean, one_line

if TYPE_CHECKING:
    import pyarrow as pa

MAX_NAMES = 12  # in a message
DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
# The beginning of a cell that holds a date: 2023-12-31, 2023/12/31, 12/31/2023, 31.12.2023.
DATE = re.compile(r"\s*(\d{4}[-/]\d\d?[-/]\d\d?|\d\d?[./]\d\d?[./]\d{4})(\s|T|$)")
TIME_NAMES = ("date", "datetime", "ds", "epoch", "time", "timestamp")  # of a column of numbers
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
        return self._replace(columns=_by_name(names, columns), lines=lines, has_header=True)

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


def read_table(path: str | Path, options: TableOptions = PLAIN, say: Say = say_nothing) -> Table:
    """Returns the columns of a file, which its ending tells how to read: see `READERS`.

    The first row of a CSV is not yet taken for the names: see `Table.with_header`. `say` is told
    of empty lines that were left out. Raises UserError for a file that cannot be a table, and
    EnvironmentProblem for one that is missing, damaged or cannot be read.
    """
    path = Path(path)
    if path.suffix.lower() == ".npz":
        with open_npz(path) as file:
            return Table(path, {name: file[name] for name in file.files}, None, has_header=True)
    content, name = read_bytes(path)
    reader = READERS.get(Path(name).suffix.lower(), _read_delimited)
    table = reader(content, path, options, say)
    return table._replace(options=options)


def table_of_frame(frame: Any) -> Table:
    """Returns the columns of a data frame of pandas, Polars or PyArrow, and a named index."""
    import pyarrow as pa

    return _typed(Path("the data frame"), pa.table(frame), None)


def _is_text(column: pa.Array) -> bool:
    import pyarrow as pa

    return pa.types.is_string(column.type) or pa.types.is_large_string(column.type)


def _by_name(names: Sequence[str], columns: Sequence[Any]) -> dict[str, Any]:
    """Returns columns by their names; None for a name that is there twice."""
    counts = Counter(names)
    pairs = zip(names, columns, strict=True)
    return {name: column if counts[name] == 1 else None for name, column in pairs}


def _read_parquet(content: bytes, path: Path, options: TableOptions, say: Say) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(content))
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: is no whole Parquet file ({one_line(error)})") from None
    return _typed(path, table, None)


def _read_json(content: bytes, path: Path, options: TableOptions, say: Say) -> Table:
    """Returns the columns of a text with an object on each line, or of one array of objects."""
    import pyarrow as pa

    text = decode_lines(content, path, options.encoding)
    numbers = [number for number, line in enumerate(text, 1) if line.strip()]
    if text and text[0].startswith("["):
        rows = _parse_json("\n".join(text), path, 1)
        numbers = [1] * len(rows)
    else:
        rows = [_parse_json(text[number - 1], path, number) for number in numbers]
    for row, number in zip(rows, numbers, strict=True):
        if not isinstance(row, dict):
            raise UserError(f'{path}, line {number}: is not an object such as {{"text": "..."}}')
    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowException, OverflowError):
            columns[name] = pa.array(["" if v is None else str(v) for v in values])
    return _typed(path, pa.table(columns), np.array(numbers))


def _parse_json(text: str, path: Path, line: int) -> Any:
    """Returns the value of a text that begins on a line of a file. Raises UserError."""
    try:
        return json.loads(text, object_pairs_hook=_object_of_pairs)
    except json.JSONDecodeError as error:
        line += error.lineno - 1
        raise UserError(f"{path}, line {line}: not JSON ({error.msg})") from None
    except RecursionError:
        message = "is nested too deeply; give objects of plain values"
    except ValueError as error:  # a key that is there twice, a number of thousands of digits
        message = str(error)
    raise UserError(f"{path}, line {line}: {message}")


def _object_of_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns a JSON object. Raises ValueError for a key that is there twice.

    Readers of JSON do not agree on which of the values counts.
    """
    values = dict(pairs)
    if len(values) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key, count in counts.items() if count > 1)
        first, second = [json.dumps(value)[:30] for key, value in pairs if key == twice][:2]
        raise ValueError(f"has the key {twice[:30]!r} twice, with {first} and {second}; keep one")
    return values


def _typed(path: Path, table: pa.Table, lines: np.ndarray | None) -> Table:
    """Returns the table of a file that names its columns; what lies in one is named `outer.inner`.

    An example is {"translation": {"en": "...", "de": "..."}}.
    """
    if not table.num_rows:
        raise UserError(f"{path}: has no rows")
    flat = table.flatten()
    return Table(path, _by_name(flat.column_names, flat.columns), lines, has_header=True)


def _read_delimited(
    content: bytes, path: Path, options: TableOptions, say: Say, delimiters: str = ""
) -> Table:
    """Returns the columns of a text of cells, named 1, 2, ..., without its empty lines.

    An empty line of the only column is left out at the end alone: it may be a missing value.
    `delimiters` are those that may separate cells; by default a tab, or any where none is in the
    first line. Raises UserError for a row that has not as many cells as the first.
    """
    import pyarrow as pa
    import pyarrow.csv as pa_csv

    raw = decode_lines(content, path, options.encoding, old_mac=True)
    num_before = next((i for i, line in enumerate(raw) if line.strip()), len(raw))
    raw = [line.replace("\r", " ") for line in raw[num_before:]]
    if not raw:
        return Table(path, {}, np.zeros(0, np.int64), has_header=True)
    text = "\n".join(raw) + "\n"
    delimiters = delimiters or ("\t" if "\t" in raw[0] else "".join(DELIMITERS))
    delimiter = _delimiter(text, delimiters)
    is_raw = options.raw_tabs and delimiter == "\t"
    has_quotes = '"' in text and (not is_raw or _shows_quotes(text, delimiter))
    starts = list(range(1, len(raw) + 1))
    if has_quotes:
        starts = _row_starts(text, delimiter, path, num_before)
    if is_raw and len(starts) < len(raw):
        say(f"{path}: quotes stand around its cells, of which some hold line ends")
    names = [str(i) for i in range(1, 1 + len(_first_rows(text, delimiter, has_quotes)[0]))]
    wrong = dict[int, Any]()

    def note_wrong(row: pa_csv.InvalidRow) -> str:
        wrong[row.number - 1] = row.actual_columns
        return "skip"

    encoded = text.encode()
    table = pa_csv.read_csv(
        pa.BufferReader(encoded),
        pa_csv.ReadOptions(use_threads=False, block_size=len(encoded) + 1, column_names=names),
        pa_csv.ParseOptions(
            delimiter=delimiter,
            quote_char='"' if has_quotes else False,
            newlines_in_values=True,
            ignore_empty_lines=False,
            invalid_row_handler=note_wrong,
        ),
        pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), check_utf8=False),
    )
    is_empty = np.array([not raw[start - 1].strip() for start in starts])
    last = np.flatnonzero(~is_empty)[-1]
    if len(names) == 1:
        is_empty[:last] = False
    for row, num_cells in wrong.items():
        if not is_empty[row]:
            raise UserError(
                f"{path}, line {num_before + starts[row]}: {num_cells} cells, and line "
                f"{num_before + 1} has {len(names)}; {DELIMITERS[delimiter]} separates cells"
            )
    is_read = np.ones(len(starts), bool)
    is_read[list(wrong)] = False
    lines = num_before + np.array(starts)
    left_out = lines[is_empty] if len(names) == 1 else lines[:last][is_empty[:last]]
    say_left_out(path, "an empty line", left_out.tolist(), say)
    kept = pa.array(~is_empty[is_read])
    columns = {name: table.column(name).combine_chunks().filter(kept) for name in names}
    return Table(path, columns, lines[~is_empty], has_header=False)


def _first_rows(text: str, delimiter: str, has_quotes: bool) -> list[list[str]]:
    """Returns the first two rows that are not empty. Raises csv.Error."""
    beginning = io.StringIO(text[: 2 * MAX_LINE], newline="")
    rows = csv.reader(
        beginning,
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if has_quotes else csv.QUOTE_NONE,
    )
    return list(islice((row for row in rows if any(map(str.strip, row))), 2))


def _delimiter(text: str, delimiters: str) -> str:
    """Returns the delimiter that is most frequent in the first line, the first where none is there.

    One that cuts the second row into as many cells as the first goes before those that do not.
    """
    first = text.partition("\n")[0]
    by_frequency = sorted(delimiters, key=first.count, reverse=True)
    for delimiter in by_frequency:
        with suppress(csv.Error):
            counts = {len(row) for row in _first_rows(text, delimiter, True)}
            if delimiter in first and len(counts) == 1 and counts != {1}:
                return delimiter
    return by_frequency[0]


def _shows_quotes(text: str, delimiter: str) -> bool:
    """Returns whether all quotes of a text stand around cells, and some cells need them.

    Programs put them around a cell with a delimiter, a quote or a line end in it, or around all
    cells. In other texts, such as lines of speech, they belong to the cell.
    """
    cell = (
        rf'(?:^|(?<=[{re.escape(delimiter)}\n]))"([^"]*(?:""[^"]*)*)"(?=[{re.escape(delimiter)}\n])'
    )
    cells = re.findall(cell, text)
    if sum(each.count('"') + 2 for each in cells) != text.count('"'):
        return False
    needs = re.compile(rf'["\n{re.escape(delimiter)}]')
    first = text.partition("\n")[0].split(delimiter)
    return all(map(needs.search, cells)) or all(re.fullmatch('".*"', each) for each in first)


def _row_starts(text: str, delimiter: str, path: Path, num_before: int) -> list[int]:
    """Returns the line on which each row begins. Raises UserError for quotes that do not match."""
    csv.field_size_limit(MAX_LINE)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    starts = [1]
    try:
        for _ in reader:
            starts.append(reader.line_num + 1)
    except csv.Error as error:
        raise UserError(
            f"{path}, line {num_before + starts[-1]}: not a CSV ({error}); a quote in a cell is "
            'doubled, and the cell stands in quotes: "say ""yes"""'
        ) from None
    return starts[:-1]


# Texts of named columns.


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


def say_left_out(path: Path, what: str, lines: Sequence[int], say: Say) -> None:
    """Prints how often something was left out, and the first line of it."""
    if lines:
        first = f"line {lines[0]}" + (" and others" if len(lines) > 1 else "")
        say(f"{path}: left out {what} {counted(len(lines), 'time')} ({first})")


def counted(count: int, noun: str) -> str:
    """Returns a count with its noun, in the plural where it is not one."""
    return f"{count:,} {noun}" + "s" * (count != 1)


Reader = Callable[[bytes, Path, TableOptions, Say], Table]
# By the ending of a file, in any letter case; any other file is a text of cells.
READERS: dict[str, Reader] = {
    ".csv": partial(_read_delimited, delimiters="".join(DELIMITERS)),
    ".tsv": partial(_read_delimited, delimiters="\t"),
    ".tab": partial(_read_delimited, delimiters="\t"),
    ".json": _read_json,
    ".jsonl": _read_json,
    ".ndjson": _read_json,
    ".parquet": _read_parquet,
}


@contextmanager
def open_npz(path: Path) -> Iterator[Any]:
    """Opens an .npz file. Raises UserError where it is not whole, or holds other than arrays."""
    with explain_unreadable(path):
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                yield file
        except (UserError, OSError):
            raise
        except Exception as error:  # NumPy and zipfile raise many kinds for a damaged archive
            raise UserError(
                f"{path} is not a whole .npz of plain arrays, as numpy.savez writes it: {error}"
            ) from error


# Columns of a series, which must have names.


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
