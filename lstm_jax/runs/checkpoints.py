"""Checkpoints: states of members trained side by side, saved so that a damaged byte is found out.

    checkpoints/<members>/<step>.safetensors, <step>.json

The first holds the arrays, readable from any framework; the second says whose they are and the
SHA-256 of the first. It is written last: a kill at any moment leaves the checkpoint before it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from lstm_jax.errors import EnvironmentProblem
from lstm_jax.runs.files import (
    list_folder,
    make_folder,
    open_folder,
    open_regular,
    printable,
    write_bytes,
)
from lstm_jax.runs.json_files import read_json, with_checksum, write_json

KEPT = 2  # checkpoints a placement: the last, and the one before should the last be damaged
FOLDER = re.compile(r"[0-9a-f]{12}")
FILE = re.compile(r"([0-9]{8,18})\.(json|safetensors)")
SHA256 = re.compile(r"[0-9a-f]{64}")
MANIFEST = {
    "step": range(10**18),
    "members": [str],
    "identity": str,
    "seconds": [(float, None)],
    "file": {"bytes": range(2**63), "sha256": SHA256},
    "sha256": SHA256,  # of the manifest itself
}

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
    path = directory / "checkpoints" / name / f"{saved.step:08d}.json"
    make_folder(path.parent.parent)
    make_folder(path.parent)
    content = safetensors.numpy.save(
        {name: np.ascontiguousarray(array) for name, array in saved.arrays.items()}
    )
    manifest = {
        "step": saved.step,
        "members": list(members),
        "identity": saved.identity,
        "seconds": saved.seconds,
        "file": {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()},
    }
    write_bytes(path.with_suffix(".safetensors"), content)
    write_json(path, with_checksum(manifest))
    _drop_all_but_the_last(path)
    return path


def _drop_all_but_the_last(path: Path) -> None:
    """Removes checkpoints beside this one that are no longer needed, and halves of such."""
    found = [match for name in list_folder(path.parent) if (match := FILE.fullmatch(name))]
    # Later steps than this one were found damaged, or it would not have been trained again.
    whole = {int(m[1]) for m in found if m[2] == "json" and int(m[1]) <= int(path.stem)}
    kept = sorted(whole)[-KEPT:]
    # By name: the manifest goes before its arrays.
    for name in sorted(match[0] for match in found if int(match[1]) not in kept):
        with open_folder(path.parent) as home, contextlib.suppress(OSError):
            os.unlink(name, dir_fd=home)


def _manifests(directory: Path, folder: str | None = None) -> list[Path]:
    """Of all placements or of one, by its folder's name: the latest step first."""
    home = directory / "checkpoints"
    found = [
        home / name / file
        for name in list_folder(home)
        if FOLDER.fullmatch(name) and folder in (None, name)
        for file in list_folder(home / name)
        if FILE.fullmatch(file) and file.endswith(".json")
    ]
    return sorted(found, key=lambda path: int(path.stem), reverse=True)


def _read_manifest(path: Path) -> dict[str, Any]:
    manifest: dict[str, Any] | None = read_json(path, MANIFEST)
    if (
        manifest is None
        or manifest != with_checksum(manifest)
        or manifest["step"] != int(path.stem)
        or len(manifest["seconds"]) != len(manifest["members"])
    ):
        raise ValueError("its manifest was changed")
    return manifest


def saved_members(directory: Path, folder: str | None = None) -> dict[str, int]:
    """The members of which there is a checkpoint, in one folder or in any, by their digests: how
    many steps they have.
    """
    steps: dict[str, int] = {}
    for path in _manifests(directory, folder):
        with contextlib.suppress(EnvironmentProblem, ValueError):
            manifest = _read_manifest(path)
            for digest in manifest["members"]:
                steps.setdefault(digest, manifest["step"])
    return steps


def load(directory: Path, wanted: Iterable[str], say: Callable[[str], None]) -> dict[str, Saved]:
    """The newest undamaged state of each wanted member that has one.

    A damaged checkpoint is named out loud and the one before it is taken; from whichever state a
    member goes on, it ends in the same bits.
    """
    missing, found = set(wanted), dict[str, Saved]()
    for path in _manifests(directory):
        if not missing:
            break
        try:
            found |= read(path, missing)
        except EnvironmentProblem as error:
            say(f"{error}; going on from the one before it, or from the start")
        missing -= found.keys()
    return found


def read(path: Path, wanted: set[str]) -> dict[str, Saved]:
    """Those of the wanted members that are in the checkpoint with this manifest.

    Raises EnvironmentProblem when a byte is not as it was written.
    """
    try:
        manifest = _read_manifest(path)
        rows = {m: row for row, m in enumerate(manifest["members"]) if m in wanted}
        if not rows:
            return {}
        first, last = min(rows.values()), max(rows.values())
        arrays = _read_rows(path.with_suffix(".safetensors"), manifest, first, last + 1)
        return {
            member: Saved(
                manifest["step"],
                {name: array[row - first] for name, array in arrays.items()},
                manifest["identity"],
                manifest["seconds"][row],
            )
            for member, row in rows.items()
        }
    # Whatever a decoder makes of damaged bytes, the answer is the same.
    except Exception as error:
        reason = printable((str(error) or type(error).__name__)[:200])
        raise EnvironmentProblem(f"checkpoint {path} is damaged ({reason})") from error


def _read_rows(path: Path, manifest: dict[str, Any], start: int, stop: int) -> Arrays:
    """These members' part of each array, once the file is known to be as it was written."""
    # Before anything is decoded: a decoder given damaged bytes may do more than fail.
    with open(open_regular(path, os.O_RDONLY), "rb") as file:
        size, digest = os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256")
    if {"bytes": size, "sha256": digest.hexdigest()} != manifest["file"]:
        raise ValueError("its arrays were changed")
    with safetensors.safe_open(path, "np") as arrays:
        stored = arrays.keys()
        slices = {name: arrays.get_slice(name) for name in stored}
        if any(part.get_shape()[:1] != [len(manifest["members"])] for part in slices.values()):
            raise ValueError("its arrays are not those of its members")
        return {name: part[start:stop] for name, part in slices.items()}
