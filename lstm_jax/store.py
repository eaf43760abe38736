"""The run directory: its lock, experiment, record, metrics and checkpoints. The only writer.

    runs/<experiment>/<digest>/
        record.json         the experiment, what the numbers depended on, and the results of
                            finished members
        results.csv         a line each finished member
        metrics.jsonl       a line each member and logged step
        checkpoints/<members>/<step>/arrays, manifest.json
        lock                held by the process that writes here

A file is written aside, synced and renamed; a checkpoint counts once its manifest stands. So a
kill at any moment leaves the last whole state. A failing disk is a `SurroundingsError`.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import hashlib
import io
import json
import logging
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orbax.checkpoint as ocp

from lstm_jax.config import SurroundingsError

KEPT = 2  # checkpoints a placement: the last, and the one before should the last be damaged

Arrays = dict[str, np.ndarray]


def fingerprint(arrays: Arrays) -> str:
    """SHA-256 over the names, dtypes, shapes and bytes of arrays, by name."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


class Saved(NamedTuple):
    """A member's state as it was saved: the steps done, its arrays by name, and under which
    identity it was trained so far ("mixed": under several).
    """

    step: int
    arrays: Arrays
    identity: str


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


def save_checkpoint(
    directory: Path, step: int, members: tuple[str, ...], arrays: Arrays, identity: str = ""
) -> Path:
    """Saves the states of members trained side by side; the first axis of every array is theirs."""
    name = hashlib.sha256(" ".join(members).encode()).hexdigest()[:12]
    path = directory / "checkpoints" / name / f"{step:08d}"
    with disk(path):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        with _quiet_threads(), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as saver:
            saver.save(path.resolve() / "arrays", args=ocp.args.PyTreeSave(arrays))
        manifest = {
            "step": step,
            "members": list(members),
            "identity": identity,
            "arrays": {name: fingerprint({name: array}) for name, array in arrays.items()},
            "files": _file_digests(path / "arrays"),
        }
    write_json(path / "manifest.json", sealed(manifest))
    manifests = path.parent.glob("*/manifest.json")
    # Later steps than this one were found damaged, or it would not have been trained again.
    whole = sorted(found.parent for found in manifests if found.parent.name <= path.name)
    for other in set(path.parent.iterdir()) - set(
        whole[-KEPT:]
    ):  # older, or left by a killed writer
        shutil.rmtree(other, ignore_errors=True)
    return path


@contextmanager
def _quiet_threads() -> Iterator[None]:
    """Turns what tensorstore says of a full disk into an OSError.

    Orbax's threads would print their own traces of the same failure, some of them late: after a
    failure they stay silent.
    """
    hooks = threading.excepthook, sys.unraisablehook
    threading.excepthook = lambda _: None
    sys.unraisablehook = lambda _: None
    logging.disable(logging.ERROR)
    failed = False
    try:
        yield
    except (ValueError, RuntimeError) as error:
        failed = True
        raise OSError(str(error).splitlines()[0].rsplit(": ")[-1]) from error
    finally:
        if not failed:
            threading.excepthook, sys.unraisablehook = hooks
            logging.disable(logging.NOTSET)


def saved_members(directory: Path) -> dict[str, int]:
    """The members of which there is a checkpoint, by their digests: how many steps they have."""
    steps: dict[str, int] = {}
    for path in (directory / "checkpoints").glob("*/*/manifest.json"):
        with contextlib.suppress(SurroundingsError):
            manifest = read_json(path)
            if isinstance(manifest, dict) and manifest == sealed(manifest):
                for digest in manifest["members"]:
                    steps[digest] = max(manifest["step"], steps.get(digest, 0))
    return steps


def load_members(
    directory: Path, wanted: Iterable[str], say: Callable[[str], None]
) -> dict[str, Saved]:
    """The newest undamaged state of each wanted member that has one.

    A damaged checkpoint is named out loud and the one before it is taken; from whichever state a
    member goes on, it ends in the same bits.
    """
    missing, found = set(wanted), {}
    paths = (directory / "checkpoints").glob("*/*/manifest.json")
    for path in sorted(paths, key=lambda p: p.parent.name, reverse=True):
        try:
            manifest, arrays = load_checkpoint(path.parent, missing)
        except SurroundingsError as error:
            say(f"{error}; going on from the one before")
            continue
        for row, member in enumerate(manifest["members"] if arrays else ()):
            if member in missing:
                missing.discard(member)
                own = {name: array[row] for name, array in arrays.items()}
                found[member] = Saved(manifest["step"], own, manifest.get("identity", ""))
    return found


def load_checkpoint(path: Path, wanted: set[str]) -> tuple[dict[str, Any], Arrays]:
    """Its manifest and its arrays; no arrays when none of the wanted members is in it.

    Raises SurroundingsError when a byte is not as it was written.
    """
    try:
        manifest = json.loads((path / "manifest.json").read_text())
        if manifest != sealed(manifest):
            raise ValueError("its manifest was changed")
        if not wanted & set(manifest["members"]):
            return manifest, {}
        # Before anything is decoded: a decoder given damaged bytes may do more than fail.
        if _file_digests(path / "arrays") != manifest["files"]:
            raise ValueError("its files were changed")
        as_numpy = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in manifest["arrays"]}
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as saver:
            arrays = saver.restore(
                path.resolve() / "arrays", args=ocp.args.PyTreeRestore(restore_args=as_numpy)
            )
        for name, digest in manifest["arrays"].items():
            if fingerprint({name: arrays[name]}) != digest:
                raise ValueError(f"array {name} was changed")
    # Whatever a decoder makes of damaged bytes, the answer is the same.
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise SurroundingsError(f"checkpoint {path} is damaged ({reason})") from error
    return manifest, arrays


def _file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its path there."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def sealed(value: dict[str, Any]) -> dict[str, Any]:
    """With a SHA-256 over all other entries: a value whose seal does not fit was damaged."""
    body = {key: entry for key, entry in value.items() if key != "sha256"}
    text = json.dumps(body, sort_keys=True)
    return body | {"sha256": hashlib.sha256(text.encode()).hexdigest()}
