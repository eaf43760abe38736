"""The commands, as `command.py` says what one is."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING

from lstm_jax.api import MAX_CHECKPOINT_EVERY
from lstm_jax.cli.command import RUN, RUNS_DIR, Command, OnRun, OnStudy, option
from lstm_jax.config.experiment_files import (
    experiment_docstrings,
    experiment_or_default,
    write_experiment,
)
from lstm_jax.errors import DivergedError, UserError, explain_missing_packages, one_line
from lstm_jax.signals import SAVED, exit_on_signal

if TYPE_CHECKING:
    from rich.console import Console

ONLY_NAME = "only the runs of this experiment"


@dataclass(frozen=True)
class Run(OnStudy):
    """Train an experiment, resume it, or say that it is finished."""

    checkpoint_every: int = option(
        100,
        "steps between two checkpoints; it does not change the results",
        low=1,
        high=MAX_CHECKPOINT_EVERY,
    )
    report: bool = option(True, "write the report at the end")
    index: bool = option(True, "rewrite index.html in the runs folder, a page of all runs")
    note: str | None = option(
        None,
        "what to remember of the run: kept in its record and shown by list, index.html and report; "
        "the same command with another note replaces it",
        value_type=str,
        metavar="TEXT",
    )
    tensorboard: bool = option(False, "also write the metrics for TensorBoard")
    logger: str = option(
        "", "log to `wandb`, `mlflow` or FILE.py:NAME as well; several are separated by commas"
    )
    max_minutes: float | None = option(
        None,
        "stop after so many minutes, with all progress saved and code 75; the same command resumes",
        value_type=float,
        low=1e-9,
    )
    processes: int = option(
        1,
        "processes on this machine that train together as one program, each on its own devices",
        low=1,
        high=1024,
    )
    join: bool = option(
        False,
        "be one of several processes on several machines, which JAX finds by itself on a cluster, "
        "or through JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID",
    )

    def prepare(self, words: Sequence[str]) -> None:
        from lstm_jax.runs.devices import prepare_jax

        if self.processes > 1 and not self.join:
            from lstm_jax.runs.launcher import launch

            launch(self.processes, words)  # they train; then this process shows and reports
        prepare_jax(self.platform, partial(print, file=sys.stderr), join=self.join)

    def run(self, console: Console) -> None:
        from rich.console import Console

        from lstm_jax.api import run
        from lstm_jax.report.import_ahead import ImportAhead

        names = [name for name in self.logger.split(",") if name]
        try:
            outcome = run(
                self.sharded_study,
                name=self.stem,
                # The first of several processes has printed everything.
                console=Console(quiet=True) if self.processes > 1 and not self.join else console,
                platform=self.platform,
                runs_dir=self.runs_dir,
                checkpoint_every=self.checkpoint_every,
                fallback=self.fallback,
                max_minutes=self.max_minutes,
                tensorboard=self.tensorboard,
                note=self.note,
                index=self.index,
                loggers=[*names, *([ImportAhead()] if self._reports else [])],
            )
        except DivergedError as error:
            self._write_report(error.directory, console)
            raise
        self._write_report(outcome.directory, console)

    @property
    def _reports(self) -> bool:
        return self.report and not self.join and not self.sharded_study.shard

    def _write_report(self, directory: Path, console: Console) -> None:
        """Writes the report of a run, unless it has one. A failure is one line and not an error."""
        from lstm_jax.runs.progress import say
        from lstm_jax.runs.record import is_reported

        if not self._reports or is_reported(directory):
            return
        with exit_on_signal(SAVED, "stopped; the run is saved, the same command writes its report"):
            try:
                with explain_missing_packages():
                    from lstm_jax.report.page import report

                    report(directory, console)
            except Exception as error:
                say(console, f"no report: {one_line(error)}")


@dataclass(frozen=True)
class Plan(OnStudy):
    """Show what would run: members, programs, parameters, memory. Trains nothing."""

    measure: bool = option(
        False, "also run a few steps of every program, without saving them, to estimate the minutes"
    )

    def run(self, console: Console) -> None:
        from lstm_jax.runs.plan import plan

        plan(
            self.stem,
            self.sharded_study,
            console,
            runs_dir=self.runs_dir,
            fallback=self.fallback,
            measure=self.measure,
        )


@dataclass(frozen=True)
class Data(OnStudy):
    """Show what is read of the data: sizes, classes, examples, warnings. Trains nothing."""

    def run(self, console: Console) -> None:
        from lstm_jax.runs.datasets import show_data

        show_data(self.stem, self.sharded_study, console, fallback=self.fallback)


@dataclass(frozen=True)
class Reproduce(OnRun):
    """Train a run again from its record alone and compare, metric by metric and bit by bit."""

    steps: int | None = option(
        None, "only the first steps: a quick check of the metrics", value_type=int, low=1
    )

    def run(self, console: Console) -> None:
        from lstm_jax.runs.reproduce import reproduce

        names = "member", "steps", "trust_code"
        reproduce(self.directory, console, **{name: getattr(self, name) for name in names})


@dataclass(frozen=True)
class Score(OnRun):
    """Score trained members on other conditions or data: score RUN --task.FIELD VALUE ...

    Without --member, all finished members are scored. Each field of the task takes one value or
    several, such as --task.length 8 16 32, and their grid is scored. Another file is split as that
    of training was, and its validation and test are scored; the table shows the test, which is the
    last tenth of a series unless --task.split or --task.test-from says otherwise.
    """

    values: dict[str, tuple[str, ...]] = field(default_factory=dict)  # fields of the task, words

    def check(self) -> None:
        super().check()
        if not self.values:
            raise UserError(
                "score: say what to score on, such as --task.length 8 16 or --task.dataset FILE"
            )

    def run(self, console: Console) -> None:
        from lstm_jax.predict.scores import score

        score(
            *(self.directory, self.values, console),
            member=self.member, other_code=self.other_code, trust_code=self.trust_code,
        )  # fmt: skip


@dataclass(frozen=True)
class Predict(OnRun):
    """Apply a trained model to pictures, sentences or prompts, as its task reads them."""

    inputs: tuple[str, ...] = option(
        (),
        "what the task reads: sentences, prompts, or pictures and folders of them (PNG, JPEG and "
        "others, of any size; a model of mnist or digits reads dark on light or light on dark, any "
        "other reads the picture as it is, scaled); - reads stdin: a text a line, or an array as "
        "numpy.save writes it, uint8 [N, rows, columns] as in the data set",
        positional="*",
    )
    json: bool = option(False, "print one JSON object per line, with all probabilities")
    show_each_time_step: bool = option(
        False, "also show the answer after each time step: row by row, or word by word"
    )
    length: int = option(200, "tokens that a language model writes", low=0, high=10**6)
    temperature: float = option(
        1.0, "sampling temperature of a language model; 0 is greedy", low=0.0, high=100
    )
    seed: int = option(0, "seed of the samples", low=0, high=2**32 - 1)
    beam: int = option(1, "beam size of a decoder; 1 is greedy", low=1, high=1000)
    last: Path | None = option(
        None, "the file whose last rows a forecast continues", value_type=Path
    )

    def check(self) -> None:
        super().check()
        if not self.inputs and self.last is None:
            raise UserError("predict: give at least one input, such as a picture")

    def run(self, console: Console) -> None:
        from lstm_jax.predict.predict import PredictOptions, predict

        options = PredictOptions(**{name: getattr(self, name) for name in PredictOptions._fields})
        predict(
            *(self.directory, options, console),
            member=self.member, other_code=self.other_code, trust_code=self.trust_code,
        )  # fmt: skip


@dataclass(frozen=True)
class Export(OnRun):
    """Write a trained model that stands alone (StableHLO, ONNX, use.py), compared on test data."""

    onnx: bool = option(False, "also write ONNX (needs the extra `onnx`)")
    compare: bool = option(
        True, "compare on the test set; without it on made-up inputs, and no data are needed"
    )

    def run(self, console: Console) -> None:
        from lstm_jax.export.stablehlo import export

        names = "member", "onnx", "compare", "other_code", "trust_code"
        options = {name: getattr(self, name) for name in names}
        export(self.directory, console, **options)


@dataclass(frozen=True)
class Report(OnRun):
    """Write a run as one page: results, curves, mistakes, gates and gradients."""

    def run(self, console: Console) -> None:
        from lstm_jax.report.page import report

        names = "member", "other_code", "trust_code"
        report(self.directory, console, **{name: getattr(self, name) for name in names})


@dataclass(frozen=True)
class Experiments(Command):
    """List the experiments at hand: what each shows, what to expect, how long it takes."""

    def run(self, console: Console) -> None:
        for name, text in experiment_docstrings().items():
            title, *rest = text.split("\n\n")
            console.print(f"{name}: {title}", style="bold", highlight=False, markup=False)
            for paragraph in rest:
                if not paragraph.startswith(" "):  # that is the command, `make` in a checkout
                    console.print(indent(paragraph, "    "), highlight=False, markup=False)
        console.print("\nlstm-jax run NAME trains one; lstm-jax new NAME writes one of your own")


@dataclass(frozen=True)
class New(Command):
    """Write the file of a new experiment to start from. Overwrites nothing."""

    name: str = option("", "the name of the experiment", positional=1)
    data: Path | None = option(
        None,
        "a file or a folder of your own: the experiment reads it, as its content suggests",
        value_type=Path,
    )

    def run(self, console: Console) -> None:
        from lstm_jax.runs.progress import say

        with explain_missing_packages():
            path = write_experiment(self.name, self.data, partial(say, console))
        command = "run" if self.data is None else "data"
        console.print(f"{path} is yours to change; lstm-jax {command} {self.name}", soft_wrap=True)


def _sorts() -> Sequence[str]:
    from lstm_jax.runs.list import SORTS

    return SORTS


@dataclass(frozen=True)
class List(Command):
    """List runs: date, differences from the experiment, members, status, metric, size."""

    name: str | None = option(None, ONLY_NAME, value_type=str, positional="?")
    runs_dir: Path = option(Path("runs"), RUNS_DIR, value_type=Path)
    sort: str = option(
        "started",
        "the order: the latest, the longest training or the largest stands at the end; `metric` "
        "puts runs of one task and data together, the best on validation first",
        choices=_sorts,
    )

    def run(self, console: Console) -> None:
        from lstm_jax.runs.list import list_runs

        list_runs(console, self.runs_dir, self.name, experiment_or_default, self.sort)


@dataclass(frozen=True)
class Compare(Command):
    """Compare runs on one page: fields that differ, metrics, paired differences, cells by task."""

    runs: tuple[str, ...] = option((), RUN, positional="+")
    runs_dir: Path = option(Path("runs"), RUNS_DIR, value_type=Path)
    other_code: bool = option(
        False, "compare members with the same fields although different code trained them"
    )

    def run(self, console: Console) -> None:
        from lstm_jax.runs.directory import find_run

        directories = [find_run(run, self.runs_dir) for run in self.runs]
        from lstm_jax.report.compare import compare  # matplotlib takes a second

        compare(directories, console, self.runs_dir, other_code=self.other_code)


@dataclass(frozen=True)
class Clean(Command):
    """Remove what is no longer needed from run directories. Shows it, and asks first."""

    name: str | None = option(None, ONLY_NAME, value_type=str, positional="?")
    runs_dir: Path = option(Path("runs"), RUNS_DIR, value_type=Path)
    yes: bool = option(False, "do not ask")

    def run(self, console: Console) -> None:
        from lstm_jax.runs.clean import clean

        clean(console, self.runs_dir, self.name, self.yes)


COMMANDS: dict[str, type[Command]] = {
    command.__name__.lower(): command
    for command in (
        *(Run, Plan, Data, Reproduce, Score, Predict, Export, Report),
        *(Experiments, New, List, Compare, Clean),
    )
}
