"""A user's file as bytes and as text: unpacked, decoded, and refused where it holds no text."""

from __future__ import annotations

import bz2
import glob
import gzip
import io
import lzma
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lstm_jax.errors import EnvironmentProblem, UserError

MAX_LINE = 1_000_000  # characters: a longer line shows that the file is not text
MAX_UNPACKED = 1 << 30  # bytes: a packed file of a few kilobytes can hold more than the memory
ZIP = b"PK\x03\x04"
# The first bytes of what these programs packed.
UNPACK: dict[bytes, Callable[[IO[bytes]], io.BufferedIOBase]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
}
PACKED = re.compile(r"\.(gz|bz2|xz|zip)$", re.IGNORECASE)
# The first bytes of files that hold no text, and what they are.
NO_TEXT = {
    ZIP: "a zip or a workbook; unpack it, or save it as CSV UTF-8",
    b"\xd0\xcf\x11\xe0": "a workbook or a document; save it as CSV UTF-8",
    b"\x28\xb5\x2f\xfd": "packed by zstd; unpack it",
    b"7z\xbc\xaf": "packed by 7z; unpack it",
    b"PAR1": "a Parquet file; its name must end in .parquet",
    b"\x93NUMPY": "an array; save named arrays by numpy.savez",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"GIF8": "a picture",
    b"%PDF": "a PDF; save its text",
}
BYTE_ORDER_MARKS = {  # the longest first: that of UTF-16 is the beginning of one of UTF-32
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
CONTROL = re.compile("[\x00-\x06\x0e-\x1a]")  # that no text holds
ENDINGS = r"(txt|md|py|csv|tsv|tab|json|jsonl|ndjson|parquet|gz|bz2|xz|zip)"


def is_text_file(name: str) -> bool:
    """Returns whether a data set's name is that of a file of texts, a folder, or a pattern.

    It begins with `.`, `/` or `~`, contains `*`, ends in `/`, or ends as files of text do, in any
    letter case.
    """
    return re.search(rf"^[./~]|[*]|/$|\.{ENDINGS}$", name.lower()) is not None


def bare_name(path: str | Path) -> str:
    """Returns the name of a file without its folder and without the ending of a packed file."""
    return PACKED.sub("", Path(path).name)


def refuse_irregular(path: Path) -> None:
    """Raises UserError where a path is no regular file: a pipe may be waited for for ever."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise UserError(f"{path}: is {what}, not a file")


@contextmanager
def explain_unreadable(path: Path) -> Iterator[None]:
    """Raises EnvironmentProblem where the block cannot read the file, and UserError where it is no
    regular file.
    """
    try:
        refuse_irregular(path)
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise EnvironmentProblem(f"{path}: is damaged ({error}); fetch it again") from error
    except OSError as error:
        reason = error.strerror or "it is damaged"
        raise EnvironmentProblem(f"{path} cannot be read: {reason}") from error


def read_bytes(path: Path) -> tuple[bytes, str]:
    """Returns the bytes of a file, and its name; of a packed file those of what is in it.

    gzip, bzip2, xz and a zip of one file are unpacked, whatever the file is called. Raises as
    `explain_unreadable` does, and UserError for more than `MAX_UNPACKED` bytes in a packed file.
    """
    with explain_unreadable(path):
        content, name = path.read_bytes(), bare_name(path)
        for first_bytes, unpack in UNPACK.items():
            if content.startswith(first_bytes):
                with unpack(io.BytesIO(content)) as packed:
                    return _read_unpacked(packed, path), name
        if not content.startswith(ZIP):
            return content, name
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [each for each in archive.namelist() if not re.search(r"/$|^__MACOSX/", each)]
            if len(names) != 1:
                raise UserError(
                    f"{path}: is a workbook, or packed by zip from {len(names):,} files; unpack "
                    "it, or save it as CSV UTF-8"
                )
            try:
                with archive.open(names[0]) as packed:
                    return _read_unpacked(packed, path), bare_name(names[0])
            except (RuntimeError, NotImplementedError) as error:
                raise UserError(f"{path}: {error}") from None


def _read_unpacked(packed: io.BufferedIOBase | IO[bytes], path: Path) -> bytes:
    content = packed.read(MAX_UNPACKED + 1)
    if len(content) > MAX_UNPACKED:
        raise UserError(
            f"{path}: more than {MAX_UNPACKED:,} bytes are packed in it; unpack it, and give the "
            "file itself"
        )
    return content


def decode(content: bytes, path: str | Path, encoding: str | None = None) -> str:
    """Returns a text without its byte order mark.

    It is UTF-8 unless it begins with the mark of UTF-16 or UTF-32, or an encoding is named. Raises
    UserError, which names the path and the line, for anything else and for what is no text.
    """
    marked = (name for mark, name in BYTE_ORDER_MARKS.items() if content.startswith(mark))
    encoding = encoding or next(marked, "utf-8")
    for first_bytes, what in NO_TEXT.items():
        if content.startswith(first_bytes):
            raise UserError(f"{path}: is {what}")
    try:
        text = content.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}: line {line} is not {encoding.upper().removesuffix('-SIG')} "
            f"(byte {content[error.start]:#04x}); save it as UTF-8, or name the encoding of the "
            "file, such as --task.encoding cp1252"
        ) from None
    except (LookupError, UnicodeError):
        raise UserError(
            f"encoding: {encoding!r} is not the name of one that Python knows"
        ) from None
    if (control := CONTROL.search(text)) is not None:
        line = text.count("\n", 0, control.start()) + 1
        advice = ""
        if control[0] == "\0":
            advice = "; UTF-16 without a byte order mark must be saved as UTF-8"
        raise UserError(
            f"{path}: is no text: line {line} has a byte {ord(control[0]):#04x}{advice}"
        )
    return text


def decode_lines(
    content: bytes, path: str | Path, encoding: str | None = None, *, old_mac: bool = False
) -> list[str]:
    """Returns the lines of a text without their line ends and without a byte order mark.

    A line ends with a line feed alone; with `old_mac`, with a carriage return in a text that has no
    line feed. Raises as `decode` does, and for a line of more than `MAX_LINE` characters.
    """
    lines = decode(content, path, encoding).split("\n")
    if old_mac and len(lines) == 1:
        lines = lines[0].split("\r")
    lines = [line.removesuffix("\r") for line in lines]
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_LINE:
            raise UserError(
                f"{path}: line {number} has {len(line):,} characters, more than {MAX_LINE:,}"
            )
    return lines if lines[-1] else lines[:-1]


def read_text(path: str | Path) -> bytes:
    """Returns the bytes of a text file, or of all that match a pattern such as `folder/**/*.txt`.

    Several files follow each other in the order of their names, separated by a line feed. UTF-16
    becomes UTF-8. Raises UserError if there is no file or if one is no text, EnvironmentProblem for
    one that cannot be read.
    """
    if Path(path).is_dir():
        raise UserError(f"{path}: is a folder; give a pattern of its files, such as {path}/*.txt")
    files = [Path(path)] if Path(path).exists() else []
    files = files or [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]
    files = [file for file in files if not file.is_dir()]
    if not files:
        raise UserError(f"{path}: there is no such file, and no file matches it as a pattern")
    return b"\n".join(map(_text_bytes, files))


def _text_bytes(path: Path) -> bytes:
    content, _ = read_bytes(path)
    is_utf_16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    # Bytes of another encoding are a text too, as latin-1 reads any byte.
    text = decode(content, path, None if is_utf_16 else "latin-1")
    return text.encode() if is_utf_16 else content
