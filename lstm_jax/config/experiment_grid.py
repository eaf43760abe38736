"""From an experiment whose fields have several values to its members, one value each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Self

from lstm_jax.components import Component, copy_with, grid_points, tables
from lstm_jax.config.experiment_record import ExperimentRecord
from lstm_jax.config.experiment_values import Values, all_field_specs
from lstm_jax.config.labels import field_label, format_value
from lstm_jax.fields import field_specs
from lstm_jax.tasks.task import Task

TRACED = "traced"  # stands in a static key for a value that enters the program as an array


class ExperimentGrid(ExperimentRecord):
    """Adds the members of an experiment, and what members have in common."""

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

    @property
    def num_members(self) -> int:
        """The number of points of the grid."""
        return math.prod(len(values) for values in self.grid.values())

    def members(self) -> Iterator[Self]:
        """Yields all points of the grid; the seed varies fastest."""
        return map(self.at, grid_points(self.grid))

    def static_members(self) -> Iterator[Self]:
        """Yields a member for each combination of the static values of all axes."""
        specs = all_field_specs(self)
        static = {p: _static(values) for p, values in self.grid.items() if not specs[p].traced}
        return map(self.at, grid_points(static))

    def at(self, point: Values) -> Self:
        """Returns the member at a point of the grid, by path; its values were checked before."""
        member = self.replace_unchecked(point)
        if not self.widths:
            return member
        width = None if member.parameters is None else member._known_width()
        sizes = {"hidden_size": width, "widths": (("", width),)} if width else {"widths": ()}
        return copy_with(member, sizes)

    def _known_width(self) -> int | None:
        """Returns the hidden size that the number of parameters of a member leads to, if known."""
        widths = dict(self.widths)
        return None if not widths or self.axes else widths.get("") or widths.get(self.model_key)

    def coordinates(self, member: Self) -> dict[str, Any]:
        """Returns the values of a member on the axes of this grid, as JSON has them."""
        values = {path: getattr(member, path, member.values.get(path)) for path in self.grid}
        return {
            path: value.to_json() if isinstance(value, Component) else value
            for path, value in values.items()
        }

    def member(self, coordinates: Values) -> Self:
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
    def setting(self) -> Self:
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
    def static_key(self) -> Self:
        """This member without its traced values. Members with equal keys share one program."""
        return self.replace_unchecked(
            {
                path: TRACED
                for path, spec in all_field_specs(self).items()
                if spec.traced and self.values[path] is not None
            }
        )

    def apart_from(self, *paths: str) -> Self:
        """Returns what this member has in common with those that differ in these fields alone.

        A hidden size that follows from the number of parameters is none of them.
        """
        width = {} if self.parameters is None else {"hidden_size": None, "widths": ()}
        return self.replace_unchecked(dict.fromkeys(paths) | width)

    def label(self, member: Self) -> str:
        """Returns a text of the values in which a member differs from the other members."""
        paths = self.axes or ("hidden_size", "learning_rate", "seed")
        return ", ".join(
            f"{field_label(path)} {format_value(member.values.get(path))}" for path in paths
        )

    def condition_label(self, member: Self) -> str:
        """Returns a text of a member's conditions that have several values; empty without any."""
        return ", ".join(
            f"{field_label(path)} {format_value(member.values[path])}"
            for path in self.condition_axes
        )


def _static(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Returns the values of an axis of the grid, one for each combination of static fields."""

    def static_key(value: Any) -> Any:
        if not isinstance(value, Component):
            return value
        return copy_with(
            value, {name: TRACED for name, spec in field_specs(value).items() if spec.traced}
        )

    return tuple({static_key(value): value for value in values}.values())
