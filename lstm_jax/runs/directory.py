"""Run directories: which there are, how they are named, and the lock of the one that writes.

runs/<experiment>/<digest>/     of a shard: <digest>-3-of-16
    record.json         the experiment, what the numbers depended on, and the results of
                        finished members: `record.py`
    results.csv         one line per finished member
    metrics.jsonl       one line per member and logged step: `metrics_file.py`
    checkpoints/        states of members: `checkpoints.py`
    report/             the page and its figures
    lock                locked by the process that writes here
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lstm_jax.config.search import Study
from lstm_jax.errors import EnvironmentProblem, UserError, did_you_mean
from lstm_jax.runs.files import clear_leftovers, disk_errors, make_folder, open_regular, problem
from lstm_jax.runs.record import DIGEST, RUN, read_record

NAME = re.compile(r"[^/\0]*[^/\0.][^/\0]*")  # of a folder, except . and ..
LOOK_SECONDS = 0.5  # `in_use` holds a lock for a moment: a writer waits for longer than that


def run_directory(runs_dir: Path, name: str, study: Study) -> Path:
    """Returns the directory of a study's run, or of a shard of it."""
    return runs_dir / name / (study.digest + (study.shard.suffix if study.shard else ""))


def is_shard(directory: Path) -> bool:
    """Returns whether a run directory belongs to a shard."""
    return "-of-" in directory.name


def run_directories(runs_dir: Path, name: str | None = None, *, shards: bool = False) -> list[Path]:
    """Returns the run directories of one experiment or of all; with `shards`, theirs as well."""
    folders = [runs_dir / name] if name else sorted(runs_dir.glob("*"))
    paths = [path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())]
    pattern = RUN if shards else DIGEST
    return [path for path in paths if pattern.fullmatch(path.name) and path.is_dir()]


def start_time(directory: Path) -> tuple[str, str]:
    """Returns the start of a run's last session and the run's digest, to sort runs by."""
    try:
        record = read_record(directory)
    except EnvironmentProblem:
        record = None
    return record.last_started if record else "", directory.name


def find_run(run: str | Path, runs_dir: Path = Path("runs")) -> Path:
    """Returns the directory of a run.

    A run is given as its path, as `NAME` or `latest` (the one that started last), or as
    `NAME/begin-of-digest`. A `Path` is returned as it is. Raises UserError if no run, or more than
    one, fits.
    """
    if isinstance(run, Path):
        return run
    if (Path(run) / "record.json").exists():
        return Path(run)
    if run == "latest" or NAME.fullmatch(run):
        matching = run_directories(runs_dir, None if run == "latest" else run)
        if matching:  # the record of a large run takes seconds to read
            return max(matching, key=start_time) if len(matching) > 1 else matching[0]
    elif match := re.fullmatch(
        rf"({NAME.pattern})/([0-9a-f]{{1,12}})(-[0-9]+-of-[0-9]+|-old-[0-9]+)?", run
    ):
        name, prefix, suffix = match[1], match[2], match[3] or ""
        matching = [
            path
            for path in run_directories(runs_dir, name, shards=bool(suffix))
            if path.name.startswith(prefix) and path.name[12:] == suffix
        ]
        if len(matching) > 1:
            names = ", ".join(f"{name}/{path.name}" for path in matching[:5])
            raise UserError(f"{len(matching)} runs begin with {run}: {names}")
        if matching:
            return matching[0]
    if run and Path(run).is_dir():
        return Path(run)
    known = {path.parent.name for path in run_directories(runs_dir)}
    raise UserError(
        f"{run} is not a directory and names no run in {runs_dir}.{did_you_mean(run, known)} "
        "Give a run directory, NAME, NAME/begin-of-digest or latest; `lstm-jax list` shows them"
    )


@dataclass(frozen=True)
class Lock:
    """A lock on a run directory, held by this process."""

    directory: Path
    file: IO[str]

    def check(self) -> None:
        """Raises EnvironmentProblem if the directory at this path is no longer the locked one."""
        locked = os.fstat(self.file.fileno())
        try:
            current = os.lstat(self.directory / "lock")
        except OSError:
            current = None
        if current is None or (current.st_dev, current.st_ino) != (locked.st_dev, locked.st_ino):
            raise problem(
                f"{self.directory} was moved or removed while it was written; put it back and run "
                "the same command again"
            )


@contextmanager
def locked(directory: Path, wait: Callable[[str], None] | None = None) -> Iterator[Lock]:
    """Makes the run directory and locks it against other writers. A crash releases the lock.

    If another process holds the lock, calls `wait` with a message and waits for it. Without
    `wait`, raises EnvironmentProblem.
    """
    with disk_errors(directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
    make_folder(directory)
    with disk_errors(directory):
        descriptor = open_regular(directory / "lock", os.O_RDWR | os.O_CREAT)
    with open(descriptor, "r+", errors="replace") as file:
        deadline = time.monotonic() + LOOK_SECONDS
        while not (is_ours := _try_lock(file)) and time.monotonic() < deadline:
            time.sleep(0.01)
        if not is_ours:
            used = f"{directory} is in use by {file.read(200).strip() or 'another process'}"
            if wait is None:
                raise problem(f"{used}; wait for it, or stop it")
            wait(f"{used}: waiting for it")
            while not _try_lock(file):
                time.sleep(0.2)  # a signal is handled between two attempts
            file.seek(0)
        lock = Lock(directory, file)
        lock.check()
        with disk_errors(directory):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {os.uname().nodename}")
            file.flush()
            clear_leftovers(directory)
        yield lock


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def in_use(directory: Path) -> bool:
    """Returns whether a process holds the lock of the run directory."""
    try:
        with open(open_regular(directory / "lock", os.O_RDONLY)) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (OSError, EnvironmentProblem):
        pass
    return False
