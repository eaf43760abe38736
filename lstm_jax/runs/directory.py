"""The run directory: its lock and what is written into it as JSON and CSV.

    runs/<experiment>/<digest>/
        record.json         the experiment, what the numbers depended on, and the results of
                            finished members
        results.csv         a line each finished member
        metrics.jsonl       a line each member and logged step: `metrics.py`
        checkpoints/        states of members: `checkpoints.py`
        report/             the page and its figures
        lock                held by the process that writes here

How a file is written and opened: `files.py`. What is read back is checked: a file that was changed
is a `EnvironmentProblem`.
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import io
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lstm_jax.errors import EnvironmentProblem
from lstm_jax.runs.files import (
    clear_leftovers,
    disk,
    make_folder,
    opened,
    read_bytes,
    refusal,
    write_text,
)
from lstm_jax.runs.schema import check

LARGEST_JSON = 2**28  # bytes; the record of 10,000 members has some 10 MB
DEEPEST_JSON = 16


@dataclass(frozen=True)
class Lock:
    """The hold on a run directory."""

    directory: Path
    file: IO[str]

    def still_ours(self) -> None:
        """Raises EnvironmentProblem when the directory at this path is no longer the one held."""
        held = os.fstat(self.file.fileno())
        try:
            here = os.lstat(self.directory / "lock")
        except OSError:
            here = None
        if here is None or (here.st_dev, here.st_ino) != (held.st_dev, held.st_ino):
            raise refusal(
                f"{self.directory} was moved or removed while it was written; put it back and run "
                "the same command again"
            )


@contextmanager
def locked(directory: Path, wait: Callable[[str], None] | None = None) -> Iterator[Lock]:
    """Makes the run directory and holds it against other writers. A crash frees it.

    While another process holds it, `wait` hears of that and it is waited for; without `wait`, it
    is a EnvironmentProblem.
    """
    with disk(directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
    make_folder(directory)
    with disk(directory):
        found = opened(directory / "lock", os.O_RDWR | os.O_CREAT)
    with open(found, "r+", errors="replace") as file:
        if not _held(file):
            used = f"{directory} is in use by {file.read(200).strip() or 'another process'}"
            if wait is None:
                raise refusal(f"{used}; wait for it, or stop it")
            wait(f"{used}: waiting for it")
            while not _held(file):
                time.sleep(0.2)  # between two of them a signal is heard
            file.seek(0)
        lock = Lock(directory, file)
        lock.still_ours()
        with disk(directory):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {os.uname().nodename}")
            file.flush()
            clear_leftovers(directory)
        yield lock


def _held(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def in_use(directory: Path) -> bool:
    """Returns whether a process holds the run directory."""
    try:
        with open(opened(directory / "lock", os.O_RDONLY)) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (OSError, EnvironmentProblem):
        pass
    return False


def write_json(path: Path, value: Any) -> None:
    write_text(path, _lines(value, 2) + "\n")


def _lines(value: Any, depth: int, pad: str = "") -> str:
    """JSON with a line for each entry, as deep as that: readable, and ten times as fast as all."""
    if not depth or not value or not isinstance(value, dict):
        return json.dumps(value, allow_nan=False)
    inner = f"{pad}  "
    entries = (f"{inner}{json.dumps(k)}: {_lines(v, depth - 1, inner)}" for k, v in value.items())
    return "{\n" + ",\n".join(entries) + f"\n{pad}}}"


def read_json(path: Path, shape: Any = object) -> Any:
    """Returns the file's value, which looks like the shape (`shape.py`), or None without a file."""
    content = read_bytes(path, LARGEST_JSON)
    if content is None:
        return None
    try:
        value = json.loads(content)
        _check_plain(value)
        check(value, shape)
    except (ValueError, RecursionError) as error:
        raise damaged(path, error) from None
    return value


def _check_plain(value: Any) -> None:
    """Raises ValueError for what is nested too deep, and for numbers that are not finite."""
    level = [value]
    for _ in range(DEEPEST_JSON):
        if any(isinstance(entry, float) and not math.isfinite(entry) for entry in level):
            raise ValueError("a number in it is not finite")
        level = [
            entry
            for outer in level
            if isinstance(outer, (dict, list))
            for entry in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise ValueError(f"it is nested more than {DEEPEST_JSON} deep")


def damaged(path: Path, why: object) -> EnvironmentProblem:
    """Returns the error that says in one line what is wrong with a file that was read."""
    said = str(why)[:200]
    return refusal(f"{path} is damaged ({said}); move the run directory away to start anew")


def sealed(value: dict[str, Any]) -> dict[str, Any]:
    """With a SHA-256 over all other entries: a value whose seal does not fit was damaged."""
    body = {key: entry for key, entry in value.items() if key != "sha256"}
    text = json.dumps(body, sort_keys=True)
    return body | {"sha256": hashlib.sha256(text.encode()).hexdigest()}


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """A line a row, under the names of all rows' values; empty where a row has none of a name."""
    text = io.StringIO()
    names = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
