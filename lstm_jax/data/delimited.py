"""Texts of cells: CSV, TSV, and any other text with a delimiter.

PyArrow parses them: it comes with TensorFlow Datasets, it reads a CSV of a thousand columns in a
fifth of a second, and it decodes numbers as Python does, to the bit.
"""

from __future__ import annotations

import csv
import io
import re
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lstm_jax.data.dataset import Say
from lstm_jax.data.files import MAX_LINE, decode_lines
from lstm_jax.data.table import Table, TableOptions, say_left_out
from lstm_jax.errors import UserError

if TYPE_CHECKING:
    import pyarrow.csv as pa_csv

DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}


def read_delimited(
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
