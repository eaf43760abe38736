"""A user's table from a file: CSV, TSV, JSON Lines, Parquet, or the arrays of an .npz.

PyArrow's import takes a tenth of a second, so that data sets by name do not import it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lstm_jax.data.dataset import Say, say_nothing
from lstm_jax.data.delimited import DELIMITERS, read_delimited
from lstm_jax.data.files import decode_lines, explain_unreadable, read_bytes
from lstm_jax.data.table import PLAIN, Table, TableOptions, by_name
from lstm_jax.errors import UserError, one_line

if TYPE_CHECKING:
    import pyarrow as pa


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
    reader = READERS.get(Path(name).suffix.lower(), read_delimited)
    table = reader(content, path, options, say)
    return table._replace(options=options)


def table_of_frame(frame: Any) -> Table:
    """Returns the columns of a data frame of pandas, Polars or PyArrow, and a named index."""
    import pyarrow as pa

    return _typed(Path("the data frame"), pa.table(frame), None)


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
    return Table(path, by_name(flat.column_names, flat.columns), lines, has_header=True)


Reader = Callable[[bytes, Path, TableOptions, Say], Table]
# By the ending of a file, in any letter case; any other file is a text of cells.
READERS: dict[str, Reader] = {
    ".csv": partial(read_delimited, delimiters="".join(DELIMITERS)),
    ".tsv": partial(read_delimited, delimiters="\t"),
    ".tab": partial(read_delimited, delimiters="\t"),
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
