"""An experiment on record: its JSON and the digests that name it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from functools import cached_property
from typing import Any, Self, TypeVar

from lstm_jax.components import tables
from lstm_jax.config.experiment_fields import SIZES
from lstm_jax.config.experiment_values import ExperimentValues, all_field_specs
from lstm_jax.errors import UserError, did_you_mean
from lstm_jax.fields import field_specs
from lstm_jax.stand_ins import StandIn, reading_record
from lstm_jax.tasks import get_task
from lstm_jax.tasks.images import Images

R = TypeVar("R", bound="ExperimentRecord")


class ExperimentRecord(ExperimentValues):
    """Adds the JSON of an experiment, its digests, and pickling."""

    def __repr__(self) -> str:
        return f"Experiment({', '.join(f'{k}={v!r}' for k, v in self.overrides.items())})"

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
    def model_key(self) -> str:
        """Names the model of a member, but for its hidden size: a digest of its static values."""
        specs = all_field_specs(self)
        static = {p: v for p, v in self.overrides.items() if p not in specs or not specs[p].traced}
        return hashlib.sha256(json.dumps(static, sort_keys=True).encode()).hexdigest()[:12]

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

    @classmethod
    def from_values(cls, values: Any) -> Self:
        """Returns the experiment whose `to_values` is given. Raises UserError on anything else."""
        if not isinstance(values, dict):
            raise UserError(f"experiment: expected a JSON object, got {type(values).__name__}")
        values = dict(values)
        sizes = {name: values.pop(name) for name in SIZES if name in values}
        default = cls(task=get_task(values.pop("task", Images.name))(), **sizes)
        chosen = {role: values.pop(role) for role in tables(default) if role in values}
        default = default.choose(chosen)
        for path in values:
            if path not in default.values:
                near = did_you_mean(path, default.values)
                raise UserError(f"experiment: no field {path!r}.{near}")
        return default.replace(values)

    def differences(self, other: ExperimentRecord) -> str:
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
            return _with_stand_ins, (type(self), self.to_values(), described)
        return type(self).from_values, (self.to_values(),)


def _with_stand_ins(experiment: type[R], values: dict[str, Any], descriptions: dict[str, Any]) -> R:
    with reading_record(descriptions, {}):
        return experiment.from_values(values)
