"""The commands and their options, as dataclasses that tyro turns into a command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from lstm_jax.experiment import Experiment


@dataclass(frozen=True)
class OnExperiment:
    """What every command on an experiment is told."""

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
class Run(OnExperiment):
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
class Plan(OnExperiment):
    """Say what would run: members, programs, parameters, memory. Trains nothing."""

    measure: bool = False
    """Also run a few steps of every program, whose results are thrown away, to tell the minutes."""


@dataclass(frozen=True, kw_only=True)
class OnRun:
    """What every command on a run directory is told."""

    run_dir: tyro.conf.Positional[Path]
    """A run directory, `runs/<experiment>/<digest>`, finished or not."""

    platform: Literal["auto", "cpu", "gpu", "tpu"] = "auto"
    """The kind of device. One that is absent is refused, never silently another."""


@dataclass(frozen=True, kw_only=True)
class OnModel(OnRun):
    """And every command on one trained member of it."""

    member: str | None = None
    """A member's digest or how it begins, instead of the one chosen on validation."""


@dataclass(frozen=True, kw_only=True)
class Reproduce(OnRun):
    """Train a run again from its record alone and compare, metric by metric and bit by bit."""

    member: str | None = None
    """Only this member of a sweep: its digest in `record.json`, or how that begins."""

    steps: int | None = None
    """Only the first steps: a quick check of the metrics."""


@dataclass(frozen=True, kw_only=True)
class Predict(OnModel):
    """Say which digit a picture shows, with the probabilities."""

    images: tyro.conf.Positional[tuple[str, ...]]
    """PNG, JPEG or other pictures of any size, dark on light or light on dark; `-` reads an array
    as `numpy.save` writes it from stdin, uint8 [N, rows, columns] as in the data set."""

    json: bool = False
    """A JSON object a line, with all probabilities."""

    rows: bool = False
    """Show the belief growing row by row."""


@dataclass(frozen=True, kw_only=True)
class Export(OnModel):
    """Write a trained model as StableHLO and ONNX, run back and compared on all test images."""

    onnx: bool = False
    """Also as ONNX (extra `onnx`)."""


@dataclass(frozen=True, kw_only=True)
class Report(OnModel):
    """Write a run as one page: results, curves, mistakes, gates and gradients."""


COMMANDS: dict[str, type] = {
    "run": Run,
    "plan": Plan,
    "reproduce": Reproduce,
    "predict": Predict,
    "export": Export,
    "report": Report,
}
