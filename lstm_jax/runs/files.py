"""Safe reading and writing in a run directory that somebody else may have prepared.

No link is followed. A file is written under a temporary name, synced and renamed: a kill at any
moment leaves the last complete version. A failing disk, a link and a pipe each raise an
`EnvironmentProblem` of one line.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import fcntl
import io
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lstm_jax.errors import EnvironmentProblem

TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")  # the name of a file while it is written


def printable(text: str, but: str = "") -> str:
    """Returns the text with every control character, and every one that turns the direction of
    writing, escaped: no terminal and no browser obeys one. Characters in `but` are left.
    """
    return "".join(
        c if c.isprintable() or c in but else c.encode("unicode_escape").decode() for c in text
    )


def csv_cell(value: Any) -> Any:
    """Returns the cell of a CSV table for a value: text is printable, and a spreadsheet takes none
    for a formula.
    """
    if not isinstance(value, str):
        return value
    # A sign alone, such as the `-` of a field that a run does not have, is no formula.
    is_formula = len(value) > 1 and value.startswith(("=", "+", "-", "@"))
    return f"'{printable(value)}" if is_formula else printable(value)


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Returns a CSV table of these rows, one line each."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(map(csv_cell, row) for row in rows)
    return text.getvalue()


def problem(message: str) -> EnvironmentProblem:
    """Returns an error with this message, its control characters escaped."""
    return EnvironmentProblem(printable(message))


@contextmanager
def disk_errors(path: Path, action: str = "write") -> Iterator[None]:
    """Turns an OSError of the block into an EnvironmentProblem that names the path."""
    try:
        yield
    except OSError as error:
        raise problem(
            f"cannot {action} {path}: {error.strerror or error}; free or fix the disk and run the "
            "same command again (nothing that was saved is lost)"
        ) from error


def open_regular(path: Path, flags: int) -> int:
    """Returns a descriptor of a regular file, opened with these flags of `os.open`.

    Raises EnvironmentProblem for a link, a pipe and a device, and, if the file is to be written,
    for one that has a second name elsewhere. Raises OSError as `os.open` does.
    """
    try:
        # Without O_NONBLOCK, opening a pipe would wait for its writer.
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise _is_link(path) if error.errno == errno.ELOOP else error from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise problem(f"{path} is not a regular file: remove it")
    if flags & (os.O_WRONLY | os.O_RDWR) and status.st_nlink != 1:
        os.close(descriptor)
        raise _is_link(path)
    return descriptor


def _is_link(path: Path) -> EnvironmentProblem:
    return problem(
        f"{path} is a link, and its target may not belong to this run: replace the link by the "
        "file or folder itself, or remove it"
    )


@contextmanager
def open_folder(path: Path) -> Iterator[int]:
    """Yields a descriptor of a folder. Raises EnvironmentProblem for a link to a folder."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise _is_link(path) if path.is_symlink() else error from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Makes the folder if it does not exist. Raises EnvironmentProblem if it is a link."""
    with disk_errors(path):
        with contextlib.suppress(FileExistsError):
            path.mkdir()
        with open_folder(path):
            pass


def list_folder(path: Path) -> list[str]:
    """Returns the names in a folder, or no names if the folder does not exist."""
    with disk_errors(path, "read"):
        try:
            with open_folder(path) as descriptor:
                return os.listdir(descriptor)
        except FileNotFoundError:
            return []


def read_bytes(path: Path, limit: int) -> bytes | None:
    """Returns the content of a file of at most `limit` bytes, or None if it does not exist."""
    with disk_errors(path, "read"):
        try:
            descriptor = open_regular(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        with open(descriptor, "rb") as file:
            if os.fstat(descriptor).st_size > limit:
                raise problem(f"{path} is larger than {limit:,} bytes: lstm_jax did not write it")
            return file.read()


def write_text(path: Path, text: str, *, sync: bool = True) -> None:
    """Replaces a file by this text, in UTF-8, as `write_bytes` does."""
    write_bytes(path, text.encode(), sync=sync)


def write_bytes(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Replaces a file in one step: after a crash it has either the old content or the new.

    Without `sync` this holds of a crash of the process, not of the machine, and takes less time.
    """
    temporary = f".{secrets.token_hex(8)}.tmp"
    create = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with disk_errors(path), open_folder(path.parent) as folder:
        try:
            with open(os.open(temporary, create, 0o666, dir_fd=folder), "wb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # tells `clear_leftovers` that its writer lives
                file.write(content)
                file.flush()
                if sync:
                    os.fsync(file.fileno())
                os.replace(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=folder)
            raise
        if sync:
            os.fsync(folder)


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes one line per row, with a header of all names; a name that a row lacks stays empty."""
    names = dict.fromkeys(name for row in rows for name in row)
    lines = ([row.get(name, "") for name in names] for row in rows)
    write_text(path, csv_text([names, *lines]))


def clear_leftovers(directory: Path, *, recursive: bool = True) -> None:
    """Removes the temporary files of killed writers from this directory, and from those in it.

    A living writer locks its file, which is therefore kept.
    """
    for folder, folders, names in os.walk(directory):  # follows no link
        if not recursive:
            folders.clear()
        for path in (Path(folder, name) for name in names if TEMPORARY.fullmatch(name)):
            with (
                contextlib.suppress(OSError, EnvironmentProblem),
                open(open_regular(path, os.O_RDONLY), "rb") as file,
            ):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


def disk_usage(path: Path) -> int:
    """Returns the bytes that a file, or all files in a folder, take on disk."""
    files = [Path(folder, name) for folder, _, names in os.walk(path) for name in names]
    return 512 * sum(os.lstat(file).st_blocks for file in files or [path])


def format_bytes(count: float) -> str:
    """Returns a number of bytes in a unit that suits it: `12 KiB`."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
