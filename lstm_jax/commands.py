"""The commands and their options, as dataclasses that tyro turns into a command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from lstm_jax.config import Experiment


@dataclass(frozen=True)
class Command:
    """What every command is told."""

    name: tyro.conf.Positional[str]
    """An experiment in `experiments/`, or a Python file below the working directory."""

    experiment: tyro.conf.OmitArgPrefixes[Experiment]
    """Overrides of the experiment's values. An axis takes one value or several."""

    platform: Literal["auto", "cpu", "gpu", "tpu"] = "auto"
    """The kind of device. One that is absent is refused, never silently another."""

    runs_dir: Path = Path("runs")
    """Where run directories lie."""

    fallback: Literal["digits"] | None = None
    """The data set to train on, under its own name, when the experiment's is not to be had."""


@dataclass(frozen=True)
class Run(Command):
    """Train an experiment, resume it, or say that it is finished."""

    segment_steps: int = 100
    """Steps between two checkpoints. Changes no bit of the results."""

    report: bool = True
    """Write the report at the end."""

    tensorboard: bool = False
    """Write the metrics for TensorBoard as well (extra `tensorboard`)."""

    max_minutes: float | None = None
    """Stop, saved, with code 75 when training has taken so long; the same command goes on."""


@dataclass(frozen=True)
class Plan(Command):
    """Say what would run: members, programs, parameters, memory. Trains nothing."""

    measure: bool = False
    """Also run a few steps of every program, whose results are thrown away, to tell the minutes."""


@dataclass(frozen=True)
class Reproduce:
    """Train a run again from its record alone and compare, metric by metric and bit by bit."""

    run_dir: tyro.conf.Positional[Path]
    """A run directory, `runs/<experiment>/<digest>`."""

    member: str | None = None
    """Only this member of a sweep: its digest in `record.json`, or how that begins."""

    steps: int | None = None
    """Only the first steps: a quick check of the metrics."""

    platform: Literal["auto", "cpu", "gpu", "tpu"] = "auto"
    """The kind of device. One that is absent is refused, never silently another."""


@dataclass(frozen=True)
class Predict:
    """Say which digit a picture shows, with the probabilities."""

    run_dir: tyro.conf.Positional[Path]
    """A run directory, `runs/<experiment>/<digest>`, finished or not."""

    images: tyro.conf.Positional[tuple[str, ...]]
    """PNG, JPEG or other pictures of any size, dark on light or light on dark; `-` reads an array
    as `numpy.save` writes it from stdin, uint8 [N, rows, columns] as in the data set."""

    member: str | None = None
    """A member's digest or how it begins, instead of the one chosen on validation."""

    json: bool = False
    """A JSON object a line, with all probabilities."""

    rows: bool = False
    """Show the belief growing row by row."""

    platform: Literal["auto", "cpu", "gpu", "tpu"] = "auto"
    """The kind of device. One that is absent is refused, never silently another."""


@dataclass(frozen=True)
class Export:
    """Write a trained model as StableHLO and ONNX, run back and compared on all test images."""

    run_dir: tyro.conf.Positional[Path]
    """A run directory, `runs/<experiment>/<digest>`, finished or not."""

    member: str | None = None
    """A member's digest or how it begins, instead of the one chosen on validation."""

    onnx: bool = False
    """Also as ONNX (extra `onnx`)."""

    platform: Literal["auto", "cpu", "gpu", "tpu"] = "auto"
    """The kind of device. One that is absent is refused, never silently another."""


@dataclass(frozen=True)
class Report:
    """Write a run as one page: results, curves, mistakes, gates and gradients."""

    run_dir: tyro.conf.Positional[Path]
    """A run directory, `runs/<experiment>/<digest>`, finished or not."""

    member: str | None = None
    """A member's digest or how it begins, instead of the one chosen on validation."""

    platform: Literal["auto", "cpu", "gpu", "tpu"] = "auto"
    """The kind of device. One that is absent is refused, never silently another."""


OfExperiment = Run | Plan
OfRun = Reproduce | Predict | Export | Report
COMMANDS: dict[str, type] = {
    "run": Run,
    "plan": Plan,
    "reproduce": Reproduce,
    "predict": Predict,
    "export": Export,
    "report": Report,
}
