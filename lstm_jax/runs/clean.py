"""Finds what is no longer needed in run directories, names it, and removes it on confirmation.

- Checkpoints of members that trained side by side once and go on in other folders: every member has
  an undamaged state of the same step or a later one in another folder of the same run.
- Shards all of whose members are finished in the whole run.
- What killed writers left: temporary files, arrays without manifest, directories without record.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from lstm_jax.data.dataset import say_nothing
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.runs import checkpoints
from lstm_jax.runs.directory import in_use, is_shard, locked, run_directories
from lstm_jax.runs.files import TEMPORARY, disk_usage, format_bytes
from lstm_jax.runs.progress import say
from lstm_jax.runs.record import read_record


class Removable(NamedTuple):
    """A file or a folder that can be removed."""

    path: Path
    reason: str


def clean(console: Console, runs_dir: Path, name: str | None, yes: bool) -> None:
    """Names what can be removed, asks, and removes it. Leaves a run that is in use as it is.

    With `yes` it does not ask. Raises UserError if there is no run of the name, or if nobody
    answers.
    """
    directories = run_directories(runs_dir, name, shards=True)
    if not directories and name:
        raise UserError(f"no runs of {name} lie in {runs_dir}")
    by_directory: dict[Path, list[Removable]] = {}
    for directory in directories:
        if in_use(directory):
            say(console, f"{directory} is in use: left as it is")
        elif items := list(find_removable(directory)):
            by_directory[directory] = items
    removable = [item for of_run in by_directory.values() for item in of_run]
    if not removable:
        say(console, f"nothing in {runs_dir} can be removed")
        return
    sizes = [disk_usage(item.path) for item in removable]
    for item, size in zip(removable, sizes, strict=True):
        say(console, f"{format_bytes(size):>9}  {item.path}: {item.reason}")
    count, total = len(removable), format_bytes(sum(sizes))
    if not yes:
        try:
            answer = console.input(f"remove these {count}, {total}? [y/N] ", markup=False)
        except EOFError:
            raise UserError("clean: nobody answers; give --yes to remove them") from None
        if answer.strip().lower() not in ("y", "yes"):
            say(console, "nothing was removed")
            return
    for directory in by_directory:
        with locked(directory):  # removes temporary files, too
            for item in list(find_removable(directory)):  # again, now that nobody else writes
                if item.path.is_dir():
                    shutil.rmtree(item.path)
                else:
                    item.path.unlink(missing_ok=True)
    say(console, f"removed {count}, {total}")


def find_removable(directory: Path) -> Iterator[Removable]:
    """Yields what can be removed from a run directory."""
    if not (directory / "record.json").exists():
        if {path.name for path in directory.iterdir()} <= {"lock"}:
            yield Removable(directory, "a run that was killed before it began")
        return
    if is_shard(directory) and _whole_run_has(directory):
        yield Removable(directory, "a shard whose members are all finished in the whole run")
        return
    for folder, _, names in os.walk(directory):
        for name in sorted(filter(TEMPORARY.fullmatch, names)):
            yield Removable(Path(folder, name), "a temporary file of a killed writer")
    folders = [
        path
        for path in sorted((directory / "checkpoints").glob("*"))
        if checkpoints.FOLDER.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
    ]
    for path in (file for folder in folders for file in sorted(folder.glob("*.safetensors"))):
        if checkpoints.FILE.fullmatch(path.name) and not path.with_suffix(".json").exists():
            yield Removable(path, "arrays of a checkpoint that was never finished")
    yield from _superseded(directory, folders)


def _whole_run_has(shard: Path) -> bool:
    """Returns whether the whole run holds every member of a shard, finished and undamaged."""
    whole = shard.parent / shard.name[:12]
    try:
        shard_record, record = read_record(shard), read_record(whole)
        if shard_record is None or record is None:
            return False
        results = [record.results.get(m.digest) for m in shard_record.study.members()]
        trained_here = [r for r in results if r is not None and r.reused_from is None]
        saved = checkpoints.load(whole, [r.member.digest for r in trained_here], say_nothing)
    except EnvironmentProblem:
        return False
    return None not in results and all(
        r.member.digest in saved and saved[r.member.digest].step >= r.steps for r in trained_here
    )


def _superseded(directory: Path, folders: list[Path]) -> Iterator[Removable]:
    """Yields the folders whose members all have a state of the same step or a later one in a
    folder that stays.

    Reads all bytes of a state before it counts.
    """
    steps = {path: checkpoints.saved_members(directory, path.name) for path in folders}
    # On a tie, keeps the folder with fewer members, so that the larger one can be removed.
    latest_first = sorted(
        folders, key=lambda path: (-max(steps[path].values(), default=-1), len(steps[path]))
    )
    kept: dict[str, int] = {}
    for path in latest_first:
        if steps[path] and all(kept.get(m, -1) >= step for m, step in steps[path].items()):
            yield Removable(path, "its members go on in another folder")
            continue
        for manifest in path.glob("*.json"):
            with contextlib.suppress(EnvironmentProblem):
                for member, saved in checkpoints.read(manifest, set(steps[path])).items():
                    kept[member] = max(kept.get(member, -1), saved.step)
