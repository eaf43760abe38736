"""The values of an experiment by path: `seed`, `optimizer.momentum`, `task.dataset`.

A path without a dot is a field of the experiment itself; with a dot, it is a field of the component
in that role.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Self

from lstm_jax.components import Component, Table, copy_with, tables
from lstm_jax.config.experiment_fields import BUDGETS, ExperimentFields
from lstm_jax.errors import UserError
from lstm_jax.fields import FieldSpec, field_specs
from lstm_jax.tasks import TASKS

Values = Mapping[str, Any]  # by path


class ExperimentValues(ExperimentFields):
    """Adds the components of an experiment, and reading and replacing of values by path."""

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

    def values_of(self, path: str) -> tuple[Any, ...]:
        """Returns the values of a field as a tuple, even of one value."""
        value = self.values[path]
        return value if isinstance(value, tuple) else (value,)

    def replace_unchecked(self, values: Values) -> Self:
        """Returns this experiment with other values, by path, that were checked before."""
        own_values, of_components = _split_paths(values)
        for role, fields in of_components.items():
            own_values[role] = copy_with(own_values.get(role, getattr(self, role)), fields)
        return copy_with(self, own_values)

    def replace(self, values: Values) -> Self:
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
            width = {"hidden_size": type(self).hidden_size, "parameters": None, "widths": ()}
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

    def choose(self, values: Values) -> Self:
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


def all_field_specs(experiment: ExperimentValues) -> dict[str, FieldSpec]:
    """Returns the declarations of the fields of an experiment and of its components, by path."""
    specs = dict(field_specs(experiment))
    for role, components in experiment.components.items():
        for component in components:
            for name, spec in field_specs(component).items():
                specs.setdefault(f"{role}.{name}", spec)
    return specs


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
