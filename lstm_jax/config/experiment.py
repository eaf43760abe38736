"""What an experiment is: one frozen value, checked when it is made, written as JSON and read back.

Every field, the task's too, takes one value or several: an experiment is the grid of its *members*,
the experiments in which each field has one value, and a single run is a grid of one. No I/O happens
here and nothing heavy is imported, so that a mistake is answered at once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lstm_jax.cells import CELLS, check_cell
from lstm_jax.errors import UserError, did_you_mean
from lstm_jax.fields import Axis, FieldSpec, axis, check_value, field_specs
from lstm_jax.tasks import get_task
from lstm_jax.tasks.images import Images
from lstm_jax.tasks.task import Task

MAX_MEMBERS = 1_000_000
TRACED = "traced"  # stands in a group for a value that enters its program as an array

# Above zero: anything less than the smallest normal float32 is flushed to zero on the device.
SMALLEST = 2.0**-126
Values = Mapping[str, Any]  # by path: `seed`, `task.dataset`


@dataclass(frozen=True, repr=False)
class Experiment:
    """Everything that decides the numbers of a run. Raises `UserError` when a value is off.

    A field is documented where it is declared and by `lstm-jax run --help`.
    """

    task: Task = dataclasses.field(default_factory=Images)
    cell: Axis[str] = axis(
        "lstm", f"the recurrent cell: {', '.join(CELLS)}, or FILE.py:NAME", check=check_cell
    )
    layers: Axis[int] = axis(1, "recurrent layers, each reading the one below", low=1, high=64)
    hidden_size: Axis[int] = axis(128, "units H of each layer", low=1, high=8192)
    bidirectional: Axis[bool] = axis(
        False, "each layer also reads from the last row to the first, with weights of its own"
    )
    residual: Axis[bool] = axis(
        False, "what a layer reads is added to what it hands on, from the second layer on"
    )
    dropout: Axis[float | None] = axis(
        None,
        "probability of dropping an output, between layers and before the head, in training; "
        "none: off",
        value_type=float,
        low=0.0,
        high=0.999,
        traced=True,
        optional=True,
    )
    learning_rate: Axis[float] = axis(
        1e-3, "the optimiser's step size", low=SMALLEST, high=1e30, traced=True, log=True
    )
    seed: Axis[int] = axis(
        0,
        "initial weights and order of examples; the same seed gives the same order to every member",
        low=0,
        high=2**32 - 1,
        traced=True,
    )
    forget_bias: Axis[float] = axis(
        1.0,
        "added to the forget gate before its sigmoid, in cells that have one",
        low=-100.0,
        high=100.0,
        traced=True,
    )
    chrono_steps: Axis[int] = axis(
        0,
        "chrono initialisation (Tallec and Ollivier, 2018) for memories of up to so many steps: "
        "the biases of forget gates, and of a GRU's update gates, start at "
        "log U(1, chrono_steps - 1), those of input gates at minus as much; 0: off",
        low=0,
        high=10**6,
    )
    kernel_init: Axis[str] = axis(
        "notebook",
        "initial kernels: `notebook` (dense and tables of symbols N(0, 1), recurrent Glorot "
        "uniform) or `orthogonal` (dense and input LeCun normal, recurrent orthogonal for each "
        "gate, tables N(0, 0.1^2))",
        choices=lambda: ("notebook", "orthogonal"),
    )
    optimizer: Axis[str] = axis(
        "adam",
        "`adam`, `adamw`, `sgd` (with momentum) or `rmsprop`, as optax has them",
        choices=lambda: ("adam", "adamw", "sgd", "rmsprop"),
    )
    momentum: Axis[float] = axis(0.9, "of `sgd`", low=0.0, high=1.0, traced=True)
    weight_decay: Axis[float] = axis(
        0.0,
        "decoupled: times learning rate and parameter, each step; `adam` has none, use `adamw`",
        low=0.0,
        high=1e3,
        traced=True,
        log=True,
    )
    schedule: Axis[str] = axis(
        "constant",
        "the learning rate over the steps: `constant`, or `cosine` down to zero at the last one",
        choices=lambda: ("constant", "cosine"),
    )
    warmup_steps: Axis[int] = axis(
        0,
        "steps over which the learning rate first rises, linearly from zero",
        low=0,
        high=10**9,
    )
    clip_norm: Axis[float | None] = axis(
        None,
        "largest global norm of a gradient; a longer one is scaled down to it; none: never",
        value_type=float,
        low=SMALLEST,
        high=1e30,
        traced=True,
        log=True,
        optional=True,
    )
    batch_size: Axis[int] = axis(128, "examples a training step", low=1, high=65_536)
    microbatches: Axis[int] = axis(
        8,
        "equal parts of a batch whose gradients are added in a fixed order: the bits of a run "
        "depend on it, and not on how many cores or devices share the parts",
        low=1,
        high=1024,
    )
    total_examples: Axis[int] = axis(
        100_000,
        "budget: training goes on while step * batch_size < total_examples",
        low=1,
        high=10**10,
    )
    backend: Axis[str] = axis(
        "scan",
        "what runs the recurrence in training: `scan`, this project's own, or NVIDIA's `cudnn` on "
        "a GPU (LSTM only), best with microbatches 1; scores are always taken with `scan`",
        choices=lambda: ("scan", "cudnn"),
    )
    log_every: Axis[int] = axis(20, "steps between two rows of metrics", low=1, high=10**6)
    num_evals: Axis[int] = axis(
        4,
        "evaluations on validation during training, on its first 2,000 examples, evenly spaced; "
        "1: at the end alone. They do not change the parameters",
        low=1,
        high=10_000,
    )
    restore_best: Axis[bool] = axis(
        False,
        "take as the result the parameters of the evaluation that was best on validation, instead "
        "of those after the last step",
    )

    def __post_init__(self) -> None:
        if not isinstance(self.task, Task):
            raise UserError(f"task: expected a task such as Images(), got {self.task!r}")
        for name, spec in field_specs(self).items():
            object.__setattr__(self, name, check_value(name, getattr(self, name), spec))
        if self.num_members > MAX_MEMBERS:
            raise UserError(
                f"{self.num_members:,} members are more than {MAX_MEMBERS:,}; give fewer values"
            )
        if "adam" in self.values_of("optimizer") and any(self.values_of("weight_decay")):
            raise UserError("weight_decay: adam has none; use --optimizer adamw, or 0")
        # What is traced is a number like any other: no rule ties it to other fields.
        static = {p: v for p, v in self.axes.items() if not all_field_specs(self)[p].traced}
        for values in _points(static):
            self.replace_unchecked(values).check()

    def check(self) -> None:
        """Raises UserError where a member's values do not fit together."""
        self.task.check()
        if self.batch_size % self.microbatches:
            divisors = [c for c in range(1, self.batch_size + 1) if self.batch_size % c == 0]
            raise UserError(
                f"microbatches: {self.microbatches} does not divide batch_size {self.batch_size}; "
                f"use one of {', '.join(map(str, divisors))}"
            )
        if self.warmup_steps >= self.num_steps:
            raise UserError(
                f"warmup_steps: {self.warmup_steps} is not below the {self.num_steps} steps that "
                f"total_examples {self.total_examples} allows"
            )
        if 0 < self.chrono_steps < 3:
            raise UserError(f"chrono_steps: {self.chrono_steps} is no span; give 3 or more, or 0")
        if self.backend == "cudnn" and (
            (self.cell, self.layers) != ("lstm", 1) or self.bidirectional
        ):
            raise UserError(
                f"backend: cudnn runs one layer of the cell lstm in one direction, not "
                f"{self.layers} of {self.cell}{' in both' if self.bidirectional else ''}; use scan"
            )
        if self.bidirectional and self.task.causal:
            raise UserError(
                f"bidirectional: the task {self.task.name} must not see the rows that come after; "
                "use false"
            )

    def __repr__(self) -> str:
        return f"Experiment({', '.join(f'{k}={v!r}' for k, v in self.overrides.items())})"

    @property
    def num_steps(self) -> int:
        """Training steps of a member: the smallest count with step * batch_size >= budget."""
        return -(-self.total_examples // self.batch_size)

    @cached_property
    def axes(self) -> dict[str, tuple[Any, ...]]:
        """The fields that have several values, by path, in the order of the grid: the seed last."""
        several = {path: value for path, value in self.values.items() if isinstance(value, tuple)}
        return dict(sorted(several.items(), key=lambda item: item[0] == "seed"))

    def values_of(self, path: str) -> tuple[Any, ...]:
        """Returns the values of a field, as a tuple also where there is one."""
        value = self.values[path]
        return value if isinstance(value, tuple) else (value,)

    @cached_property
    def values(self) -> dict[str, Any]:
        """All fields by path, those of the task as `task.<name>`."""
        own = {name: getattr(self, name) for name in field_specs(self)}
        return own | {f"task.{name}": getattr(self.task, name) for name in field_specs(self.task)}

    @cached_property
    def overrides(self) -> dict[str, Any]:
        """The values that are not the default, by path; `task` is the task's name."""
        defaults = {f.name: f.default for f in dataclasses.fields(self)}
        defaults |= {f"task.{f.name}": f.default for f in dataclasses.fields(self.task)}
        other_task = {} if self.task.name == Images.name else {"task": self.task.name}
        return other_task | {k: v for k, v in self.values.items() if v != defaults[k]}

    @cached_property
    def digest(self) -> str:
        """Twelve hex digits that name this experiment's values, whatever file they came from.

        Values at their defaults do not enter, so that a field added later, off by default, leaves
        the digests of older runs as they were. A default must therefore never change.
        """
        text = json.dumps(self.overrides, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def num_members(self) -> int:
        """The number of points of the grid."""
        return math.prod(len(values) for values in self.axes.values())

    def members(self) -> Iterator[Experiment]:
        """Yields all points of the grid, the seed running fastest."""
        return map(self.replace_unchecked, _points(self.axes))

    def data_tasks(self) -> dict[str, Task]:
        """Returns a task for each set of data that members read, by its key."""
        known = all_field_specs(self)
        axes = {path: values for path, values in self.axes.items() if known[path].data}
        tasks = [self.replace_unchecked(values).task for values in _points(axes)]
        return {task.data_key: task for task in tasks}

    @cached_property
    def setting(self) -> Experiment:
        """This member with the first of all seeds: members of one setting differ in theirs."""
        return self.replace_unchecked({"seed": 0})

    @cached_property
    def static_key(self) -> Experiment:
        """What decides the compiled program: traced values are replaced by a mark."""
        return self.replace_unchecked(
            {
                path: TRACED
                for path, spec in all_field_specs(self).items()
                if spec.traced and self.values[path] is not None
            }
        )

    def replace_unchecked(self, values: Values) -> Experiment:
        """Returns this experiment with other values, by path, that were checked before."""
        own, of_task = _apart(values)
        if of_task:
            own["task"] = _replaced(self.task, of_task)
        return _replaced(self, own)

    def replace(self, values: Values) -> Experiment:
        """Returns this experiment with other values, by path. Raises UserError when one is off."""
        own, of_task = _apart(values)
        return dataclasses.replace(self, task=dataclasses.replace(self.task, **of_task), **own)

    def differences(self, other: Experiment) -> str:
        """Returns, field by field, `path: own value, not the other's`; empty when all are equal."""
        # Wherever a task's file lies, it is known by its name.
        own, others = (each.to_values() | {"task": each.task.name} for each in (self, other))
        paths = dict.fromkeys([*own, *others])
        return "; ".join(
            f"{path}: {own.get(path)}, not {others.get(path)}"
            for path in paths
            if own.get(path) != others.get(path)
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # A task of a user's file is of no module that another process could import.
        return Experiment.from_values, (self.to_values(),)

    def label(self, member: Experiment) -> str:
        """Returns the values in which a member of this experiment differs from its fellows."""
        paths = self.axes or ("hidden_size", "learning_rate", "seed")
        return ", ".join(
            f"{field_label(path)} {format_value(member.values[path])}" for path in paths
        )

    def to_values(self) -> dict[str, Any]:
        """Returns all values by path, as JSON has them; `task` is what the task is known as."""
        listed = {k: list(v) if isinstance(v, tuple) else v for k, v in self.values.items()}
        return {"task": self.task.spec_string(), **listed}

    @staticmethod
    def from_values(values: Any) -> Experiment:
        """Returns the experiment of what `to_values` gave. Raises UserError on anything else."""
        if not isinstance(values, dict):
            raise UserError(f"experiment: expected a JSON object, got {type(values).__name__}")
        bare = Experiment(task=get_task(values.get("task", Images.name))())
        for path in values:
            if path != "task" and path not in bare.values:
                raise UserError(f"experiment: no field {path!r}.{did_you_mean(path, bare.values)}")
        return bare.replace({path: value for path, value in values.items() if path != "task"})


def all_field_specs(experiment: Experiment) -> dict[str, FieldSpec]:
    """Returns the declarations of an experiment's fields and its task's, by path."""
    of_task = {f"task.{name}": spec for name, spec in field_specs(experiment.task).items()}
    return field_specs(experiment) | of_task


def field_label(path: str) -> str:
    """Returns a path as one reads it: `learning rate`."""
    return path.removeprefix("task.").replace("_", " ")


def format_value(value: Any) -> str:
    """Returns a value as one reads it."""
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def _apart(values: Values) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values of an experiment's own fields, and of its task's, by name."""
    own = {path: value for path, value in values.items() if not path.startswith("task.")}
    of_task = {p.removeprefix("task."): v for p, v in values.items() if p.startswith("task.")}
    return own, of_task


def _points(axes: Mapping[str, tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    for point in itertools.product(*axes.values()):
        yield dict(zip(axes, point, strict=True))


def _replaced(instance: Any, values: dict[str, Any]) -> Any:
    """A copy of a frozen dataclass with other values, unchecked: millions are made of them."""
    copy = object.__new__(type(instance))
    fields = {f.name: getattr(instance, f.name) for f in dataclasses.fields(instance)}
    copy.__dict__.update(fields | values)
    return copy
