"""Files of a run directory, which may be somebody else's: no link is followed, no write is half.

A file is written aside, synced and renamed, so a kill at any moment leaves the last whole one. A
failing disk, a link and a pipe are each a `EnvironmentProblem` of one line.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lstm_jax.errors import EnvironmentProblem

ASIDE = re.compile(r"\.[0-9a-f]{16}\.aside")  # the names under which files are written at first


def harmless(text: str) -> str:
    """Returns the text with every control character written out, so that a terminal obeys none."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def refusal(text: str) -> EnvironmentProblem:
    """Returns the error that says this in one harmless line."""
    return EnvironmentProblem(harmless(text))


@contextmanager
def disk(path: Path, doing: str = "write") -> Iterator[None]:
    """Turns an error of the disk into one line that names the path."""
    try:
        yield
    except OSError as error:
        raise refusal(
            f"cannot {doing} {path}: {error.strerror or error}; free or fix the disk and run the "
            "same command again (nothing that was saved is lost)"
        ) from error


def opened(path: Path, flags: int) -> int:
    """Returns a descriptor of the regular file itself.

    What a link leads to, a pipe and a device are refused, and so is writing into a file that has a
    second name somewhere else.
    """
    try:
        # A pipe without a writer would be waited for, but for O_NONBLOCK.
        found = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise _linked(path) if error.errno == errno.ELOOP else error from None
    status = os.fstat(found)
    if not stat.S_ISREG(status.st_mode):
        os.close(found)
        raise refusal(f"{path} is no regular file: remove it")
    if flags & (os.O_WRONLY | os.O_RDWR) and status.st_nlink != 1:
        os.close(found)
        raise _linked(path)
    return found


def _linked(path: Path) -> EnvironmentProblem:
    return refusal(
        f"{path} is a link, and what it leads to may be no part of this run: put the file or "
        "folder itself in its place, or remove it"
    )


@contextmanager
def folder(path: Path) -> Iterator[int]:
    """Opens the folder itself, not one that a link leads to."""
    try:
        found = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise _linked(path) if path.is_symlink() else error from None
    try:
        yield found
    finally:
        os.close(found)


def make_folder(path: Path) -> None:
    """Makes the folder where there is none. Refuses a link in its place."""
    with disk(path):
        with contextlib.suppress(FileExistsError):
            path.mkdir()
        with folder(path):
            pass


def names(path: Path) -> list[str]:
    """Returns the names in a folder; none where there is no such folder."""
    with disk(path, "read"):
        try:
            with folder(path) as found:
                return os.listdir(found)
        except FileNotFoundError:
            return []


def read_bytes(path: Path, limit: int) -> bytes | None:
    """Returns the file's content, or None when there is no such file."""
    with disk(path, "read"):
        try:
            found = opened(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        with open(found, "rb") as file:
            if os.fstat(found).st_size > limit:
                raise refusal(f"{path} is larger than {limit:,} bytes: it was not written here")
            return file.read()


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replaces a file at once and for good: either the old content stands there or the new."""
    aside = f".{secrets.token_hex(8)}.aside"
    create = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with disk(path), folder(path.parent) as home:
        try:
            with open(os.open(aside, create, 0o666, dir_fd=home), "wb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # says that its writer lives
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                os.replace(aside, path.name, src_dir_fd=home, dst_dir_fd=home)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(aside, dir_fd=home)
            raise
        os.fsync(home)


def clear_leftovers(directory: Path) -> None:
    """Removes what killed writers left aside in this directory; living writers hold theirs."""
    for home, _, files in os.walk(directory):  # follows no link
        for path in (Path(home, name) for name in files if ASIDE.fullmatch(name)):
            with (
                contextlib.suppress(OSError, EnvironmentProblem),
                open(opened(path, os.O_RDONLY), "rb") as file,
            ):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
