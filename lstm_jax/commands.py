"""The commands: each a dataclass whose fields are its options, with its own `run`.

What a command needs is imported when it runs, after JAX was told how to start.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lstm_jax.errors import DivergedError, UserError, in_a_line
from lstm_jax.interrupts import SAVED, leaving
from lstm_jax.search import Study

if TYPE_CHECKING:
    from rich.console import Console

PLATFORMS = ("auto", "cpu", "gpu", "tpu")


def option(default: Any, help: str, **metadata: Any) -> Any:
    """Declares an option; `positional`, `choices` and `least` (of a number) go with it."""
    return field(default=default, metadata={"help": help, **metadata})


@dataclass(frozen=True)
class Command:
    """What every command is told."""

    platform: str = option(
        "auto",
        "the kind of device; one that is absent is refused, never silently another",
        choices=PLATFORMS,
    )

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
class OnStudy(Command):
    """What every command on an experiment is told."""

    name: str = option(
        "", "an experiment in experiments/, or a Python file below here", positional=1
    )
    study: Study = field(default_factory=Study)  # the experiment's values with the overrides
    runs_dir: Path = option(Path("runs"), "where run directories lie")
    fallback: bool = option(
        False, "train on the task's built-in data, under its name, when the other is not to be had"
    )

    @property
    def stem(self) -> str:
        """The experiment's name, also of one given by its file."""
        return Path(self.name).stem


@dataclass(frozen=True)
class Run(OnStudy):
    """Train an experiment, resume it, or say that it is finished."""

    segment_steps: int = option(
        100, "steps between two checkpoints; changes no bit of the results", least=1, most=10**6
    )
    report: bool = option(True, "write the report at the end")
    tensorboard: bool = option(False, "write the metrics for TensorBoard as well")
    max_minutes: float | None = option(
        None, "stop, saved, with code 75 after so long; the same command goes on", least=1e-9
    )

    def run(self, console: Console) -> None:
        from lstm_jax.runs.runner import run

        try:
            directory = run(
                self.stem,
                self.study,
                console,
                runs_dir=self.runs_dir,
                segment_steps=self.segment_steps,
                fallback=self.fallback,
                max_minutes=self.max_minutes,
                tensorboard=self.tensorboard,
            )
        except DivergedError as error:
            self._write_report(error.directory, console)
            raise
        self._write_report(directory, console)

    def _write_report(self, directory: Path, console: Console) -> None:
        """Writes the report unless there is one of this record; no failure of it spoils a run."""
        from lstm_jax.runs.record import is_reported
        from lstm_jax.runs.screen import say

        if not self.report or is_reported(directory):
            return
        with leaving(SAVED, "stopped; the run is saved, the same command writes its report"):
            from lstm_jax.report.page import report

            try:
                report(directory, console)
            except Exception as error:
                say(console, f"no report: {in_a_line(error)}")


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
            self.study,
            console,
            runs_dir=self.runs_dir,
            fallback=self.fallback,
            measure=self.measure,
        )


@dataclass(frozen=True)
class OnRun(Command):
    """What every command on a run directory is told."""

    run_dir: Path = option(
        Path(), "a run directory, runs/<experiment>/<digest>, finished or not", positional=1
    )
    member: str | None = option(
        None, "a member's digest or how it begins, instead of the one chosen on validation"
    )

    def check(self) -> None:
        super().check()
        if not self.run_dir.is_dir():
            raise UserError(f"{self.run_dir} is no directory; give runs/<name>/<digest>")


@dataclass(frozen=True)
class Reproduce(OnRun):
    """Train a run again from its record alone and compare, metric by metric and bit by bit."""

    steps: int | None = option(None, "only the first steps: a quick check of the metrics", least=1)

    def run(self, console: Console) -> None:
        from lstm_jax.runs.reproduce import reproduce

        reproduce(self.run_dir, console, member=self.member, steps=self.steps)


@dataclass(frozen=True)
class Predict(OnRun):
    """Say which class a picture shows, with the probabilities."""

    images: tuple[str, ...] = option(
        (),
        "PNG, JPEG or other pictures of any size, dark on light or light on dark; - reads an array "
        "as numpy.save writes it from stdin, uint8 [N, rows, columns] as in the data set",
        positional="*",
    )
    json: bool = option(False, "a JSON object a line, with all probabilities")
    rows: bool = option(False, "show the belief growing row by row")

    def check(self) -> None:
        super().check()
        if not self.images:
            raise UserError("predict: give at least one picture, or - for an array on stdin")

    def run(self, console: Console) -> None:
        from lstm_jax.use.predict import predict

        predict(
            self.run_dir, self.images, console, member=self.member, json=self.json, rows=self.rows
        )


@dataclass(frozen=True)
class Export(OnRun):
    """Write a trained model as StableHLO and ONNX, run back and compared on all test images."""

    onnx: bool = option(False, "also as ONNX (extra `onnx`)")

    def run(self, console: Console) -> None:
        from lstm_jax.use.export import export

        export(self.run_dir, console, member=self.member, onnx=self.onnx)


@dataclass(frozen=True)
class Report(OnRun):
    """Write a run as one page: results, curves, mistakes, gates and gradients."""

    def run(self, console: Console) -> None:
        from lstm_jax.report.page import report

        report(self.run_dir, console, member=self.member)


COMMANDS: dict[str, type[Command]] = {
    command.__name__.lower(): command for command in (Run, Plan, Reproduce, Predict, Export, Report)
}
