"""Lists the runs in `runs/`: a row for each one, read from its record. Writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.experiment_fields import BUDGETS
from lstm_jax.config.labels import field_label, format_value
from lstm_jax.config.search import Search
from lstm_jax.errors import UserError
from lstm_jax.fields import field_specs
from lstm_jax.runs.directory import run_directories
from lstm_jax.runs.files import disk_usage, format_bytes
from lstm_jax.runs.progress import say
from lstm_jax.runs.record import Record
from lstm_jax.runs.rows import read_row

HEAD = (
    *("run", "started (UTC)", "done", "status", "num parameters", "validation", "test", "size"),
    "note; differs in",
)
SORTS = ("started", "name", "metric", "time", "size")


def list_runs(
    console: Console,
    runs_dir: Path,
    name: str | None,
    experiment_of: Callable[[str], Experiment],
    sort: str = "started",
) -> None:
    """Prints a row for each run of a name or of all names.

    `sort` is one of `SORTS`: the run that started last, trained longest or is largest stands at the
    end, just above the prompt; `metric` puts runs of one task and data together, in each the one
    that is best on validation first. `experiment_of` returns the experiment of a name as its file
    has it: a row shows in which fields the run differs from it, and its search. Raises UserError if
    there is no run of the name.
    """
    directories = run_directories(runs_dir, name, shards=True)
    if not directories and name:
        raise UserError(f"no runs of {name} lie in {runs_dir}")
    if not directories:
        return say(console, f"no runs lie in {runs_dir}")
    sorted_rows: list[tuple[tuple[object, ...], tuple[str, ...]]] = []
    problems = []
    for directory in directories:
        (row, record), size = read_row(directory), disk_usage(directory)
        problems += [row.problem] if row.problem else []
        differences, task = "", ""
        if record is not None:
            experiment = record.study.experiment
            task = f"{experiment.task.spec_string()} {experiment.task.data_key}"
            file = experiment_of(_file_name(directory, record))
            texts = [_differences(experiment, file), *_search(record.study.search)]
            differences = ", ".join(filter(None, texts))
        keys: dict[str, tuple[object, ...]] = {
            "started": (row.started,),
            "name": (row.run,),
            "metric": (task, row.rank is None, -(row.rank or 0.0)),
            "time": (row.seconds,),
            "size": (size,),
        }
        cells = (
            *(row.run, row.started_shown, row.done, row.status, row.num_parameters),
            *(
                row.validation,
                row.test,
                format_bytes(size),
                "; ".join(filter(None, (row.note, differences))),
            ),
        )
        sorted_rows.append(((*keys[sort], directory.name), cells))
    rows = [HEAD, *(cells for _, cells in sorted(sorted_rows))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for *row_cells, differences in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row_cells, widths, strict=False))
        if console.is_terminal and differences and row_cells[0] != HEAD[0]:  # too long for its line
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


def _file_name(directory: Path, record: Record) -> str:
    """Returns the name of the experiment file that a run began with: that of its folder, or the
    first word of its command where `--name` has named the folder.
    """
    words = record.sessions[-1].get("command", []) if record.sessions else []
    is_named = any(word.partition("=")[0] == "--name" for word in words)
    return Path(words[1]).stem if is_named and words[0] == "run" else directory.parent.name


def _search(search: Search) -> list[str]:
    """Returns how the members of a run were chosen, in words; empty for the whole grid."""
    defaults = Search()
    texts = [] if search.method == "grid" else [f"search {search.method}, {search.trials} trials"]
    return texts + [
        f"{field_label(name)} {format_value(value)}"
        for name in field_specs(search)
        if name not in ("method", "trials")
        and (value := getattr(search, name)) != getattr(defaults, name)
    ]


def _differences(run: Experiment, file: Experiment) -> str:
    """Returns the fields in which a run differs from the file of its name, with their values."""
    differences = [run.task.spec_string()] if run.task.name != file.task.name else []
    unused = {*BUDGETS} - {run.budget}
    if run.values_of("parameters") != (None,):
        unused.add("hidden_size")
    for path in [path for path in run.values if path not in unused]:
        # A field of a component that the file has not is shown where it has a value of its own.
        elsewhere = path not in file.values and path in {*run.axes, *run.overrides}
        if elsewhere or run.values.get(path) != file.values.get(path, run.values.get(path)):
            values = " ".join(map(format_value, run.values_of(path)))
            differences.append(f"{field_label(path)} {values}")
    return ", ".join(differences)
