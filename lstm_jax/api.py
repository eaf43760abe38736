"""What `import lstm_jax` offers: to run an experiment, and to look at what runs have given.

The command `run` calls the same function. What is estimate_memory to run is imported then: the command line
reads this file to answer a mistake.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.experiment_files import load_study
from lstm_jax.config.search import Study
from lstm_jax.config.shards import parse_shard
from lstm_jax.data.dataset import Dataset, given_name
from lstm_jax.errors import UserError, explain_missing_packages
from lstm_jax.runs.results import Result, Segment

if TYPE_CHECKING:
    from lstm_jax.predict.trained import TrainedModel
    from lstm_jax.runs.columns import Columns
    from lstm_jax.runs.record import Record

MAX_CHECKPOINT_EVERY = 10**6
UNNAMED = "unnamed"  # the directory in `runs/` of experiments without a name


@dataclass(frozen=True, repr=False)
class Outcome:
    """What a run has given so far, read from its directory once."""

    directory: Path
    data: Dataset | None = None  # where it was given as arrays
    silent: bool = False

    @cached_property
    def record(self) -> Record:
        """All that is on record of the run."""
        from lstm_jax.runs.record import read_run

        return read_run(self.directory)

    @property
    def members(self) -> list[Result]:
        """The finished members: each with its `member` (an Experiment) and how it did."""
        return list(self.record.results.values())

    @cached_property
    def metrics(self) -> Columns:
        """A row for each member (by its digest) and logged step: loss, the task's metric, norms."""
        from lstm_jax.runs.columns import Columns
        from lstm_jax.runs.metrics_file import read_metrics
        from lstm_jax.runs.progress import say

        return Columns(read_metrics(self.directory, partial(say, _console(self.silent))))

    @cached_property
    def results(self) -> Columns:
        """A row for each finished or dropped member: its digest, its values, how it did."""
        from lstm_jax.runs.columns import Columns

        return Columns([row.flat() for row in (*self.members, *self.record.dropped)])

    def load(self, member: str | None = None) -> TrainedModel:
        """Returns the member chosen on validation, or the one whose digest begins so."""
        return load(self.directory, member)

    def report(self, member: str | None = None) -> Path:
        """Writes the run as a page and returns its path."""
        with explain_missing_packages():
            from lstm_jax.report.page import report

            console = _console(self.silent)
            return report(self.directory, console, member=member, dataset=self.data)

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
    platform: str = "auto",
    shard: str | None = None,
    console: Console | None = None,
) -> Outcome:
    """Trains an experiment, goes on with it, or finds it finished; returns what it has given.

    `experiment` is an `Experiment`, a `Study` (an experiment and its `Search`), the name of a file
    in `experiments/`, or the path of one. `name` is that of its directory in `runs_dir`.

    `data` is a data set of your own, of `make_dataset`, instead of the one the task names; its
    fingerprint is on record, and to go on with such a run takes the same data. `callback` is
    called with a `Segment` after every `checkpoint_every` steps, which are saved by then: what it
    raises ends the run, and the same call goes on. `silent` shows nothing. `shard` is "3/16" for a
    shard of the members; a call without it puts the shards together. The other options are those of
    `lstm-jax run`.

    Raises UserError, EnvironmentProblem, DivergedError and, after Ctrl-C or `max_minutes`,
    Interrupted: the same call goes on.
    """
    if not 1 <= checkpoint_every <= MAX_CHECKPOINT_EVERY:
        raise UserError(
            f"checkpoint_every: {checkpoint_every} is not from 1 to {MAX_CHECKPOINT_EVERY:,}"
        )
    if name is not None and not re.fullmatch(r"[^/\0]*[^/\0.][^/\0]*", name):
        raise UserError(f"name: {name!r} is no name of a directory")
    study, run_name = _study(experiment)
    if shard is not None:
        study = replace(study, shard=parse_shard(shard, os.environ))
    study, given = _with_data(study, data)
    console = console or _console(silent)
    with explain_missing_packages():
        from lstm_jax.runs.devices import prepare_jax
        from lstm_jax.runs.progress import say

        prepare_jax(platform, partial(say, console))
        from lstm_jax.runs import loop

        directory = loop.run(
            name or run_name, study, console, runs_dir=Path(runs_dir), checkpoint_every=checkpoint_every,
            fallback=fallback, max_minutes=max_minutes, tensorboard=tensorboard, datasets=given,
            callback=callback,
        )  # fmt: skip
    return Outcome(directory, data, silent)


def read(run: str | Path, *, runs_dir: str | Path = "runs") -> Outcome:
    """Returns what a run has given so far: a run directory, NAME, NAME/begin-of-digest, latest."""
    from lstm_jax.runs.directory import find_run

    return Outcome(find_run(run, Path(runs_dir)))


def load(
    run: str | Path, member: str | None = None, *, runs_dir: str | Path = "runs"
) -> TrainedModel:
    """Returns a trained member of a run: `load("latest").predict(images)`.

    A run is named as in `read`; `member` is the beginning of a digest, instead of the member that
    was chosen on validation.
    """
    with explain_missing_packages():
        from lstm_jax.runs.devices import prepare_jax

        prepare_jax("auto")
        from lstm_jax.predict import trained
        from lstm_jax.runs.directory import find_run

        return trained.load(find_run(run, Path(runs_dir)), member)


def _study(experiment: Experiment | Study | str | Path) -> tuple[Study, str]:
    """The study and the name it is known by."""
    if isinstance(experiment, Study):
        return experiment, UNNAMED
    if isinstance(experiment, Experiment):
        return Study(experiment), UNNAMED
    if isinstance(experiment, (str, Path)):
        return load_study(str(experiment)), Path(experiment).stem
    raise UserError(f"run: expected an Experiment, a Study or a name, got {experiment!r}")


def _with_data(study: Study, data: Dataset | None) -> tuple[Study, dict[str, Dataset]]:
    """The study of these data, and the data by the key of its task."""
    if data is None:
        return study, {}
    if not isinstance(data, Dataset):
        raise UserError(
            f"data: a data set of `make_dataset` is expected, not {type(data).__name__}"
        )
    if "task.dataset" not in study.experiment.values:
        raise UserError(f"data: the task {study.experiment.task.name} loads its own")
    if "task.dataset" in study.experiment.axes:
        raise UserError("data: one data set is given, and task.dataset has several values")
    if not re.fullmatch(r"[\w.-]{1,100}", data.name):
        raise UserError(f"data: its name is {data.name!r}; use letters, digits, - and _")
    study.experiment.task.check_data(data)
    experiment = study.experiment.replace({"task.dataset": given_name(data)})
    return replace(study, experiment=experiment), {experiment.task.data_key: data}


def _console(silent: bool) -> Console:
    """Plain lines in a notebook, whose stdout says that it is a terminal and can draw no bar; no
    wrapping where nobody sees a terminal.
    """
    notebook = Console().is_jupyter
    terminal = not notebook and sys.stdout is not None and sys.stdout.isatty()
    return Console(
        quiet=silent, soft_wrap=not terminal, force_jupyter=False, force_terminal=terminal
    )
