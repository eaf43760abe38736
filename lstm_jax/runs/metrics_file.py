"""Rows of metrics, a line each: `member`, `step` and named numbers, null where not finite.

Each line ends in a seal: the start of the SHA-256 of the seal before it and of the line. So the
file is the same however it was cut into segments, and a row that was changed, added or removed
between others is found out. Rows removed at the end leave no trace here: they are missing from a
member whose steps are on record. Whoever can compute a SHA-256 can write other rows: the seals are
against accidents, not against forgers.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from lstm_jax.runs.files import disk_errors, open_regular, problem, write_bytes

LONGEST = 2**16  # bytes of a line
# How a line ends after its row, whose own brace comes last: , "seal": "0123456789abcdef"}
BEFORE_SEAL, AFTER_SEAL = b', "seal": "', b'"}\n'
END = len(BEFORE_SEAL) + 16 + len(AFTER_SEAL)

Row = dict[str, Any]


def append_metrics(directory: Path, rows: Iterable[Row]) -> None:
    """Adds rows for good. What a killed writer left half written at the end is dropped first."""
    path = directory / "metrics.jsonl"
    if (seal := _last_seal(path)) is None:
        trim_metrics(directory, {})
        seal = _last_seal(path)
    bodies = map(_body, rows)
    with (
        disk_errors(path),
        open(open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab") as file,
    ):
        file.writelines(_sealed(bodies, seal or b""))
        file.flush()
        os.fsync(file.fileno())


def _last_seal(path: Path) -> bytes | None:
    """The seal at the end, empty where there are no rows; None when the end is no row's."""
    with disk_errors(path), open(open_regular(path, os.O_RDWR | os.O_CREAT), "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - END))
        return _split(file.read())[1] if size else b""


def _split(line: bytes) -> tuple[bytes, bytes | None]:
    """A line's row, without its brace, and its seal; None where it has none."""
    end = line[-END:]
    whole = end.startswith(BEFORE_SEAL) and end.endswith(AFTER_SEAL)
    return line[:-END], end[len(BEFORE_SEAL) : -len(AFTER_SEAL)] if whole else None


def _sealed(bodies: Iterable[bytes], seal: bytes) -> Iterator[bytes]:
    """The lines of these rows, sealed one after the other."""
    for body in bodies:
        seal = _next_seal(seal, body)
        yield body + BEFORE_SEAL + seal + AFTER_SEAL


def _next_seal(seal: bytes, body: bytes) -> bytes:
    return hashlib.sha256(seal + body).hexdigest()[:16].encode()


def trim_metrics(
    directory: Path, resumed: dict[str, int], say: Callable[[str], None] | None = None
) -> None:
    """Drops what a killed run logged beyond its checkpoint: rows at or after a member's step.

    `resumed` maps a member's digest to the step it goes on from; other members keep their rows.
    `say`: as in `read_metrics`.
    """
    path = directory / "metrics.jsonl"
    if path.exists():
        write_bytes(path, b"".join(_sealed(_before(path, resumed, say), b"")))


def replace_metrics(
    directory: Path, rows: dict[str, list[Row]], say: Callable[[str], None] | None = None
) -> None:
    """Puts rows, by their members' digests, in place of all rows of these members, at once.

    `say`: as in `read_metrics`.
    """
    path = directory / "metrics.jsonl"
    kept = _before(path, dict.fromkeys(rows, 0), say)
    new = [_body(row) for of_one in rows.values() for row in of_one]
    write_bytes(path, b"".join(_sealed([*kept, *new], b"")))


def _before(path: Path, steps: dict[str, int], say: Callable[[str], None] | None) -> list[bytes]:
    """The rows as they are written, of these members only those before a step."""
    return [
        body
        for row, body in _rows(path, say)
        if row["step"] < steps.get(row["member"], row["step"] + 1)
    ]


def _body(row: Row) -> bytes:
    """A row as it is written, without its brace."""
    return json.dumps(row, allow_nan=False)[:-1].encode()


def read_metrics(directory: Path, say: Callable[[str], None] | None = None) -> list[Row]:
    """Returns all whole rows; what a kill left half written at the end is no row.

    Where lines are not as they were written, `say` hears it and the other rows are returned;
    without `say`, it is a EnvironmentProblem.
    """
    return [row for row, _ in _rows(directory / "metrics.jsonl", say)]


def _rows(path: Path, say: Callable[[str], None] | None) -> list[tuple[Row, bytes]]:
    """The whole rows, each as it is and as it is written; see `read_metrics`."""
    rows, odd, seal = list[tuple[Row, bytes]](), list[int](), b""
    for number, line in enumerate(_lines(path), 1):
        body, found = _split(line)
        row = _row(body) if found else None
        if found and row and found == _next_seal(seal, body):
            rows.append((row, body))
        elif line.endswith(b"\n") or len(line) == LONGEST:
            odd.append(number)
        seal = found or seal
    if odd:
        remark = (
            f"{path} is damaged: {len(odd)} lines, the first of them line {odd[0]}, are not as "
            "they were written, or those before them were removed"
        )
        if say is None:
            raise problem(f"{remark}; move it away to go on without these metrics")
        say(str(problem(f"{remark}; the other rows are used")))
    return rows


def _lines(path: Path) -> Iterator[bytes]:
    with disk_errors(path, "read"):
        try:
            found = open_regular(path, os.O_RDONLY)
        except FileNotFoundError:
            return
        with open(found, "rb") as file:
            yield from iter(lambda: file.readline(LONGEST), b"")


def _row(body: bytes) -> Row | None:
    """The row that a line holds, if it is one."""
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
