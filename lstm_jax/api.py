"""The Python interface: `run` trains an experiment, `read` and `load` return what a run has saved.

The command `run` calls the same function. The command line imports this file to answer a mistake,
so what training needs is imported inside.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.experiment_files import load_study
from lstm_jax.config.search import Study
from lstm_jax.config.shards import parse_shard
from lstm_jax.data.dataset import Dataset, arrays_name, check_finite, say_nothing
from lstm_jax.errors import UserError, explain_missing_packages
from lstm_jax.runs.results import Result, Segment

if TYPE_CHECKING:
    from lstm_jax.predict.trained import TrainedModel
    from lstm_jax.runs.array_columns import Columns
    from lstm_jax.runs.loggers.logger import Logger
    from lstm_jax.runs.record import Record

MAX_CHECKPOINT_EVERY = 10**6
MAX_LINE = 10_000  # characters of a line that is not on a terminal
UNNAMED = "unnamed"  # the name of an experiment that has none


@dataclass(frozen=True, repr=False)
class Outcome:
    """The results of a run, finished or not. They are read from its directory once."""

    directory: Path
    data: Dataset | None = None  # the arrays that the caller gave, if any
    silent: bool = False
    trust_code: bool = False  # run the code that the run names, wherever its files lie

    @cached_property
    def record(self) -> Record:
        """The record of the run: its study, results, data sets and sessions."""
        from lstm_jax.runs.record import read_run

        return read_run(self.directory)

    @property
    def members(self) -> list[Result]:
        """The results of the finished members. Each names its `member`, an Experiment."""
        return list(self.record.results.values())

    @cached_property
    def metrics(self) -> Columns:
        """The logged metrics as columns, one row for each member and logged step.

        The columns are the digest of the member, the step, the loss, the metric of the task and
        norms. Each is a NumPy array.
        """
        from lstm_jax.runs.array_columns import Columns
        from lstm_jax.runs.metrics_file import read_metrics
        from lstm_jax.runs.progress import say

        return Columns(read_metrics(self.directory, partial(say, _console(self.silent))))

    @cached_property
    def results(self) -> Columns:
        """The results as columns, one row for each finished or dropped member: its digest, its
        fields, its scores. Each column is a NumPy array.
        """
        from lstm_jax.runs.array_columns import Columns

        return Columns([row.flat() for row in (*self.members, *self.record.dropped)])

    def load(self, member: str | None = None) -> TrainedModel:
        """Returns a trained member: the one chosen on validation, or the one whose digest begins
        with `member`. Raises what the function `load` raises.
        """
        return load(self.directory, member, trust_code=self.trust_code)

    def score(self, member: str | None = None, **values: Any) -> Columns:
        """Scores the finished members on other conditions, or on other data, of their task.

        `values` are fields of the task with one value or several, such as `length=(8, 16, 32)` or
        `dataset="other.npz"`; `member` is the beginning of a digest. Returns the scores as columns,
        one row for each member and condition, and writes them to `scores/` in the run directory.
        Raises UserError where the model cannot read the data.
        """
        with explain_missing_packages():
            from lstm_jax.predict import scores
            from lstm_jax.runs.array_columns import Columns
            from lstm_jax.runs.devices import prepare_jax

            prepare_jax("auto")
            rows = [
                {"member": each.result.member.digest, **each.task}
                | {f"validation_{name}": value for name, value in each.validation.items()}
                | {f"test_{name}": value for name, value in each.test.items()}
                for each in scores.score(
                    self.directory, values, _console(self.silent), member=member
                )
            ]
        return Columns(rows)

    def report(self, member: str | None = None) -> Path:
        """Writes the report of the run, one page with figures, and returns its path.

        `member` is as in `load`; the page shows the answers of this member.
        """
        with explain_missing_packages():
            from lstm_jax.report.page import report
            from lstm_jax.runs.devices import prepare_jax

            prepare_jax("auto")
            console = _console(self.silent)
            return report(
                self.directory, console, member=member, dataset=self.data,
                trust_code=self.trust_code,
            )  # fmt: skip

    def export(
        self, member: str | None = None, *, onnx: bool = False, compare: bool = True
    ) -> Path:
        """Writes a trained member as StableHLO, and with `onnx` also as ONNX, beside a program that
        reads raw inputs without this package. Returns the folder of these files.

        `member` is as in `load`. The models are compared with the model on the test set; without
        `compare`, on made-up inputs, and no data are needed. Raises UserError for a model that ONNX
        cannot hold, and EnvironmentProblem where a file does not answer as the model does.
        """
        with explain_missing_packages():
            from lstm_jax.runs.devices import prepare_jax

            prepare_jax("auto")
            from lstm_jax.export.stablehlo import export

            return export(
                self.directory, _console(self.silent), member=member, onnx=onnx, compare=compare,
                dataset=self.data, trust_code=self.trust_code,
            )  # fmt: skip

    def __repr__(self) -> str:
        record = self.record
        done = f"{record.num_done} of {record.num_members} members"
        return f"Outcome({self.directory.parent.name}, {done} done, {self.directory})"


def run(
    experiment: Experiment | Study | str | Path,
    *,
    name: str | None = None,
    data: Dataset | None = None,
    callback: Callable[[Segment], object] | None = None,
    silent: bool = False,
    runs_dir: str | Path = "runs",
    checkpoint_every: int = 100,
    max_minutes: float | None = None,
    fallback: bool = False,
    tensorboard: bool = False,
    loggers: Sequence[Logger | str] = (),
    platform: str = "auto",
    shard: str | None = None,
    begin_with: str | Path | None = None,
    note: str | None = None,
    index: bool = True,
    console: Console | None = None,
) -> Outcome:
    """Trains an experiment and returns its results. A run that was stopped is resumed, and one that
    is finished is read.

    Args:
        experiment: an `Experiment`, a `Study` (an experiment and its `Search`), the name of a file
            in `experiments/`, or the path of such a file.
        name: the folder in `runs_dir`; by default the name of the file, or "unnamed".
        data: a data set of your own from `make_dataset`, instead of the one that the task names.
            The record holds its fingerprint, and the run resumes only with the same data.
        callback: is called with a `Segment` after every `checkpoint_every` steps, which are saved
            by then. Where it answers "stop", the run stops and is returned unfinished; an exception
            that it raises ends the run. The same call resumes it.
        silent: prints nothing.
        runs_dir: the folder of the run directories.
        checkpoint_every: steps between two checkpoints, from 1 to 1,000,000. It does not change the
            results.
        max_minutes: stops after so many minutes, with all progress saved.
        fallback: trains on the task's built-in data, under its own name, where the data is missing.
        tensorboard: also writes the metrics for TensorBoard.
        loggers: receive what is logged: each is a `Logger`, or its name: "tensorboard", "wandb",
            "mlflow" or "path/to/file.py:name".
        platform: the kind of device: "auto", "cpu", "gpu" or "tpu".
        shard: trains only this shard of the members, such as "3/16". A call without it puts the
            shards together.
        begin_with: a finished run with the same model, such as "runs/digits/abc123". Its members'
            parameters start those of this run, seed by seed, with a fresh optimiser and from step
            0; one member starts all. It lies in `runs_dir`.
        note: is kept in the record and shown in tables, pages and the report; it decides no number
            and no digest. The same call with another note replaces it.
        index: rewrites `index.html` in `runs_dir` while the run trains: a page of all runs.
        console: prints to this console of `rich`.

    Raises:
        UserError: an argument, a field or the data is wrong.
        EnvironmentProblem: data, disk, device or lock is not available.
        DivergedError: the loss of every member stopped being finite.
        Interrupted: Ctrl-C, SIGTERM or `max_minutes` stopped the run; the same call resumes it.
    """
    from lstm_jax.runs.directory import NAME

    if not 1 <= checkpoint_every <= MAX_CHECKPOINT_EVERY:
        raise UserError(
            f"checkpoint_every: {checkpoint_every} is not from 1 to {MAX_CHECKPOINT_EVERY:,}"
        )
    if name is not None and (not NAME.fullmatch(name) or name.startswith("-")):
        raise UserError(f"name: {name!r} is not a valid directory name")
    if name == "latest":
        raise UserError("name: latest names the run that started last; give another name")
    study, run_name = _study(experiment)
    if shard is not None:
        study = replace(study, shard=parse_shard(shard, os.environ))
    if begin_with is not None:
        values = {"begin_with": str(begin_with)}
        study = replace(study, experiment=study.experiment.replace(values))
    study, datasets = _with_data(study, data)
    data = next(iter(datasets.values()), None)
    console = console or _console(silent)
    with explain_missing_packages():
        from lstm_jax.runs.devices import prepare_jax
        from lstm_jax.runs.progress import say

        prepare_jax(platform, partial(say, console))
        from lstm_jax.report.runs_page import RunsPage
        from lstm_jax.runs import run_study
        from lstm_jax.runs.code import errors_in
        from lstm_jax.runs.loggers import logger_files, make_loggers
        from lstm_jax.runs.trust import name_code

        name_code(study.experiment)

        names = ["tensorboard"] if tensorboard else []
        pages = [RunsPage(partial(say, console))] if index else []
        made = make_loggers(dict.fromkeys([*names, *loggers]))
        with errors_in(logger_files(loggers)):
            directory = run_study.run(
                name or run_name,
                study,
                console,
                runs_dir=Path(runs_dir),
                checkpoint_every=checkpoint_every,
                fallback=fallback,
                max_minutes=max_minutes,
                loggers=[*made, *pages],
                note=note,
                datasets=datasets,
                callback=callback,
            )
    return Outcome(directory, data, silent)


def read(run: str | Path, *, runs_dir: str | Path = "runs", trust_code: bool = False) -> Outcome:
    """Returns the results of a run, finished or not. Runs no code that the run names.

    `run` is its directory, the name of its experiment (the latest run of it), NAME/DIGEST with the
    beginning of the digest, or "latest". Raises UserError where there is no such run.

    `load`, `report` and `export` of the outcome run the code of cells and tasks in files that lie
    in the working folder and not beside the run; with `trust_code`, those in other files too.
    """
    from lstm_jax.runs.directory import find_run

    return Outcome(find_run(run, Path(runs_dir)), trust_code=trust_code)


def load(
    run: str | Path,
    member: str | None = None,
    *,
    runs_dir: str | Path = "runs",
    other_code: bool = False,
    trust_code: bool = False,
) -> TrainedModel:
    """Returns a trained member of a run, such as `load("latest").predict(images)`.

    `run` is as in `read`. `member` is the beginning of a digest; without it, the member chosen on
    validation is loaded. Raises UserError where there is no such run or member, and
    EnvironmentProblem where its checkpoint is missing or damaged, or where its code has changed
    since it was trained; with `other_code` the latter is a note. `trust_code` is as in `read`;
    without it, a run that names code in other files is an EnvironmentProblem.
    """
    with explain_missing_packages():
        from lstm_jax.runs.devices import prepare_jax

        prepare_jax("auto")
        from lstm_jax.predict import trained
        from lstm_jax.runs.directory import find_run

        return trained.load(
            find_run(run, Path(runs_dir)), member,
            partial(print, file=sys.stderr) if other_code or trust_code else say_nothing,
            other_code=other_code, trust_code=trust_code,
        )  # fmt: skip


def _study(experiment: Experiment | Study | str | Path) -> tuple[Study, str]:
    """Returns the study and the name of its directory."""
    if isinstance(experiment, Study):
        return experiment, UNNAMED
    if isinstance(experiment, Experiment):
        return Study(experiment), UNNAMED
    if isinstance(experiment, (str, Path)):
        return load_study(str(experiment)), Path(experiment).stem
    raise UserError(f"run: expected an Experiment, a Study or a name, got {experiment!r}")


def _with_data(study: Study, data: Dataset | None) -> tuple[Study, dict[str, Dataset]]:
    """Returns the study with the name of the data set in its task, and the data set by its key.

    Raises UserError where the task cannot read the data set.
    """
    if data is None:
        return study, {}
    if not isinstance(data, Dataset):
        raise UserError(f"data: expected a data set from `make_dataset`, not {type(data).__name__}")
    if "task.dataset" not in study.experiment.values:
        raise UserError(f"data: the task {study.experiment.task.name} takes no data set")
    if "task.dataset" in study.experiment.axes:
        raise UserError("data: there is one data set, but task.dataset has several values")
    if not re.fullmatch(r"[\w.-]{1,100}", data.name):
        raise UserError(f"data: its name is {data.name!r}; use letters, digits, -, _ and .")
    check_finite(data)
    data = study.experiment.task.convert_data(data)
    study.experiment.task.check_data(data)
    try:
        for task in study.experiment.data_tasks().values():
            task.model_spec(data.metadata)
    except KeyError as error:
        raise UserError(
            f"data: the task {study.experiment.task.name} needs {error} beside the arrays: "
            f"make_dataset(..., {error.args[0]}=...)"
        ) from None
    experiment = study.experiment.replace({"task.dataset": arrays_name(data)})
    return replace(study, experiment=experiment), {experiment.task.data_key: data}


def console_layout(is_terminal: bool) -> dict[str, Any]:
    """Returns the arguments of a console that breaks lines and the cells of tables on a terminal
    only, or at the width of the environment variable COLUMNS: scripts read whole lines.
    """
    if is_terminal:
        return {}
    return {"soft_wrap": True, "width": None if os.environ.get("COLUMNS") else MAX_LINE}


def _console(silent: bool) -> Console:
    """Returns a console that prints plain lines in a notebook, whose stdout calls itself a terminal
    but cannot draw a progress bar.
    """
    notebook = Console().is_jupyter
    terminal = not notebook and sys.stdout is not None and sys.stdout.isatty()
    layout = console_layout(terminal)
    return Console(quiet=silent, force_jupyter=False, force_terminal=terminal, **layout)
