"""What an experiment is: one frozen value, checked when it is made, written as JSON and read back.

An experiment is a grid of members; a single run is a grid of one. The three axes `hidden_size`,
`learning_rate` and `seed` take one value or several; everything else is shared by all members.
No I/O happens here and nothing heavy is imported, so that a mistake is answered at once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lstm_jax.errors import UserError, closest

AXES = ("hidden_size", "learning_rate", "seed")

# Which members there are; none of it changes a bit of any of them.
SWEEP_ONLY = ("search", "trials", "trials_at_once", "search_seed", "halving")

# Inclusive bounds, by field. A learning rate must lie above zero, so its lower bound is the
# smallest normal float32: anything less would be flushed to zero on the device.
RANGES: dict[str, tuple[float, float]] = {
    "hidden_size": (1, 8192),
    "learning_rate": (2.0**-126, 1e30),
    "seed": (0, 2**32 - 1),
    "forget_bias": (-100.0, 100.0),
    "chrono_steps": (0, 10**6),
    "batch_size": (1, 65_536),
    "chunks": (1, 1024),
    "num_examples": (1, 10**10),
    "warmup_steps": (0, 10**9),
    "clip_norm": (0.0, 1e30),
    "weight_decay": (0.0, 1e3),
    "label_smoothing": (0.0, 0.999),
    "shift": (0, 1024),
    "log_every": (1, 10**6),
    "trials": (0, 100_000),
    "trials_at_once": (1, 10_000),
    "search_seed": (0, 2**32 - 1),
    "halving": (0, 1000),
}
CHOICES: dict[str, tuple[str, ...]] = {
    "backend": ("scan", "cudnn"),
    "kernel_init": ("notebook", "orthogonal"),
    "schedule": ("constant", "cosine"),
    "search": ("grid", "random", "tpe"),
    "reading": ("rows", "columns", "pixels", "permuted"),
}


@dataclass(frozen=True)
class Member:
    """One point of the grid: one hidden size, one learning rate, one seed."""

    hidden_size: int
    learning_rate: float
    seed: int

    def __str__(self) -> str:
        return f"hidden {self.hidden_size}, learning rate {self.learning_rate:g}, seed {self.seed}"


@dataclass(frozen=True)
class Experiment:
    """Everything that decides the numbers of a run. Raises `UserError` when a value is off."""

    dataset: str = "mnist"
    """`mnist`, `digits` (bundled, no network), or any TFDS image-classification set by its name."""

    reading: str = "rows"
    """What a step reads: one of the image's `rows`, `columns` or `pixels` (784 steps for MNIST), or
    its pixels in an order shuffled once for all, `permuted`: the usual tests of a long memory."""

    hidden_size: int | tuple[int, ...] = 128
    """Axis. Units H of the input layer and of the LSTM."""

    learning_rate: float | tuple[float, ...] = 1e-3
    """Axis. Adam's step size."""

    seed: int | tuple[int, ...] = 0
    """Axis. Initial weights and batch order; the same seed gives the same order to every member."""

    forget_bias: float = 1.0
    """Added to the forget gate before its sigmoid."""

    chrono_steps: int = 0
    """Chrono initialisation (Tallec and Ollivier, 2018) for memories of up to so many steps: the
    biases of forget gates start at log U(1, chrono_steps - 1), beside `forget_bias`, those of input
    gates at minus as much. 0: off, all start at zero."""

    batch_size: int = 128
    """Examples a training step."""

    chunks: int = 8
    """Equal parts of a batch whose gradients are added in a fixed order: the bits of a run depend
    on it, and not on how many cores or devices share the parts."""

    num_examples: int = 100_000
    """Budget: training goes on while step * batch_size < num_examples."""

    backend: str = "scan"
    """What runs the recurrence in training: `scan`, this project's own, or NVIDIA's `cudnn` on a
    GPU, best with chunks 1. Scores and diagnostics are always taken with `scan`."""

    kernel_init: str = "notebook"
    """Initial kernels: `notebook` (dense N(0, 1), LSTM Glorot uniform) or `orthogonal` (dense and
    input LeCun normal, recurrent orthogonal for each gate)."""

    schedule: str = "constant"
    """The learning rate over the steps: `constant`, or `cosine` down to zero at the last one."""

    warmup_steps: int = 0
    """Steps over which the learning rate first rises, linearly from zero."""

    clip_norm: float = 0.0
    """Largest global norm of a gradient; a longer one is scaled down to it. 0: never."""

    weight_decay: float = 0.0
    """Decoupled, as in AdamW: times learning rate and parameter, each step."""

    label_smoothing: float = 0.0
    """Share of the training target spread evenly over all classes."""

    shift: int = 0
    """Training images are moved by up to this many pixels in both directions, zeros moving in."""

    log_every: int = 20
    """Steps between two rows of metrics."""

    search: str = "grid"
    """How settings, pairs of a hidden size and a learning rate, are chosen: `grid`, all of them;
    `random`, hidden sizes out of those given, learning rates log-uniform between the two given; or
    `tpe`, out of the same space by Optuna, which learns from the validation accuracies."""

    trials: int = 0
    """Settings that a search chooses; each is trained with every seed."""

    trials_at_once: int = 4
    """Settings that `tpe` chooses at a time, before their accuracies are known."""

    search_seed: int = 0
    """Decides what a search draws."""

    halving: int = 0
    """Successive halving: at fixed rungs only the best 1 / halving of the settings, by mean
    validation accuracy over their seeds, train on. 0: off."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            check = _checked_axis if field.name in AXES else _checked
            object.__setattr__(self, field.name, check(field.name, value, KINDS[field.name]))
        if self.batch_size % self.chunks:
            divisors = [c for c in range(1, self.batch_size + 1) if self.batch_size % c == 0]
            raise UserError(
                f"chunks: {self.chunks} does not divide batch_size {self.batch_size}; "
                f"use one of {', '.join(map(str, divisors))}"
            )
        if self.warmup_steps >= self.num_steps:
            raise UserError(
                f"warmup_steps: {self.warmup_steps} is not below the {self.num_steps} steps that "
                f"num_examples {self.num_examples} allows"
            )
        if 0 < self.chrono_steps < 3:
            raise UserError(f"chrono_steps: {self.chrono_steps} is no span; give 3 or more, or 0")
        if self.shift and self.reading in ("pixels", "permuted"):
            raise UserError(
                f"shift: moves rows or columns, not reading {self.reading}; set it to 0"
            )
        self._check_search()
        self._check_halving()

    def _check_search(self) -> None:
        if self.search == "grid":
            if self.trials:
                raise UserError("trials: a grid has none; use --search random or tpe")
            return
        rates = self.axis("learning_rate")
        if len(rates) != 2 or rates[0] >= rates[1]:
            raise UserError(f"learning_rate: search {self.search} needs two, the lower one first")
        if not self.trials:
            raise UserError(f"trials: search {self.search} needs to know how many settings to try")

    def _check_halving(self) -> None:
        if not self.halving:
            return
        if self.halving == 1 or self.search == "tpe":
            raise UserError("halving: 2 or more, of a grid or of a random search; 0 for none")
        steps = [step for step, _ in self.rungs()]
        if not steps:
            raise UserError(
                f"halving: {self.halving} leaves no rung with {self.num_settings} settings (hidden "
                f"sizes x learning rates); give at least {self.halving} of them, or 0 for none"
            )
        if len({*steps, self.num_steps}) <= len(steps):
            raise UserError(
                f"halving: {len(steps)} rungs do not fit into {self.num_steps} steps; raise "
                "num_examples or halving"
            )

    @property
    def num_steps(self) -> int:
        """Training steps: the smallest count with step * batch_size >= num_examples."""
        return -(-self.num_examples // self.batch_size)

    @property
    def digest(self) -> str:
        """Twelve hex digits that name this experiment's values, whatever file they came from.

        Values at their defaults do not enter, so that a field added later, off by default, leaves
        the digests of older runs as they were. A default must therefore never change.
        """
        given = {
            field.name: value
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) != field.default
        }
        return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:12]

    def differences(self, other: Experiment) -> str:
        """Field by field, `name: own value, not the other's`; empty when they are equal."""
        own, others = dataclasses.asdict(self), dataclasses.asdict(other)
        return "; ".join(f"{k}: {own[k]}, not {others[k]}" for k in own if own[k] != others[k])

    def axis(self, name: str) -> tuple[Any, ...]:
        """The values of one axis, as a tuple also where there is one."""
        value = getattr(self, name)
        return value if isinstance(value, tuple) else (value,)

    @property
    def num_settings(self) -> int:
        """Pairs of a hidden size and a learning rate that are tried."""
        return self.trials or len(self.axis("hidden_size")) * len(self.axis("learning_rate"))

    def rungs(self) -> tuple[tuple[int, int], ...]:
        """Of successive halving: after how many steps how many settings are kept.

        Jamieson and Talwalkar, "Non-stochastic best arm identification" (2016): each rung is
        `halving` times as long as the one before it, the last one that much before the end.
        """
        if self.halving < 2:
            return ()
        count = 0
        while self.halving ** (count + 1) <= self.num_settings:
            count += 1
        powers = [self.halving**n for n in range(1, count + 1)]
        return tuple(
            (-(-self.num_steps // power), -(-self.num_settings // cut))
            for power, cut in zip(reversed(powers), powers, strict=True)
        )

    def members(self) -> tuple[Member, ...]:
        """All points of the grid, the seed running fastest. (What a search draws: `search.py`.)"""
        return tuple(Member(*point) for point in itertools.product(*map(self.axis, AXES)))

    def solo(self, member: Member) -> Experiment:
        """The experiment of this member alone. Its digest is the member's, in any sweep."""
        alone: dict[str, Any] = {
            f.name: f.default for f in dataclasses.fields(self) if f.name in SWEEP_ONLY
        }
        return dataclasses.replace(self, **dataclasses.asdict(member), **alone)

    def to_json(self) -> str:
        """Canonical JSON: keys sorted, floats exact."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, indent=2)

    @staticmethod
    def from_json(text: str) -> Experiment:
        """The experiment that `to_json` wrote. Raises `UserError` on anything else."""
        try:
            return Experiment.from_values(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise UserError(f"experiment: not JSON ({error})") from None

    @staticmethod
    def from_values(values: Any) -> Experiment:
        """The experiment of these values by name. Raises `UserError` on anything else."""
        if not isinstance(values, dict):
            raise UserError(f"experiment: expected a JSON object, got {type(values).__name__}")
        for name in values:
            if name not in KINDS:
                raise UserError(f"experiment: no field {name!r}.{closest(name, KINDS)}")
        return Experiment(**values)


KINDS: dict[str, type] = {
    field.name: kind
    for field in dataclasses.fields(Experiment)
    for kind in (str, int, float)
    if str(field.type).startswith(kind.__name__)
}


def _checked_axis(name: str, value: Any, kind: type) -> Any:
    """One value stays one value, also out of a tuple of one: both are the same experiment."""
    if not isinstance(value, (tuple, list)):
        return _checked(name, value, kind)
    values: Sequence[Any] = tuple(_checked(name, item, kind) for item in value)
    if not values:
        raise UserError(f"{name}: needs at least one value")
    for item in values:
        if values.count(item) > 1:
            raise UserError(f"{name}: {item} is there twice; every member must be different")
    return values[0] if len(values) == 1 else values


def _checked(name: str, value: Any, kind: type) -> Any:
    """The value in its field's type, or one line that says which values are good."""
    if kind is str:
        if not isinstance(value, str) or not value:
            raise UserError(f"{name}: expected a name, got {value!r}")
        if value not in CHOICES.get(name, (value,)):
            raise UserError(f"{name}: {value!r} is not one of {', '.join(CHOICES[name])}")
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UserError(f"{name}: expected a number, got {value!r}")
    if kind is int and value != value // 1:
        raise UserError(f"{name}: expected a whole number, got {value!r}")
    low, high = RANGES[name]
    if not (math.isfinite(value) and low <= value <= high):
        raise UserError(f"{name}: {value} is not between {low:g} and {high:g}")
    return kind(value)
