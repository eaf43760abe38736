"""The commands: each a dataclass whose fields are its options, with its own `run`.

What a command needs is imported when it runs, after JAX was told how to start.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Any

from lstm_jax.api import MAX_CHECKPOINT_EVERY, UNNAMED
from lstm_jax.config.experiment_files import descriptions, experiment_or_default, write_experiment
from lstm_jax.config.search import Study
from lstm_jax.config.shards import parse_shard
from lstm_jax.errors import DivergedError, UserError, explain_missing_packages, one_line
from lstm_jax.signals import SAVED, exit_on_signal

if TYPE_CHECKING:
    from rich.console import Console

PLATFORMS = ("auto", "cpu", "gpu", "tpu")
RUNS_DIR = "where run directories lie"
RUN = "a run: its directory, NAME (its latest), NAME/begin-of-digest, or latest"


def option(default: Any, help: str, **metadata: Any) -> Any:
    """Declares an option; `positional`, `choices` and `least` (of a number) go with it."""
    return field(default=default, metadata={"help": help, **metadata})


@dataclass(frozen=True)
class Command:
    """What every command can do."""

    def check(self) -> None:
        """Raises UserError for what can be found out before JAX starts."""
        for each in dataclasses.fields(self):
            value, least = getattr(self, each.name), each.metadata.get("least")
            if least is not None and value is not None and not value >= least:
                raise UserError(f"{each.name}: {value} is not at least {least:g}")
            most = each.metadata.get("most")
            if most is not None and value is not None and value > most:
                raise UserError(f"{each.name}: {value} is more than {most:,}")

    def run(self, console: Console) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class OnDevice(Command):
    """What every command that computes is told."""

    platform: str = option(
        "auto",
        "the kind of device; one that is absent is refused, never silently another",
        choices=PLATFORMS,
    )

    def prepare(self, argv: Sequence[str]) -> None:
        """Starts JAX; `argv` is what the command was given."""
        from lstm_jax.runs.devices import prepare_jax  # a tenth of a second

        prepare_jax(self.platform)


@dataclass(frozen=True)
class OnStudy(OnDevice):
    """What every command on an experiment is told."""

    name: str = option(
        "",
        "an experiment by its name (see `lstm-jax experiments`) or by the path of its Python file; "
        "without one, all fields have their defaults",
        positional="?",
    )
    study: Study = field(default_factory=Study)  # the experiment's values with the overrides
    runs_dir: Path = option(Path("runs"), RUNS_DIR)
    fallback: bool = option(
        False, "train on the task's built-in data, under its name, when the other is not to be had"
    )

    shard: str | None = option(
        None,
        "train this part of the members alone, such as 3/16; /16 in a job of an array takes the "
        "index from its variable, and a job of SLURM's both; the run without it puts the parts "
        "together",
    )

    @cached_property
    def own(self) -> Study:
        """The study, or the part of it that is asked for. UserError where there is none such."""
        return dataclasses.replace(self.study, shard=parse_shard(self.shard, os.environ))

    def check(self) -> None:
        super().check()
        self.own  # noqa: B018  found before JAX starts

    @property
    def stem(self) -> str:
        """The experiment's name, also of one given by its file or not at all."""
        return Path(self.name).stem or UNNAMED


@dataclass(frozen=True)
class Run(OnStudy):
    """Train an experiment, resume it, or say that it is finished."""

    checkpoint_every: int = option(
        100,
        "steps between two checkpoints; changes no bit of the results",
        least=1,
        most=MAX_CHECKPOINT_EVERY,
    )
    report: bool = option(True, "write the report at the end")
    tensorboard: bool = option(False, "write the metrics for TensorBoard as well")
    max_minutes: float | None = option(
        None, "stop, saved, with code 75 after so long; the same command goes on", least=1e-9
    )

    processes: int = option(
        1,
        "processes on this machine that are one program: members lie over the devices of all",
        least=1,
        most=1024,
    )
    join: bool = option(
        False,
        "be one of several processes on several machines, that JAX finds by itself on a cluster or "
        "through JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID",
    )

    def prepare(self, argv: Sequence[str]) -> None:
        if self.join:
            from lstm_jax.runs.devices import prepare_jax

            return prepare_jax(self.platform, join=True)
        if self.processes > 1:
            from lstm_jax.runs.launcher import launch

            launch(self.processes, argv)  # which train; this process then shows and reports
        super().prepare(argv)

    def run(self, console: Console) -> None:
        from rich.console import Console

        from lstm_jax.api import run

        try:
            outcome = run(
                self.own,
                name=self.stem,
                # Of several processes the first one has shown all.
                console=Console(quiet=True) if self.processes > 1 and not self.join else console,
                platform=self.platform,
                runs_dir=self.runs_dir,
                checkpoint_every=self.checkpoint_every,
                fallback=self.fallback,
                max_minutes=self.max_minutes,
                tensorboard=self.tensorboard,
            )
        except DivergedError as error:
            self._write_report(error.directory, console)
            raise
        self._write_report(outcome.directory, console)

    def _write_report(self, directory: Path, console: Console) -> None:
        """Writes the report unless there is one of this record; no failure of it spoils a run."""
        from lstm_jax.runs.progress import say
        from lstm_jax.runs.record import is_reported

        if not self.report or self.join or self.own.shard or is_reported(directory):
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
    """Say what would run: members, programs, parameters, memory. Trains nothing."""

    measure: bool = option(
        False, "also run a few steps of every program, thrown away, to tell the minutes"
    )

    def run(self, console: Console) -> None:
        from lstm_jax.runs.plan import plan

        plan(
            self.stem,
            self.own,
            console,
            runs_dir=self.runs_dir,
            fallback=self.fallback,
            measure=self.measure,
        )


