"""The run directory: its lock, its files, a failing disk. (Checkpoints: `checkpoints.py`.)

    runs/<experiment>/<digest>/
        record.json         the experiment, what the numbers depended on, and the results of
                            finished members
        results.csv         a line each finished member
        metrics.jsonl       a line each member and logged step
        checkpoints/        states of members
        report/             the page and its figures
        lock                held by the process that writes here

A file is written aside, synced and renamed, so a kill at any moment leaves the last whole one. A
failing disk is a `SurroundingsError`.
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lstm_jax.errors import SurroundingsError


@contextmanager
def disk(path: Path, doing: str = "write") -> Iterator[None]:
    """Turns an error of the disk into one line that names the path."""
    try:
        yield
    except OSError as error:
        raise SurroundingsError(
            f"cannot {doing} {path}: {error.strerror or error}; free or fix the disk and run the "
            "same command again (nothing that was saved is lost)"
        ) from error


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Makes the run directory and holds it against other writers. A crash frees it."""
    with disk(directory):
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "lock").touch()
        lock = open(directory / "lock", "r+")  # noqa: SIM115 (closed below)
    with lock as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = handle.read().strip() or "another process"
            raise SurroundingsError(
                f"{directory} is in use by {holder}; wait for it, or stop it"
            ) from None
        with disk(directory):
            handle.truncate(0)
            handle.write(f"process {os.getpid()} on {os.uname().nodename}")
            handle.flush()
        yield


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replaces a file at once and for good: either the old content stands there or the new."""
    aside = path.with_name(path.name + ".new")
    with disk(path):
        with open(aside, "wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(aside, path)


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The file's value, or None when there is none."""
    try:
        with disk(path, "read"):
            return json.loads(path.read_text()) if path.exists() else None
    except ValueError as error:
        raise SurroundingsError(
            f"{path} is damaged ({error}); move the run directory away to start anew"
        ) from None


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """A line a row, under the names of all rows' values; empty where a row has none of a name."""
    text = io.StringIO()
    names = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def append_metrics(directory: Path, rows: Iterable[dict[str, Any]]) -> None:
    path = directory / "metrics.jsonl"
    with disk(path), open(path, "a") as handle:
        handle.writelines(json.dumps(row, allow_nan=False) + "\n" for row in rows)
        handle.flush()
        os.fsync(handle.fileno())


def trim_metrics(directory: Path, resumed: dict[str, int]) -> None:
    """Drops what a killed run logged beyond its checkpoint: rows at or after a member's step.

    `resumed` maps a member's digest to the step it goes on from; other members keep their rows.
    """
    rows = read_metrics(directory)
    kept = [row for row in rows if row["step"] < resumed.get(row["member"], row["step"] + 1)]
    if rows:
        write_text(directory / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in kept))


def read_metrics(directory: Path) -> list[dict[str, Any]]:
    """All whole rows; a line cut short by a kill is left out."""
    path = directory / "metrics.jsonl"
    rows = []
    with disk(path, "read"):
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and _is_row(row):
            rows.append(row)
    return rows


def _is_row(row: dict[str, Any]) -> bool:
    numbers = (row.get("loss", ""), row.get("accuracy", ""))
    return (
        isinstance(row.get("member"), str)
        and isinstance(row.get("step"), int)
        and all(number is None or isinstance(number, float) for number in numbers)
    )


def sealed(value: dict[str, Any]) -> dict[str, Any]:
    """With a SHA-256 over all other entries: a value whose seal does not fit was damaged."""
    body = {key: entry for key, entry in value.items() if key != "sha256"}
    text = json.dumps(body, sort_keys=True)
    return body | {"sha256": hashlib.sha256(text.encode()).hexdigest()}
