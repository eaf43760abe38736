"""What lies in `runs/`: a row for each run, read from its record. Writes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from lstm_jax.config.experiment import Experiment, field_label, format_value
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.runs import checkpoints
from lstm_jax.runs.directory import in_use, run_directories, start_time
from lstm_jax.runs.progress import say
from lstm_jax.runs.record import Record, read_record
from lstm_jax.runs.statistics import summarise

HEAD = ("run", "began (UTC)", "done", "status", "validation", "test", "size", "differs in")


def list_runs(
    console: Console, runs_dir: Path, name: str | None, own: Callable[[str], Experiment]
) -> None:
    """Prints a row for each run, the last one below. `own` returns an experiment as its file has
    it, from which the run may differ.

    Raises UserError where there is none of a name.
    """
    found = sorted(run_directories(runs_dir, name, shards=True), key=start_time)
    if not found and name:
        raise UserError(f"no runs of {name} lie in {runs_dir}")
    if not found:
        return say(console, f"no runs lie in {runs_dir}")
    rows = [HEAD, *(_row(directory, own) for directory in found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for *cells, last in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=False))
        # In a pipe a run is a line; on a screen what it differs in has one of its own.
        apart = "\n    " if console.is_terminal and last and cells[0] != HEAD[0] else "  "
        for part in f"{line}{apart}{last}".rstrip().split("\n"):
            say(console, part)
    say(console, "validation, test: the task's metric, of the setting best on validation, mean")
    say(console, f"name a run NAME, NAME/begin-of-digest or latest; they lie in {runs_dir}")


def _row(directory: Path, own: Callable[[str], Experiment]) -> tuple[str, ...]:
    name, size = f"{directory.parent.name}/{brief(directory)}", _size(directory)
    try:
        record = read_record(directory)
    except EnvironmentProblem:
        return name, "", "", "damaged", "", "", size, ""
    if record is None:
        status = "running" if in_use(directory) else "never trained"
        return name, "", "", status, "", "", size, ""
    return (
        name,
        record.last_started[:16].replace("T", " "),
        f"{record.num_done}/{record.num_members}",
        _status(directory, record),
        *_scores(record),
        size,
        _difference(record.study.experiment, own(directory.parent.name)),
    )


def brief(directory: Path) -> str:
    """Returns as much of a run directory's name as one types: a part's is known by its end, too."""
    return directory.name[:6] + directory.name[12:]


def _difference(run: Experiment, own: Experiment) -> str:
    values = [run.task.name] if run.task.name != own.task.name else []
    for path in run.values:
        if path not in own.values or run.values[path] != own.values[path]:
            values.append(f"{field_label(path)} {' '.join(map(format_value, run.values_of(path)))}")
    return ", ".join(values)


def _status(directory: Path, record: Record) -> str:
    session = record.sessions[-1] if record.sessions else {}
    if "ended" not in session and in_use(directory):  # else a run that starts would see our hold
        return "running"
    if record.is_finished:
        bad = sum(result.diverged_at is not None for result in record.results.values())
        return f"finished, {bad} diverged" if bad else "finished"
    steps = checkpoints.saved_members(directory)
    left = [step for digest, step in steps.items() if digest not in record.results]
    return f"stopped at step {max(left)}" if left else "stopped"


def _scores(record: Record) -> tuple[str, str]:
    if not record.results:
        return "", ""
    best = summarise(record.results.values())[0]
    return f"{best.validation.mean:.4f}", f"{best.test.mean:.4f}"


def _size(directory: Path) -> str:
    blocks = sum(
        os.lstat(Path(home, name)).st_blocks
        for home, _, files in os.walk(directory)
        for name in files
    )
    return as_size(512 * blocks)


def as_size(count: float) -> str:
    """Returns a number of bytes as one reads it."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