@dataclass(frozen=True)
class OnRun(OnDevice):
    """What every command on a run directory is told."""

    run_dir: str = option("", RUN, positional=1)
    runs_dir: Path = option(Path("runs"), RUNS_DIR)
    member: str | None = option(
        None, "a member's digest or how it begins, instead of the one chosen on validation"
    )

    @cached_property
    def directory(self) -> Path:
        """The run directory. UserError where there is none."""
        from lstm_jax.runs.directory import find_run  # a hundredth of a second or two

        return find_run(self.run_dir, self.runs_dir)

    def check(self) -> None:
        super().check()
        self.directory  # noqa: B018  found before JAX starts


@dataclass(frozen=True)
class Reproduce(OnRun):
    """Train a run again from its record alone and compare, metric by metric and bit by bit."""

    steps: int | None = option(None, "only the first steps: a quick check of the metrics", least=1)

    def run(self, console: Console) -> None:
        from lstm_jax.runs.reproduce import reproduce

        reproduce(self.directory, console, member=self.member, steps=self.steps)


@dataclass(frozen=True)
class Predict(OnRun):
    """Ask a trained model: pictures, sentences, beginnings of a text, as its task reads them."""

    inputs: tuple[str, ...] = option(
        (),
        "what the task reads; pictures, or folders of them: PNG, JPEG or others of any size, dark "
        "on light or light on dark, or - for an array as numpy.save writes it on stdin, uint8 "
        "[N, rows, columns] as in the data set",
        positional="*",
    )
    json: bool = option(False, "a JSON object a line, with all probabilities")
    by_time_step: bool = option(
        False, "also show the answer after each time step: row by row, or word by word"
    )
    length: int = option(200, "symbols that a model of language writes", least=0, most=10**6)
    temperature: float = option(1.0, "of what it draws; 0: the most probable", least=0.0, most=100)
    seed: int = option(0, "of what it draws", least=0, most=2**32 - 1)
    beam: int = option(1, "sentences that a decoder keeps at a time", least=1, most=1000)
    last: Path | None = option(None, "a forecast goes on from the last rows of this file")

    def check(self) -> None:
        super().check()
        if not self.inputs and self.last is None:
            raise UserError("predict: give at least one input, such as a picture")

    def run(self, console: Console) -> None:
        from lstm_jax.predict.predict import PredictOptions, predict

        options = PredictOptions(**{name: getattr(self, name) for name in PredictOptions._fields})
        predict(self.directory, options, console, member=self.member)


@dataclass(frozen=True)
class Export(OnRun):
    """Write a trained model as StableHLO and ONNX, run back and compared on its test set."""

    onnx: bool = option(False, "also as ONNX (extra `onnx`)")

    def run(self, console: Console) -> None:
        from lstm_jax.export.stablehlo import export

        export(self.directory, console, member=self.member, onnx=self.onnx)


@dataclass(frozen=True)
class Report(OnRun):
    """Write a run as one page: results, curves, mistakes, gates and gradients."""

    def run(self, console: Console) -> None:
        from lstm_jax.report.page import report

        report(self.directory, console, member=self.member)


@dataclass(frozen=True)
class Experiments(Command):
    """List the experiments at hand: what each shows, what to expect, how long it takes."""

    def run(self, console: Console) -> None:
        for name, text in descriptions().items():
            title, *rest = text.split("\n\n")
            console.print(f"{name}: {title}", style="bold", highlight=False, markup=False)
            for paragraph in rest:
                if not paragraph.startswith(
                    " "
                ):  # the command, which in a checkout is one of `make`
                    console.print(indent(paragraph, "    "), highlight=False, markup=False)
        console.print("\nlstm-jax run NAME trains one; lstm-jax new NAME writes one of your own")


@dataclass(frozen=True)
class New(Command):
    """Write the file of an experiment to start from; never over another."""

    name: str = option("", "the experiment's name", positional=1)

    def run(self, console: Console) -> None:
        path = write_experiment(self.name)
        console.print(f"{path} is yours to change; lstm-jax run {self.name}", soft_wrap=True)


@dataclass(frozen=True)
class List(Command):
    """List runs: when, in what each differs from its experiment, members, status, metric, size."""

    name: str | None = option(None, "only the runs of this experiment", positional="?")
    runs_dir: Path = option(Path("runs"), RUNS_DIR)

    def run(self, console: Console) -> None:
        from lstm_jax.runs.list import list_runs

        list_runs(console, self.runs_dir, self.name, experiment_or_default)


@dataclass(frozen=True)
class Compare(Command):
    """Lay runs over each other: fields that differ, metrics, paired leads, curves on one page."""

    runs: tuple[str, ...] = option((), RUN, positional="+")
    runs_dir: Path = option(Path("runs"), RUNS_DIR)

    def run(self, console: Console) -> None:
        from lstm_jax.runs.directory import find_run

        found = [find_run(run, self.runs_dir) for run in self.runs]
        from lstm_jax.report.compare import compare  # matplotlib takes a second

        compare(found, console, self.runs_dir)


@dataclass(frozen=True)
class Clean(Command):
    """Remove what no one needs from run directories; says what, and asks first."""

    name: str | None = option(None, "only the runs of this experiment", positional="?")
    runs_dir: Path = option(Path("runs"), RUNS_DIR)
    yes: bool = option(False, "do not ask")

    def run(self, console: Console) -> None:
        from lstm_jax.runs.clean import clean

        clean(console, self.runs_dir, self.name, self.yes)


COMMANDS: dict[str, type[Command]] = {
    command.__name__.lower(): command
    for command in (
        *(Run, Plan, Reproduce, Predict, Export, Report),
        *(Experiments, New, List, Compare, Clean),
    )
}
