"""Rows of metrics, one line each: `member`, `step` and named numbers, null where not finite.

Each line ends in a checksum: the first 16 digits of the SHA-256 of the checksum before it and of
the row. So the file does not depend on the segments it was written in, and a row that was changed,
added, or removed between others is noticed. Rows removed at the end are not noticed here, but as
missing from a member whose steps are on record. The checksums guard against accidents, not against
forgers, who can compute a SHA-256 too.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lstm_jax.data.dataset import Say
from lstm_jax.runs.files import disk_errors, open_regular, problem, write_bytes

MAX_LINE_BYTES = 2**16
# What a line has in place of its row's last brace: , "checksum": "0123456789abcdef"}
BEFORE_CHECKSUM, AFTER_CHECKSUM = b', "checksum": "', b'"}\n'
END_BYTES = len(BEFORE_CHECKSUM) + 16 + len(AFTER_CHECKSUM)

Row = dict[str, Any]


def append_metrics(directory: Path, rows: Iterable[Row]) -> None:
    """Appends rows and syncs the file. Drops first the half line that a killed writer left."""
    path = directory / "metrics.jsonl"
    if (checksum := _last_checksum(path)) is None:
        trim_metrics(directory, {})
        checksum = _last_checksum(path)
    bodies = map(_encode, rows)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    with disk_errors(path), open(open_regular(path, flags), "ab") as file:
        file.writelines(_to_lines(bodies, checksum or b""))
        file.flush()
        os.fsync(file.fileno())


def _last_checksum(path: Path) -> bytes | None:
    """Returns the checksum at the end; empty if there are no rows, None if a line is incomplete."""
    with disk_errors(path), open(open_regular(path, os.O_RDWR | os.O_CREAT), "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - END_BYTES))
        return _split(file.read())[1] if size else b""


def _split(line: bytes) -> tuple[bytes, bytes | None]:
    """Returns a line's row, without its last brace, and its checksum, or None if it has none."""
    end = line[-END_BYTES:]
    has_checksum = end.startswith(BEFORE_CHECKSUM) and end.endswith(AFTER_CHECKSUM)
    checksum = end[len(BEFORE_CHECKSUM) : -len(AFTER_CHECKSUM)] if has_checksum else None
    return line[:-END_BYTES], checksum


def _to_lines(bodies: Iterable[bytes], checksum: bytes) -> Iterator[bytes]:
    """Yields the lines of these rows, which follow a line with this checksum."""
    for body in bodies:
        checksum = _next_checksum(checksum, body)
        yield body + BEFORE_CHECKSUM + checksum + AFTER_CHECKSUM


def _next_checksum(checksum: bytes, body: bytes) -> bytes:
    return hashlib.sha256(checksum + body).hexdigest()[:16].encode()


def trim_metrics(directory: Path, steps: dict[str, int], say: Say | None = None) -> None:
    """Drops what a killed run logged beyond its checkpoint.

    `steps` maps a member's digest to the step it goes on from: its rows at this step and after it
    are dropped. Other members keep all rows. For `say`, see `read_metrics`.
    """
    path = directory / "metrics.jsonl"
    if path.exists():
        write_bytes(path, b"".join(_to_lines(_bodies_before(path, steps, say), b"")))


def replace_metrics(directory: Path, rows: dict[str, list[Row]], say: Say | None = None) -> None:
    """Replaces all rows of some members by these, given by digest, in one step.

    For `say`, see `read_metrics`.
    """
    path = directory / "metrics.jsonl"
    kept = _bodies_before(path, dict.fromkeys(rows, 0), say)
    new = [_encode(row) for member_rows in rows.values() for row in member_rows]
    write_bytes(path, b"".join(_to_lines([*kept, *new], b"")))


def _bodies_before(path: Path, steps: dict[str, int], say: Say | None) -> list[bytes]:
    """Returns the encoded rows; of the members in `steps` only those before their step."""
    return [
        body
        for row, body in _read_rows(path, say)
        if row["step"] < steps.get(row["member"], row["step"] + 1)
    ]


def _encode(row: Row) -> bytes:
    """Returns a row as JSON without its last brace."""
    return json.dumps(row, allow_nan=False)[:-1].encode()


def read_metrics(directory: Path, say: Say | None = None) -> list[Row]:
    """Returns all complete rows, without the half line that a kill may have left at the end.

    If lines were changed, passes a message to `say` and returns the other rows. Without `say`,
    raises EnvironmentProblem.
    """
    return [row for row, _ in _read_rows(directory / "metrics.jsonl", say)]


def _read_rows(path: Path, say: Say | None) -> list[tuple[Row, bytes]]:
    """Returns the complete rows, each decoded and as it is in the file. See `read_metrics`."""
    rows, damaged, previous = list[tuple[Row, bytes]](), list[int](), b""
    for number, line in enumerate(_read_lines(path), 1):
        body, checksum = _split(line)
        row = _decode(body) if checksum else None
        if checksum and row and checksum == _next_checksum(previous, body):
            rows.append((row, body))
        elif line.endswith(b"\n") or len(line) == MAX_LINE_BYTES:
            damaged.append(number)
        previous = checksum or previous
    if damaged:
        message = (
            f"{path} is damaged: {len(damaged)} lines, the first of them line {damaged[0]}, are "
            "not as they were written, or those before them were removed"
        )
        if say is None:
            raise problem(f"{message}; move it away to go on without these metrics")
        say(str(problem(f"{message}; the other rows are used")))
    return rows


def _read_lines(path: Path) -> Iterator[bytes]:
    with disk_errors(path, "read"):
        try:
            descriptor = open_regular(path, os.O_RDONLY)
        except FileNotFoundError:
            return
        with open(descriptor, "rb") as file:
            yield from iter(lambda: file.readline(MAX_LINE_BYTES), b"")


def _decode(body: bytes) -> Row | None:
    """Returns the row of a line, or None if it is not a valid row."""
    try:
        row = json.loads(body.decode() + "}")
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not isinstance(row.get("member"), str):
        return None
    if type(row.get("step")) is not int or row["step"] < 0:
        return None
    for name, value in row.items():
        is_number = type(value) in (int, float) and abs(value) <= sys.float_info.max
        if not is_number and value is not None and name != "member":
            return None
    return row
