"""Text from files: lines of columns, or whole texts; plain or gzip, UTF-8.

What a user's file may have wrong is found here, and said in one line that names file and line.
"""

from __future__ import annotations

import glob
import gzip
import zlib
from collections.abc import Callable
from pathlib import Path

from lstm_jax.errors import EnvironmentProblem, UserError

MOST_CHARACTERS = 1_000_000  # of a line: more is no sentence but a file that was mistaken for text
GZIP = b"\x1f\x8b"  # the first bytes of what gzip wrote


def read_columns(path: str | Path, count: int, say: Callable[[str], None]) -> list[tuple[str, ...]]:
    """Returns the lines of a file as `count` texts each, which tabs separate; none is empty.

    Lines with an empty column, empty lines and repeated lines are left out, which `say` hears.
    Raises UserError for a file that is not there or not such text, with the number of the line, and
    EnvironmentProblem for one that cannot be read.
    """
    found: dict[tuple[str, ...], None] = {}
    empty, incomplete, repeated = list[int](), list[int](), list[int]()
    for number, line in enumerate(_lines(Path(path)), 1):
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
        elif columns in found:
            repeated.append(number)
        else:
            found[columns] = None
    for numbers, what in (
        (empty, "an empty line"),
        (incomplete, "a line with an empty column"),
        (repeated, "a line that was there before"),
    ):
        if numbers:
            first = f"line {numbers[0]}" + (" and others" if len(numbers) > 1 else "")
            say(f"{path}: left out {what} {_counted(len(numbers), 'time')} ({first})")
    if not found:
        raise UserError(f"{path}: holds no line of {_counted(count, 'column')}")
    return list(found)


def read_text(path: str | Path) -> bytes:
    """Returns the bytes of a file, or of all files that a pattern such as `folder/**/*.txt` names,
    in the order of their names, with a line feed between two of them.

    Raises UserError where there is none, EnvironmentProblem for one that cannot be read.
    """
    if Path(path).is_file():
        return _content(Path(path))
    if Path(path).is_dir():
        raise UserError(f"{path}: is a folder; give a pattern of its files, such as {path}/*.txt")
    files = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]
    files = [file for file in files if file.is_file()]
    if not files:
        raise UserError(f"{path}: there is no such file, and no file is named by it as a pattern")
    return b"\n".join(map(_content, files))


def _lines(path: Path) -> list[str]:
    """The lines of a file, without their ends."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give a file of lines")
    content = _content(path).removeprefix("\ufeff".encode())
    lines = []
    for number, line in enumerate(content.split(b"\n"), 1):
        try:
            lines.append(line.removesuffix(b"\r").decode())
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path}: line {number} is not UTF-8 ({error.reason}, byte {error.start + 1}); "
                "convert the file, for instance with iconv -t UTF-8"
            ) from None
        if len(lines[-1]) > MOST_CHARACTERS:
            raise UserError(
                f"{path}: line {number} has {len(lines[-1]):,} characters, more than "
                f"{MOST_CHARACTERS:,}; a text is one line"
            )
    return lines[:-1] if lines and not lines[-1] else lines


def _content(path: Path) -> bytes:
    """A file's bytes, unpacked if gzip packed them."""
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content.startswith(GZIP) else content
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise EnvironmentProblem(f"{path}: is damaged ({error}); fetch it again") from error
    except OSError as error:
        raise EnvironmentProblem(f"{path}: cannot be read ({error.strerror})") from error


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" + "s" * (count != 1)
