"""The commands: each a dataclass whose fields are its options, with its own `run`.

What a command needs is imported when it runs, after JAX was told how to start.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lstm_jax.errors import DivergedError, UserError
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
        """Writes the report unless it is later than the record; no failure of it spoils a run."""
        page, record = directory / "report" / "index.html", directory / "record.json"
        if not self.report or (
            page.exists() and page.stat().st_mtime_ns >= record.stat().st_mtime_ns
        ):
            return
        from lstm_jax.report.page import report
        from lstm_jax.runs.screen import say

        try:
            report(directory, console)
        except Exception as error:
            say(console, f"no report: {type(error).__name__}: {error}")


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
    """Ask a trained model: pictures, sentences, beginnings of a text, as its task reads them."""

    inputs: tuple[str, ...] = option(
        (),
        "what the task reads; pictures: PNG, JPEG or others of any size, dark on light or light on "
        "dark, or - for an array as numpy.save writes it on stdin, uint8 [N, rows, columns] as in "
        "the data set",
        positional="*",
    )
    json: bool = option(False, "a JSON object a line, with all probabilities")
    rows: bool = option(False, "show the belief growing row by row, or word by word")
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
        from lstm_jax.use.asked import Asked
        from lstm_jax.use.predict import predict

        asked = Asked(**{name: getattr(self, name) for name in Asked._fields})
        predict(self.run_dir, asked, console, member=self.member)


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
