"""Checkpoints: states of members trained side by side, saved so that a damaged byte is found out.

    checkpoints/<members>/<step>/arrays, manifest.json

A checkpoint counts once its manifest stands, so a kill at any moment leaves the one before it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orbax.checkpoint as ocp

from lstm_jax.errors import SurroundingsError
from lstm_jax.runs.store import disk, read_json, sealed, write_json

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
    """A state as it was saved: of one member, or of several along the first axis of each array."""

    step: int
    arrays: Arrays
    identity: str  # under which it was trained so far; "mixed": under several
    seconds: Any  # of training so far: a float or, of several members, a list; None: not known


def save(directory: Path, members: tuple[str, ...], saved: Saved) -> Path:
    """Saves the states of members trained side by side, named by their digests."""
    name = hashlib.sha256(" ".join(members).encode()).hexdigest()[:12]
    path = directory / "checkpoints" / name / f"{saved.step:08d}"
    with disk(path):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        with _quiet_threads(), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as saver:
            saver.save(path.resolve() / "arrays", args=ocp.args.PyTreeSave(saved.arrays))
        manifest = {
            "step": saved.step,
            "members": list(members),
            "identity": saved.identity,
            "seconds": saved.seconds,
            "arrays": {name: fingerprint({name: array}) for name, array in saved.arrays.items()},
            "files": _file_digests(path / "arrays"),
        }
    write_json(path / "manifest.json", sealed(manifest))
    manifests = path.parent.glob("*/manifest.json")
    # Later steps than this one were found damaged, or it would not have been trained again.
    whole = sorted(found.parent for found in manifests if found.parent.name <= path.name)
    # The others are older, or left by a killed writer.
    for other in set(path.parent.iterdir()) - set(whole[-KEPT:]):
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


def load(directory: Path, wanted: Iterable[str], say: Callable[[str], None]) -> dict[str, Saved]:
    """The newest undamaged state of each wanted member that has one.

    A damaged checkpoint is named out loud and the one before it is taken; from whichever state a
    member goes on, it ends in the same bits.
    """
    missing, found = set(wanted), {}
    paths = (directory / "checkpoints").glob("*/*/manifest.json")
    for path in sorted(paths, key=lambda p: p.parent.name, reverse=True):
        try:
            manifest, arrays = read(path.parent, missing)
        except SurroundingsError as error:
            say(f"{error}; going on from the one before it, or from the start")
            continue
        for row, member in enumerate(manifest["members"] if arrays else ()):
            if member in missing:
                missing.discard(member)
                own = {name: array[row] for name, array in arrays.items()}
                identity, seconds = manifest.get("identity", ""), manifest.get("seconds")
                seconds = None if seconds is None else seconds[row]
                found[member] = Saved(manifest["step"], own, identity, seconds)
    return found


def read(path: Path, wanted: set[str]) -> tuple[dict[str, Any], Arrays]:
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
