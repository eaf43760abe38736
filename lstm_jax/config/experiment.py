"""The experiment: one frozen value, checked when it is made, written as JSON and read back.

Every field, including those of the task, takes one value or several. An experiment is the grid of
its *members*, the experiments in which each field has one value; a single run is a grid of one.

`Experiment` is made of four layers, each of which extends the one before: its fields
(`experiment_fields.py`), their values by path (`experiment_values.py`), JSON and digests
(`experiment_record.py`), and its members (`experiment_grid.py`). This file checks that the values
fit together, and completes them by what is known after the data are loaded. None does I/O or
imports anything heavy, so that a mistake is answered at once.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any, Self

from lstm_jax.components import copy_with, grid_points
from lstm_jax.config.blocks import Plain
from lstm_jax.config.experiment_fields import BUDGETS
from lstm_jax.config.experiment_grid import ExperimentGrid
from lstm_jax.config.experiment_values import all_field_specs
from lstm_jax.config.labels import format_value
from lstm_jax.errors import UserError, did_you_mean
from lstm_jax.fields import field_specs

MAX_MEMBERS = 1_000_000


class Experiment(ExperimentGrid):
    """All values that decide the numbers of a run. Raises `UserError` when a value is invalid.

    `lstm-jax run --help` prints the help of each field.
    """

    def __new__(cls, *args: Any, **values: Any) -> Self:
        """Raises UserError for a value of a field that there is not."""
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := [name for name in values if name not in known]:
            names = ["task", *(name for name in field_specs(cls) if name != "task")]
            near = did_you_mean(unknown[0], names)
            raise UserError(
                f"Experiment has no field {unknown[0]!r}.{near} Its fields are {', '.join(names)}"
            )
        return super().__new__(cls)

    def __post_init__(self) -> None:
        super().__post_init__()
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
            words = f"{self.budget} {format_value(self.values[self.budget])}"
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
        if self.backend == "cudnn" and self.precision != "float32":
            raise UserError(
                f"precision: cudnn keeps its products in float32, or TF32 on recent GPUs, not in "
                f"{self.precision}; use scan"
            )
        if self.backend == "cudnn" and self.zoneout is not None:
            raise UserError("zoneout: cudnn runs the LSTM as it is; use scan")
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

    def with_widths(self, widths: Mapping[str, int]) -> Experiment:
        """Returns this experiment with the hidden size of each model, by `model_key`."""
        return dataclasses.replace(self, widths=tuple(sorted(widths.items())))

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

    @property
    def budget(self) -> str:
        """The name of the field that sets the steps: a given one, else `total_examples`."""
        return next((n for n in BUDGETS[1:] if self.values_of(n) != (None,)), BUDGETS[0])

    def budgets(self) -> list[tuple[int, int]]:
        """Returns the (number of steps, batch size) of all members, each pair once."""
        specs, names = all_field_specs(self), {*BUDGETS, "batch_size"}
        axes = {p: values for p, values in self.axes.items() if p in names or specs[p].data}
        members = map(self.replace_unchecked, grid_points(axes))
        return list(dict.fromkeys((member.num_steps, member.batch_size) for member in members))
