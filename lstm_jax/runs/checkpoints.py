"""Checkpoints of members that train side by side, saved so that a damaged byte is noticed.

    checkpoints/<members>/<step>.safetensors, <step>.json

The first file holds the arrays, which any framework can read. The second one, the manifest, holds
the members' digests and the SHA-256 of the first file. The manifest is written last: a kill at any
moment leaves the checkpoint before it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from lstm_jax.data.dataset import Say
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

NUM_KEPT = 2  # checkpoints in a folder: the last one, and the one before it in case of damage
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
    """Returns the SHA-256 over the names, dtypes, shapes and bytes of arrays, sorted by name."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


class Saved(NamedTuple):
    """A saved state of one member, or of several along the first axis of each array."""

    step: int
    arrays: Arrays
    identity: str  # digest of the identity it was trained under; "mixed A B" if there were several
    seconds: Any  # of training so far: a float, or a list for several members; None if not known


def save(directory: Path, members: tuple[str, ...], saved: Saved) -> Path:
    """Saves the states of members, given by their digests, and removes superseded checkpoints.

    Returns the path of the manifest.
    """
    folder = hashlib.sha256(" ".join(members).encode()).hexdigest()[:12]
    path = directory / "checkpoints" / folder / f"{saved.step:08d}.json"
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

    files = [match for name in list_folder(path.parent) if (match := FILE.fullmatch(name))]
    # A checkpoint of a later step is damaged: otherwise this step was not trained again.
    steps = {int(m[1]) for m in files if m[2] == "json" and int(m[1]) <= saved.step}
    kept = sorted(steps)[-NUM_KEPT:]
    # In order of their names, so that a manifest is removed before its arrays.
    for name in sorted(match[0] for match in files if int(match[1]) not in kept):
        with open_folder(path.parent) as descriptor, contextlib.suppress(OSError):
            os.unlink(name, dir_fd=descriptor)
    return path


def _manifests(directory: Path, folder: str | None = None) -> list[Path]:
    """Returns the manifests in all folders, or in one given by its name, the latest step first."""
    checkpoints = directory / "checkpoints"
    paths = [
        checkpoints / name / file
        for name in list_folder(checkpoints)
        if FOLDER.fullmatch(name) and folder in (None, name)
        for file in list_folder(checkpoints / name)
        if FILE.fullmatch(file) and file.endswith(".json")
    ]
    return sorted(paths, key=lambda path: int(path.stem), reverse=True)


def _read_manifest(path: Path) -> dict[str, Any]:
    """Returns the manifest. Raises ValueError or EnvironmentProblem if it is damaged."""
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
    """Returns the last saved step of each member, by digest, in all folders or in one.

    Reads the manifests alone.
    """
    steps: dict[str, int] = {}
    for path in _manifests(directory, folder):
        with contextlib.suppress(EnvironmentProblem, ValueError):
            manifest = _read_manifest(path)
            for digest in manifest["members"]:
                steps.setdefault(digest, manifest["step"])
    return steps


def saved_identities(directory: Path) -> dict[str, str]:
    """Returns the identity of the newest state of each member that has a checkpoint, by digest."""
    identities: dict[str, str] = {}
    for path in _manifests(directory):
        with contextlib.suppress(EnvironmentProblem, ValueError):
            manifest = _read_manifest(path)
            for digest in manifest["members"]:
                identities.setdefault(digest, manifest["identity"])
    return identities


def load(directory: Path, digests: Iterable[str], say: Say) -> dict[str, Saved]:
    """Returns the newest undamaged state of each of these members that has one, by digest.

    If a checkpoint is damaged, says so and takes the one before it. The final result is the same
    from every saved state.
    """
    missing, states = set(digests), dict[str, Saved]()
    for path in _manifests(directory):
        if not missing:
            break
        try:
            states |= read(path, missing)
        except EnvironmentProblem as error:
            say(f"{error}; going on from the one before it, or from the start")
        missing -= states.keys()
    return states


def read(path: Path, digests: set[str]) -> dict[str, Saved]:
    """Returns the states of these members, as far as the checkpoint of this manifest has them.

    Raises EnvironmentProblem if any byte was changed.
    """
    try:
        manifest = _read_manifest(path)
        rows = {m: row for row, m in enumerate(manifest["members"]) if m in digests}
        if not rows:
            return {}
        start, stop = min(rows.values()), max(rows.values()) + 1
        arrays = _read_rows(path.with_suffix(".safetensors"), manifest, start, stop)
        return {
            member: Saved(
                manifest["step"],
                {name: array[row - start] for name, array in arrays.items()},
                manifest["identity"],
                manifest["seconds"][row],
            )
            for member, row in rows.items()
        }
    # A decoder of damaged bytes may raise anything.
    except Exception as error:
        reason = printable((str(error) or type(error).__name__)[:200])
        raise EnvironmentProblem(f"checkpoint {path} is damaged ({reason})") from error


def _read_rows(path: Path, manifest: dict[str, Any], start: int, stop: int) -> Arrays:
    """Returns these rows of each array. Raises ValueError if the file was changed."""
    # The file is checked before it is decoded: a decoder of damaged bytes may do more than fail.
    with open(open_regular(path, os.O_RDONLY), "rb") as file:
        size, digest = os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256")
    if {"bytes": size, "sha256": digest.hexdigest()} != manifest["file"]:
        raise ValueError("its arrays were changed")
    with safetensors.safe_open(path, "np") as arrays:
        names = arrays.keys()
        slices = {name: arrays.get_slice(name) for name in names}
        if any(rows.get_shape()[:1] != [len(manifest["members"])] for rows in slices.values()):
            raise ValueError("its arrays are not those of its members")
        return {name: rows[start:stop] for name, rows in slices.items()}
