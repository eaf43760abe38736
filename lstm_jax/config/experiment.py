"""The experiment: one frozen value, checked when it is made, written as JSON and read back.

Every field, including those of the task, takes one value or several. An experiment is the grid of
its *members*, the experiments in which each field has one value; a single run is a grid of one.
This module does no I/O and imports nothing heavy, so that a mistake is answered at once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lstm_jax.cells import CELLS, check_cell
from lstm_jax.components import (
    Component,
    ComponentAxis,
    Table,
    component_axis,
    copy_with,
    grid_points,
    tables,
)
from lstm_jax.config.blocks import BLOCKS, Block, Plain
from lstm_jax.errors import UserError, did_you_mean
from lstm_jax.fields import Axis, FieldSpec, axis, check_value, field_specs
from lstm_jax.optim import OPTIMIZERS, SCHEDULES
from lstm_jax.optim.optimizer import Adam, Optimizer
from lstm_jax.optim.schedule import Constant, Schedule
from lstm_jax.stand_ins import StandIn, reading_record
from lstm_jax.tasks import TASKS, get_task
from lstm_jax.tasks.images import Images
from lstm_jax.tasks.task import Task

MAX_MEMBERS = 1_000_000
MAX_HIDDEN_SIZE = 8192
SIZES = ("data_sizes", "widths")  # what is known of an experiment after its data are loaded
TRACED = "traced"  # stands in a static key for a value that enters the program as an array
BUDGETS = ("total_examples", "total_steps", "total_epochs")  # an experiment has one of them

# Above zero: the device flushes anything below the smallest normal float32 to zero.
SMALLEST = 2.0**-126
Values = Mapping[str, Any]  # by path: `seed`, `task.dataset`


def check_run_name(name: str) -> str:
    """Returns the name of a run with its digest, or the beginning of it. Raises UserError."""
    if not re.fullmatch(r"(.*/)?[A-Za-z0-9_-]{1,100}/[0-9a-f]{1,12}(-\S+)?/?", name):
        raise UserError(
            f"begin_with: {name!r} names no run with its digest; give NAME/DIGEST, or its "
            "beginning: the latest run of a name is another one later"
        )
    return name


@dataclass(frozen=True, repr=False)
class Experiment:
    """All values that decide the numbers of a run. Raises `UserError` when a value is invalid.

    `lstm-jax run --help` prints the help of each field.
    """

    task: Task = dataclasses.field(default_factory=Images)
    cell: Axis[str] = axis(
        "lstm", f"recurrent cell: {', '.join(CELLS)}, or FILE.py:NAME", check=check_cell
    )
    layers: Axis[int] = axis(1, "number of recurrent layers", low=1, high=64)
    hidden_size: Axis[int] = axis(128, "units H of each layer", low=1, high=MAX_HIDDEN_SIZE)
    parameters: Axis[int | None] = axis(
        None,
        "number of parameters, instead of hidden_size: each model gets the hidden_size that comes "
        "closest, within 2 %; none: hidden_size decides",
        low=1, high=10**10,
    )  # fmt: skip
    bidirectional: Axis[bool] = axis(
        False, "read the sequence in both directions, each with its own weights"
    )
    block: ComponentAxis[Block] = component_axis(
        Plain(), BLOCKS, "what stands around each recurrent layer"
    )
    read_out: Axis[str] = axis(
        "last",
        "what the head reads of each sequence: the outputs at the last time step, or their mean; "
        "a task may take the mean by itself",
        choices=lambda: ("last", "mean"),
    )
    dropout: Axis[float | None] = axis(
        None,
        "dropout probability of outputs between layers (of what a residual block adds) and before "
        "the head; none: no dropout",
        low=0.0, high=0.999, traced=True,
    )  # fmt: skip
    variational_dropout: Axis[bool] = axis(
        False, "one dropout mask for all time steps of a sequence (Gal and Ghahramani, 2016)"
    )
    learning_rate: Axis[float] = axis(
        1e-3, "learning rate of the optimizer", low=SMALLEST, high=1e30, traced=True, log=True
    )
    seed: Axis[int] = axis(
        0,
        "random seed of the initial weights and of the order of examples; members with the same "
        "seed see the same order",
        low=0, high=2**32 - 1, traced=True,
    )  # fmt: skip
    forget_bias: Axis[float] = axis(
        1.0, "added to the forget gate before its sigmoid, in cells that have one",
        low=-100.0, high=100.0, traced=True,
    )  # fmt: skip
    chrono_steps: Axis[int] = axis(
        0,
        "longest dependency in time steps for chrono initialisation (Tallec and Ollivier, 2018): "
        "biases of forget gates, and of the update gate of a GRU, start at "
        "log U(1, chrono_steps - 1), and those of input gates at its negative; 0: off",
        low=0, high=10**6,
    )  # fmt: skip
    kernel_init: Axis[str] = axis(
        "notebook",
        "initialisation of kernels: `notebook` (dense and embeddings N(0, 1), recurrent Glorot "
        "uniform) or `orthogonal` (dense and input LeCun normal, recurrent orthogonal for each "
        "gate, embeddings N(0, 0.1^2))",
        choices=lambda: ("notebook", "orthogonal"),
    )
    optimizer: ComponentAxis[Optimizer] = component_axis(
        Adam(), OPTIMIZERS, "optimizer of the parameters, or FILE.py:NAME"
    )
    schedule: ComponentAxis[Schedule] = component_axis(
        Constant(), SCHEDULES, "learning rate schedule, with a warm-up before it, or FILE.py:NAME"
    )
    clip_norm: Axis[float | None] = axis(
        None,
        "maximum global norm of a gradient; a longer gradient is scaled down; none: no clipping",
        low=SMALLEST, high=1e30, traced=True, log=True,
    )  # fmt: skip
    batch_size: Axis[int] = axis(128, "examples per training step", low=1, high=65_536)
    microbatches: Axis[int] = axis(
        8, "number of equal parts of a batch whose gradients are summed in a fixed order; another "
        "number gives other bits, another number of cores or devices does not",
        low=1, high=1024,
    )  # fmt: skip
    total_examples: Axis[int] = axis(
        100_000,
        "training budget in examples: training goes on while step * batch_size < total_examples",
        low=1, high=10**10,
    )  # fmt: skip
    total_steps: Axis[int | None] = axis(
        None, "training budget in steps, instead of total_examples", low=1, high=10**9
    )
    total_epochs: Axis[float | None] = axis(
        None, "training budget in passes over the training data, instead of total_examples",
        low=1e-6, high=1e6,
    )  # fmt: skip
    backend: Axis[str] = axis(
        "scan",
        "implementation of the recurrence in training: `scan`; `associative`, all time steps "
        "together, of linear cells, for a GPU or TPU; or NVIDIA's `cudnn` on a GPU (LSTM only, "
        "best with microbatches 1); evaluation always uses `scan`",
        choices=lambda: ("scan", "associative", "cudnn"),
    )
    log_every: Axis[int] = axis(
        20, "number of steps between two rows of metrics", low=1, high=10**6
    )
    num_evals: Axis[int] = axis(
        4,
        "number of evaluations on validation, evenly spaced; the last one is at the end, on all "
        "examples, and those before it, during training, are on the first 2,000; training itself "
        "does not depend on them",
        low=1, high=10_000,
    )  # fmt: skip
    restore_best: Axis[bool] = axis(
        False, "return the parameters of the best evaluation on validation instead of the last ones"
    )
    patience: Axis[int | None] = axis(
        None,
        "stop a member at the evaluation that is the last of so many, one after the other, without "
        "a better metric on validation; none: train to the end of the budget",
        low=1, high=10_000,
    )  # fmt: skip
    begin_with: Axis[str | None] = axis(
        None,
        "a finished run, NAME/DIGEST, with the same model: its members' parameters start those of "
        "this run, seed by seed, with a fresh optimizer and from step 0; none: new parameters",
        check=check_run_name,
    )
    # Training examples of each data set, by the data key of its task. It is known after the data
    # are loaded and is needed only for a budget in epochs, so it is no part of the digest.
    data_sizes: tuple[tuple[str, int], ...] = ()
    # The hidden_size of each model whose number of `parameters` is given, by `model_key`. It is
    # known after the data are loaded, so it is no part of the digest either. A member has its own,
    # with an empty key.
    widths: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.task, Task):
            raise UserError(f"task: expected a task such as Images(), got {self.task!r}")
        for name, spec in field_specs(self).items():
            object.__setattr__(self, name, check_value(name, getattr(self, name), spec))
        for name in SIZES:
            object.__setattr__(self, name, _check_sizes(name, getattr(self, name)))
        self._set_width()
        for path, values in self.grid.items():
            if len(set(values)) < len(values):  # of two components, whose grids overlap
                raise UserError(
                    f"{path}: {format_value(Counter(values).most_common(1)[0][0])} is there twice; "
                    "every member must be different"
                )
        if self.num_members > MAX_MEMBERS:
            raise UserError(
                f"{self.num_members:,} members are more than {MAX_MEMBERS:,}; give fewer values"
            )
        default = {field.name: field.default for field in dataclasses.fields(self)}
        budgets = [name for name in BUDGETS if self.values_of(name) != (default[name],)]
        if len(budgets) > 1:
            raise UserError(f"{' and '.join(budgets)}: give one of {', '.join(BUDGETS)}")
        # `check` looks at static fields alone: one member for each combination of them is enough.
        for member in self.static_members():
            member.check()

    def check(self) -> None:
        """Raises UserError where a member's values do not fit together."""
        for (component,) in self.components.values():
            component.check()
        if self.batch_size % self.microbatches:
            divisors = [c for c in range(1, self.batch_size + 1) if self.batch_size % c == 0]
            raise UserError(
                f"microbatches: {self.microbatches} does not divide batch_size {self.batch_size}; "
                f"use one of {', '.join(map(str, divisors))}"
            )
        if self.total_epochs is not None and self.task.online:
            raise UserError(
                f"total_epochs: the task {self.task.name} makes new examples for each step, so it "
                "has no epochs; give total_steps or total_examples"
            )
        if not self.needs_data_sizes:
            budget = next((n for n in BUDGETS[1:] if self.values[n] is not None), BUDGETS[0])
            words = f"{budget} {format_value(self.values[budget])}"
            self.schedule.check_steps(self.num_steps, words)
        if 0 < self.chrono_steps < 3:
            raise UserError(f"chrono_steps: {self.chrono_steps} is too few; give 3 or more, or 0")
        if self.backend == "cudnn" and (
            (self.cell, self.layers, self.block) != ("lstm", 1, Plain()) or self.bidirectional
        ):
            raise UserError(
                f"backend: cudnn runs one layer of the cell lstm in one direction, in a plain "
                f"block, not {self.layers} of {self.cell}{' in both' * self.bidirectional} in a "
                f"{self.block.name} block; use scan"
            )
        if self.patience is not None and self.patience > self.num_evals - 2:
            raise UserError(
                f"patience: {self.patience} evaluations after the first one never come with "
                f"num_evals {self.num_evals}, the last of which is at the end; give num_evals "
                f"{self.patience + 2} or more"
            )
        if self.bidirectional and self.task.causal:
            raise UserError(
                f"bidirectional: the task {self.task.name} must not read later time steps; "
                "use false"
            )

    def __repr__(self) -> str:
        return f"Experiment({', '.join(f'{k}={v!r}' for k, v in self.overrides.items())})"

    @property
    def needs_data_sizes(self) -> bool:
        """Whether the number of steps is unknown until the data are loaded."""
        return self.values_of("total_epochs") != (None,) and not self.data_sizes

    @property
    def needs_data(self) -> bool:
        """Whether a number of steps or a hidden size is unknown until the data are loaded."""
        needs_widths = self.values_of("parameters") != (None,) and not self.widths
        return self.needs_data_sizes or needs_widths

    def with_data_sizes(self, sizes: Mapping[str, int]) -> Experiment:
        """Returns this experiment with the number of training examples of each data set.

        `sizes` is keyed by the data key of the task. Where no budget is in epochs, the experiment
        is returned as it is. Raises UserError when the steps that follow do not fit other fields.
        """
        if self.values_of("total_epochs") == (None,):
            return self
        return dataclasses.replace(self, data_sizes=tuple(sorted(sizes.items())))

    def _set_width(self) -> None:
        """Sets the hidden size of a member whose number of parameters is given, if it is known.

        Raises UserError where both are given.
        """
        if self.parameters is None:
            return
        if self.hidden_size != Experiment.hidden_size and not self.widths:
            raise UserError("hidden_size and parameters: give one of them")
        # Of a copy, because this instance is not complete yet.
        width = copy_with(self, {"hidden_size": Experiment.hidden_size})._known_width()
        object.__setattr__(self, "hidden_size", width or Experiment.hidden_size)

    def _known_width(self) -> int | None:
        """Returns the hidden size that the number of parameters of a member leads to, if known."""
        widths = dict(self.widths)
        return None if not widths or self.axes else widths.get("") or widths.get(self.model_key)

    @property
    def model_key(self) -> str:
        """Names the model of a member, but for its hidden size: a digest of its static values."""
        specs = all_field_specs(self)
        static = {p: v for p, v in self.overrides.items() if p not in specs or not specs[p].traced}
        return hashlib.sha256(json.dumps(static, sort_keys=True).encode()).hexdigest()[:12]

    def with_widths(self, widths: Mapping[str, int]) -> Experiment:
        """Returns this experiment with the hidden size of each model, by `model_key`."""
        return dataclasses.replace(self, widths=tuple(sorted(widths.items())))

    @property
    def num_steps(self) -> int:
        """The number of training steps of a member, the smallest that reaches the budget.

        Raises RuntimeError for a budget in epochs before `with_data_sizes`.
        """
        if self.total_steps is not None:
            return self.total_steps
        num_examples = self.total_examples
        if self.total_epochs is not None:
            size = dict(self.data_sizes).get(self.task.data_key)
            if size is None:
                raise RuntimeError(
                    f"num_steps of {self.total_epochs:g} epochs: the size of the data with "
                    f"{self.task.data_key} is unknown; load them and call with_data_sizes first"
                )
            num_examples = max(1, round(self.total_epochs * size))
        return -(-num_examples // self.batch_size)

    def budgets(self) -> list[tuple[int, int]]:
        """Returns the (number of steps, batch size) of all members, each pair once."""
        specs, names = all_field_specs(self), {*BUDGETS, "batch_size"}
        axes = {p: values for p, values in self.axes.items() if p in names or specs[p].data}
        members = map(self.replace_unchecked, grid_points(axes))
        return list(dict.fromkeys((member.num_steps, member.batch_size) for member in members))

    @cached_property
    def components(self) -> dict[str, tuple[Component, ...]]:
        """The components by role. A member has one in each role, a grid may have several."""
        roles = {"task": self.task} | {
            name: getattr(self, name) for name, spec in field_specs(self).items() if spec.component
        }
        return {role: held if isinstance(held, tuple) else (held,) for role, held in roles.items()}

    def all_components(self) -> list[Component]:
        """Returns the components of all roles."""
        return [each for held in self.components.values() for each in held]

    @cached_property
    def grid(self) -> dict[str, tuple[Any, ...]]:
        """The axes whose product the members are, by path; the seed is last.

        An axis of several components is the union of their grids: its values are components of
        single values.
        """
        unions = {role: held for role, held in self.components.items() if len(held) > 1}
        axes = {
            path: tuple(point for each in unions[path] for point in each.points())
            if path in unions
            else values
            for path, values in self.values.items()
            if path in unions or (isinstance(values, tuple) and path.split(".")[0] not in unions)
        }
        return dict(sorted(axes.items(), key=lambda axis: axis[0] == "seed"))

    @cached_property
    def axes(self) -> dict[str, tuple[Any, ...]]:
        """The fields in which members differ, by path, with their values; the seed is last.

        They are the axes of the grid, where no axis has several components.
        """
        axes = {path: value for path, value in self.values.items() if isinstance(value, tuple)}
        return dict(sorted(axes.items(), key=lambda axis: axis[0] == "seed"))

    def values_of(self, path: str) -> tuple[Any, ...]:
        """Returns the values of a field as a tuple, even of one value."""
        value = self.values[path]
        return value if isinstance(value, tuple) else (value,)

    @cached_property
    def values(self) -> dict[str, Any]:
        """All fields by path: a component is its name, its fields are `<role>.<name>`.

        Of several components of one role, they are the values of all of them.
        """
        components = self.components
        values = {
            name: _distinct([each.name for each in components[name]])
            if name in components
            else getattr(self, name)
            for name in field_specs(self)
        }
        for role, (first, *others) in components.items():
            fields = {name: [value] for name, value in first.values.items()}
            for each in others:
                for name, value in each.values.items():
                    fields.setdefault(name, []).append(value)
            values |= {f"{role}.{name}": _distinct(held) for name, held in fields.items()}
        return values

    @cached_property
    def overrides(self) -> dict[str, Any]:
        """The values that differ from the default, by path; a component is its name.

        Of several components of one role, each is its name, or its name and its overrides.
        """
        defaults = {f.name: f.default for f in dataclasses.fields(self)}
        overrides = {
            name: value
            for name in field_specs(self)
            if name not in self.components and (value := getattr(self, name)) != defaults[name]
        }
        if self.parameters is not None:  # it follows from them
            overrides.pop("hidden_size", None)
        for role, components in self.components.items():
            if len(components) > 1:
                overrides[role] = [
                    {"name": each.name, **each.overrides} if each.overrides else each.name
                    for each in components
                ]
                continue
            (component,) = components
            default = Images if role == "task" else defaults[role]
            if component.name != default.name:
                overrides[role] = component.name
            overrides |= {f"{role}.{k}": value for k, value in component.overrides.items()}
        return overrides

    @cached_property
    def digest(self) -> str:
        """Twelve hex digits that name the values of this experiment.

        Values at their defaults do not enter: a field that is added later, and is off by default,
        does not change the digests of older runs. A default must therefore never change.
        """
        text = json.dumps(self.overrides, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def num_members(self) -> int:
        """The number of points of the grid."""
        return math.prod(len(values) for values in self.grid.values())

    def members(self) -> Iterator[Experiment]:
        """Yields all points of the grid; the seed varies fastest."""
        return map(self.at, grid_points(self.grid))

    def static_members(self) -> Iterator[Experiment]:
        """Yields a member for each combination of the static values of all axes."""
        specs = all_field_specs(self)
        static = {p: _static(values) for p, values in self.grid.items() if not specs[p].traced}
        return map(self.at, grid_points(static))

    def at(self, point: Values) -> Experiment:
        """Returns the member at a point of the grid, by path; its values were checked before."""
        member = self.replace_unchecked(point)
        if not self.widths:
            return member
        width = None if member.parameters is None else member._known_width()
        sizes = {"hidden_size": width, "widths": (("", width),)} if width else {"widths": ()}
        return copy_with(member, sizes)

    def coordinates(self, member: Experiment) -> dict[str, Any]:
        """Returns the values of a member on the axes of this grid, as JSON has them."""
        values = {path: getattr(member, path, member.values.get(path)) for path in self.grid}
        return {
            path: value.to_json() if isinstance(value, Component) else value
            for path, value in values.items()
        }

    def member(self, coordinates: Values) -> Experiment:
        """Returns the member whose `coordinates` are given.

        Raises ValueError where they are not on the grid, nor between its real values, as a search
        draws them, and UserError for a component that does not exist.
        """
        if coordinates.keys() != self.grid.keys():
            raise ValueError("a member has other fields than the experiment varies")
        roles, values = tables(self), dict(coordinates)
        for path, value in values.items():
            values[path] = value = roles[path].make(value) if path in roles else value
            allowed, (low, high) = self._grid_values[path]
            is_drawn = type(value) is float and low <= value <= high
            if not is_drawn and (type(value), value) not in allowed:
                raise ValueError(f"{path} of a member is {value!r}, no value of the experiment")
        return self.at(values)

    @cached_property
    def _grid_values(self) -> dict[str, tuple[set[tuple[type, Any]], tuple[float, float]]]:
        """The values of each axis of the grid with their types, and the bounds of its real ones."""
        by_path = {}
        for path, values in self.grid.items():
            real = [value for value in values if type(value) is float] or [math.nan]
            # A draw on a logarithmic scale may be rounded beyond a bound.
            bounds = min(real) - 1e-9 * abs(min(real)), max(real) + 1e-9 * abs(max(real))
            by_path[path] = {(type(value), value) for value in values}, bounds
        return by_path

    def data_tasks(self) -> dict[str, Task]:
        """Returns a task for each data set that members read, by its data key."""
        known = all_field_specs(self)
        axes = {path: values for path, values in self.axes.items() if known[path].data}
        tasks = [self.replace_unchecked(values).task for values in grid_points(axes)]
        return {task.data_key: task for task in tasks}

    @cached_property
    def setting(self) -> Experiment:
        """This member with seed 0: the members of a setting differ only in their seed."""
        return self.replace_unchecked({"seed": 0})

    @cached_property
    def condition(self) -> tuple[tuple[str, Any], ...]:
        """What this member is asked: its task, and the task's fields that decide it, by path.

        Results of two conditions are told apart and never ranked; see `FieldSpec.setting`.
        """
        specs = field_specs(self.task).items()
        fields = {f"task.{name}": getattr(self.task, name) for name, s in specs if not s.setting}
        return ("task", self.task.name), *fields.items()

    @property
    def condition_axes(self) -> tuple[str, ...]:
        """The paths of the conditions that have several values."""
        specs = all_field_specs(self)
        return tuple(p for p in self.axes if p.startswith("task.") and not specs[p].setting)

    @cached_property
    def static_key(self) -> Experiment:
        """This member without its traced values. Members with equal keys share one program."""
        return self.replace_unchecked(
            {
                path: TRACED
                for path, spec in all_field_specs(self).items()
                if spec.traced and self.values[path] is not None
            }
        )

    def apart_from(self, *paths: str) -> Experiment:
        """Returns what this member has in common with those that differ in these fields alone.

        A hidden size that follows from the number of parameters is none of them.
        """
        width = {} if self.parameters is None else {"hidden_size": None, "widths": ()}
        return self.replace_unchecked(dict.fromkeys(paths) | width)

    def replace_unchecked(self, values: Values) -> Experiment:
        """Returns this experiment with other values, by path, that were checked before."""
        own_values, of_components = _split_paths(values)
        for role, fields in of_components.items():
            own_values[role] = copy_with(own_values.get(role, getattr(self, role)), fields)
        return copy_with(self, own_values)

    def replace(self, values: Values) -> Experiment:
        """Returns this experiment with other values, by path. A budget replaces the one before, and
        so does a hidden size or a number of parameters.

        Components are chosen as by `choose`. A field of a component is replaced in all chosen
        components of its role that have it. Raises UserError when a value is invalid.
        """
        own_values, of_components = _split_paths(values)
        if any(own_values.get(name) is not None for name in BUDGETS):
            fields = {field.name: field.default for field in dataclasses.fields(self)}
            own_values = {name: fields[name] for name in BUDGETS} | own_values
        if len(own_values.keys() & {"hidden_size", "parameters"}) == 1:  # one replaces the other
            width = {"hidden_size": Experiment.hidden_size, "parameters": None, "widths": ()}
            own_values = width | own_values
        for role in self.components:
            if role in own_values or role in of_components:
                experiment = self.choose({role: own_values[role]} if role in own_values else {})
                table = TASKS if role == "task" else tables(self)[role]
                chosen = _with_fields(
                    table, experiment.components[role], of_components.pop(role, {})
                )
                own_values[role] = chosen[0] if len(chosen) == 1 else chosen
        for role in of_components:
            raise UserError(f"{role}: is not one of {', '.join(self.components)}")
        return dataclasses.replace(self, **own_values)

    def choose(self, values: Values) -> Experiment:
        """Returns this experiment with other components, by role; their fit is not checked.

        Each is an instance or a name. The name of a component that is here stands for that one, and
        any other name for default values, but for the fields that all components of the role have:
        these stay. Raises UserError for an unknown name, and for no component at all.
        """
        own_values = {}
        for role, value in values.items():
            table = TASKS if role == "task" else tables(self)[role]
            several = value if isinstance(value, (tuple, list)) else (value,)
            if not several:
                raise UserError(f"{role}: needs at least one value")
            chosen = tuple(_chosen(table, each, self.components[role]) for each in several)
            own_values[role] = chosen[0] if len(chosen) == 1 else chosen
        return copy_with(self, own_values)

    def differences(self, other: Experiment) -> str:
        """Returns a text of the fields that differ, `path: value, not other value; ...`."""
        # A component is compared by its name, wherever its file lies.
        values, other_values = (
            e.to_values()
            | {role: held[0].name for role, held in e.components.items() if len(held) == 1}
            for e in (self, other)
        )
        return "; ".join(
            f"{path}: {values.get(path)}, not {other_values.get(path)}"
            for path in dict.fromkeys([*values, *other_values])
            if values.get(path) != other_values.get(path)
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process could not import the module of a task in a user's file.
        components = self.all_components()
        described = {c.spec: c.description for c in components if isinstance(c, StandIn)}
        if described:  # nor may it run these files
            return _with_stand_ins, (self.to_values(), described)
        return Experiment.from_values, (self.to_values(),)

    def label(self, member: Experiment) -> str:
        """Returns a text of the values in which a member differs from the other members."""
        paths = self.axes or ("hidden_size", "learning_rate", "seed")
        return ", ".join(
            f"{field_label(path)} {format_value(member.values.get(path))}" for path in paths
        )

    def condition_label(self, member: Experiment) -> str:
        """Returns a text of a member's conditions that have several values; empty without any."""
        return ", ".join(
            f"{field_label(path)} {format_value(member.values[path])}"
            for path in self.condition_axes
        )

    def to_values(self) -> dict[str, Any]:
        """Returns all values by path, as JSON has them; a component is its spec string.

        Several components of one role are a list of objects, each with its name and its fields.
        """
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in self.values.items()}
        for role, components in self.components.items():
            if len(components) == 1:
                values[role] = components[0].spec_string()
                continue
            values = {k: v for k, v in values.items() if not k.startswith(f"{role}.")}
            values[role] = [each.to_json() for each in components]
        sizes = {name: [list(pair) for pair in getattr(self, name)] for name in SIZES}
        return {"task": values.pop("task"), **values, **{k: v for k, v in sizes.items() if v}}

    @staticmethod
    def from_values(values: Any) -> Experiment:
        """Returns the experiment whose `to_values` is given. Raises UserError on anything else."""
        if not isinstance(values, dict):
            raise UserError(f"experiment: expected a JSON object, got {type(values).__name__}")
        values = dict(values)
        sizes = {name: values.pop(name) for name in SIZES if name in values}
        default = Experiment(task=get_task(values.pop("task", Images.name))(), **sizes)
        chosen = {role: values.pop(role) for role in tables(default) if role in values}
        default = default.choose(chosen)
        for path in values:
            if path not in default.values:
                near = did_you_mean(path, default.values)
                raise UserError(f"experiment: no field {path!r}.{near}")
        return default.replace(values)


def _with_stand_ins(values: dict[str, Any], descriptions: dict[str, Any]) -> Experiment:
    with reading_record(descriptions, {}):
        return Experiment.from_values(values)


def all_field_specs(experiment: Experiment) -> dict[str, FieldSpec]:
    """Returns the declarations of the fields of an experiment and of its components, by path."""
    specs = dict(field_specs(experiment))
    for role, components in experiment.components.items():
        for component in components:
            for name, spec in field_specs(component).items():
                specs.setdefault(f"{role}.{name}", spec)
    return specs


def field_label(path: str) -> str:
    """Returns a path as plain words: `learning rate`."""
    return path.removeprefix("task.").replace(".", " ").replace("_", " ")


def format_value(value: Any) -> str:
    """Returns a value as text that the command line takes back: `0.001`, `none`, `true`."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Component):
        fields = ", ".join(f"{k} {format_value(v)}" for k, v in value.overrides.items())
        return f"{value.name} ({fields})" if fields else value.name
    return f"{value:g}" if isinstance(value, float) else str(value)


def _check_sizes(name: str, sizes: Any) -> tuple[tuple[str, int], ...]:
    try:
        pairs = tuple((key, size) for key, size in sizes)
    except (TypeError, ValueError):
        pairs = ((None, 0),)
    for key, size in pairs:
        if not isinstance(key, str) or type(size) is not int or not 0 < size < 2**63:
            raise UserError(f"{name}: expected pairs of a name and a number")
    return pairs


def _split_paths(values: Values) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Returns the values of the experiment's own fields, and those of components' by role."""
    own_values: dict[str, Any] = {}
    of_components: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        role, dot, name = path.partition(".")
        if dot:
            of_components.setdefault(role, {})[name] = value
        else:
            own_values[path] = value
    return own_values, of_components


def _chosen(table: Table[Any], value: Any, present: tuple[Component, ...]) -> Component:
    """Returns the component that a value stands for, where others were chosen before."""
    if not isinstance(value, str):
        return table.make(value)
    for each in present:
        if value in (each.name, each.spec_string()):
            return each
    shared = {name: getattr(present[0], name) for name in field_specs(table.base)}
    return dataclasses.replace(table.make(value), **(shared if len(present) == 1 else {}))


def _with_fields(
    table: Table[Any], components: tuple[Component, ...], values: Mapping[str, Any]
) -> tuple[Any, ...]:
    """Returns the components with other values in those that have these fields."""
    for name in values:
        if not any(name in field_specs(each) for each in components):
            raise table.no_such_field(name, *(each.name for each in components))
    return tuple(
        dataclasses.replace(each, **{k: v for k, v in values.items() if k in field_specs(each)})
        for each in components
    )


def _distinct(values: Sequence[Any]) -> Any:
    """Returns the values of several components as one field: a value, or a tuple of several."""
    if len(values) == 1:
        return values[0]
    single = [v for held in values for v in (held if isinstance(held, tuple) else (held,))]
    distinct = tuple(dict.fromkeys(single))
    return distinct if len(distinct) > 1 else distinct[0]


def _static(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Returns the values of an axis of the grid, one for each combination of static fields."""

    def static_key(value: Any) -> Any:
        if not isinstance(value, Component):
            return value
        return copy_with(
            value, {name: TRACED for name, spec in field_specs(value).items() if spec.traced}
        )

    return tuple({static_key(value): value for value in values}.values())
