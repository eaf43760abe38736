"""What no one needs any more in run directories: found, named, and removed when that is agreed to.

- States of members that were placed together once and are trained elsewhere now: each of them has a
  later state, or one as late, that is whole, in another folder of the same run.
- Parts all of whose members are finished in the whole run.
- What killed writers left: files aside, arrays without a manifest, directories without a record.
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
from lstm_jax.runs.files import TEMPORARY
from lstm_jax.runs.list import as_size
from lstm_jax.runs.progress import say
from lstm_jax.runs.record import read_record


class Removable(NamedTuple):
    """A file or a folder that can go."""

    path: Path
    why: str

    @property
    def size(self) -> int:
        """Its bytes on disk."""
        inside = [Path(home, name) for home, _, files in os.walk(self.path) for name in files]
        return 512 * sum(os.lstat(path).st_blocks for path in inside or [self.path])


def clean(console: Console, runs_dir: Path, name: str | None, yes: bool) -> None:
    """Names what can go, asks, and removes it. A run that is in use is left as it is.

    Raises UserError where nobody is there to be asked, and where there is none of a name.
    """
    found: dict[Path, list[Removable]] = {}
    directories = run_directories(runs_dir, name, shards=True)
    if not directories and name:
        raise UserError(f"no runs of {name} lie in {runs_dir}")
    for directory in directories:
        if in_use(directory):
            say(console, f"{directory} is in use: left as it is")
        elif removable := list(find_removable(directory)):
            found[directory] = removable
    everything = [one for removable in found.values() for one in removable]
    for one in everything:
        say(console, f"{as_size(one.size):>9}  {one.path}: {one.why}")
    if not everything:
        say(console, f"nothing in {runs_dir} can go")
        return
    total = as_size(sum(one.size for one in everything))
    if not yes and not _agreed(console, f"remove these {len(everything)}, {total}? [y/N] "):
        say(console, "nothing was removed")
        return
    for directory in found:
        _remove(directory)
    say(console, f"removed {len(everything)}, {total}")


def find_removable(directory: Path) -> Iterator[Removable]:
    """Yields what can go from a run directory."""
    if not (directory / "record.json").exists():
        if {path.name for path in directory.iterdir()} <= {"lock"}:
            yield Removable(directory, "a run that was killed before it began")
        return
    if is_shard(directory) and _is_in_whole(directory):
        yield Removable(directory, "a shard whose members are all finished in the whole run")
        return
    for home, _, files in os.walk(directory):
        for file in sorted(filter(TEMPORARY.fullmatch, files)):
            yield Removable(Path(home, file), "left aside by a killed writer")
    folders = [
        path
        for path in sorted((directory / "checkpoints").glob("*"))
        if checkpoints.FOLDER.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
    ]
    for path in (file for folder in folders for file in sorted(folder.glob("*.safetensors"))):
        if checkpoints.FILE.fullmatch(path.name) and not path.with_suffix(".json").exists():
            yield Removable(path, "arrays of a checkpoint that was never finished")
    yield from _superseded(directory, folders)


def _is_in_whole(shard: Path) -> bool:
    """Returns whether the whole run has finished every member of a shard, and all is there."""
    whole = shard.parent / shard.name[:12]
    try:
        own, record = read_record(shard), read_record(whole)
        if own is None or record is None:
            return False
        results = [record.results.get(member.digest) for member in own.study.members()]
        here = [r for r in results if r is not None and r.reused_from is None]
        saved = checkpoints.load(whole, [r.member.digest for r in here], say_nothing)
    except EnvironmentProblem:
        return False
    return None not in results and all(
        r.member.digest in saved and saved[r.member.digest].step >= r.steps for r in here
    )


def _superseded(directory: Path, folders: list[Path]) -> Iterator[Removable]:
    """Yields folders whose every member has a whole state, as late or later, in another that stays.

    Those with the latest steps are looked at first; a state counts once all its bytes were read.
    """
    steps = {path: checkpoints.saved_members(directory, path.name) for path in folders}
    # Of two as late, the one with fewer members: the other may go as a whole.
    latest_first = sorted(
        folders, key=lambda path: (-max(steps[path].values(), default=-1), len(steps[path]))
    )
    kept: dict[str, int] = {}
    for path in latest_first:
        own = steps[path]
        if own and all(kept.get(who, -1) >= step for who, step in own.items()):
            yield Removable(path, "its members go on in another folder")
            continue
        for manifest in path.glob("*.json"):
            with contextlib.suppress(EnvironmentProblem):
                for who, saved in checkpoints.read(manifest, set(own)).items():
                    kept[who] = max(kept.get(who, -1), saved.step)


def _remove(directory: Path) -> None:
    """Removes what can go, looked for once more while nobody else writes."""
    with locked(directory):  # removes what was left aside, too
        for removable in list(find_removable(directory)):
            if removable.path.is_dir():
                shutil.rmtree(removable.path)
            else:
                removable.path.unlink(missing_ok=True)


def _agreed(console: Console, question: str) -> bool:
    try:
        return console.input(question, markup=False).strip().lower() in ("y", "yes")
    except EOFError:
        raise UserError("clean: nobody answers; give --yes to remove them") from None
