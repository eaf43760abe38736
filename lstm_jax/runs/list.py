"""Lists the runs in `runs/`: a row for each one, read from its record. Writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.labels import field_label, format_value
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.runs import checkpoints
from lstm_jax.runs.directory import in_use, run_directories
from lstm_jax.runs.files import disk_usage, format_bytes
from lstm_jax.runs.progress import say
from lstm_jax.runs.record import Record, read_record
from lstm_jax.runs.statistics import chosen, summarise

HEAD = (
    *("run", "started (UTC)", "done", "status", "num parameters", "validation", "test", "size"),
    "differs in",
)

MAX_CONDITIONS = 4  # whose scores a row has room for


def list_runs(
    console: Console, runs_dir: Path, name: str | None, experiment_of: Callable[[str], Experiment]
) -> None:
    """Prints a row for each run of a name or of all names, the one that started last at the end.

    `experiment_of` returns the experiment of a name as its file has it: a row shows in which
    fields the run differs from it. Raises UserError if there is no run of the name.
    """
    directories = run_directories(runs_dir, name, shards=True)
    if not directories and name:
        raise UserError(f"no runs of {name} lie in {runs_dir}")
    if not directories:
        return say(console, f"no runs lie in {runs_dir}")
    rows_by_start: list[tuple[str, str, tuple[str, ...]]] = []
    problems = []
    for directory in directories:
        run, size = short_name(directory), format_bytes(disk_usage(directory))
        started, done, scores, differences = "", "", ("", "", ""), ""
        try:
            record = read_record(directory)
        except EnvironmentProblem as error:
            status = "unreadable"
            problems.append(str(error))
        else:
            if record is None:
                status = "running" if in_use(directory) else "never trained"
            else:
                started, status = record.last_started, _status(directory, record)
                done = f"{record.num_done}/{record.num_members}"
                if record.results:
                    scores = _scores(record)
                differences = _differences(
                    record.study.experiment, experiment_of(directory.parent.name)
                )
        row = (run, started[:16].replace("T", " "), done, status, *scores, size, differences)
        rows_by_start.append((started, directory.name, row))
    rows = [HEAD, *(row for _, _, row in sorted(rows_by_start))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for *cells, differences in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=False))
        if console.is_terminal and differences and cells[0] != HEAD[0]:  # too long for its line
            say(console, line.rstrip())
            say(console, f"    {differences}")
        else:  # in a pipe a run is one line
            say(console, f"{line}  {differences}".rstrip())
    say(
        console,
        "validation, test: the task's metric, of the setting best on validation, mean; "
        "of each condition where there are several",
    )
    for message in problems:
        say(console, message)
    say(console, f"name a run NAME, NAME/begin-of-digest or latest; they lie in {runs_dir}")


def _scores(record: Record) -> tuple[str, str, str]:
    """Returns of the chosen setting of each condition: the number of parameters, and the mean
    validation and test metric.
    """
    best = chosen(summarise(record.results.values()))
    if len(best) > MAX_CONDITIONS:
        return "", f"{len(best)} conditions", ""
    validation = " / ".join(f"{summary.validation.mean:.4f}" for summary in best)
    parameters = " / ".join(dict.fromkeys(summary.num_parameters for summary in best))
    return parameters, validation, " / ".join(f"{summary.test.mean:.4f}" for summary in best)


def short_name(directory: Path) -> str:
    """Returns a run's name with the beginning of its digest, and the shard if it is one."""
    return f"{directory.parent.name}/{directory.name[:6]}{directory.name[12:]}"


def _status(directory: Path, record: Record) -> str:
    """Returns whether a run is running, finished or stopped, and where."""
    session = record.sessions[-1] if record.sessions else {}
    # `in_use` locks for a moment, which a run that starts would see: so it is called last.
    if "ended" not in session and in_use(directory):
        return "running"
    if record.is_finished:
        num_diverged = sum(result.diverged_at is not None for result in record.results.values())
        return f"finished, {num_diverged} diverged" if num_diverged else "finished"
    saved = checkpoints.saved_members(directory)
    steps = [step for digest, step in saved.items() if digest not in record.results]
    return f"stopped at step {max(steps)}" if steps else "stopped"


def _differences(run: Experiment, file: Experiment) -> str:
    """Returns the fields in which a run differs from the file of its name, with their values."""
    differences = [run.task.spec_string()] if run.task.name != file.task.name else []
    chosen_widths = {"hidden_size"} if run.values_of("parameters") != (None,) else set()
    for path in [path for path in run.values if path not in chosen_widths]:
        # A field of a component that the file has not is shown where it has a value of its own.
        elsewhere = path not in file.values and path in {*run.axes, *run.overrides}
        if elsewhere or run.values.get(path) != file.values.get(path, run.values.get(path)):
            values = " ".join(map(format_value, run.values_of(path)))
            differences.append(f"{field_label(path)} {values}")
    return ", ".join(differences)
