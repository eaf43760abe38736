"""Stand-ins of components in users' files that a record names: no line of such a file is run.

A record describes these components by plain values: their names, fields and defaults, and the
metric of a task. They are all that is needed to list, compare and clean runs.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, ClassVar, NamedTuple, NoReturn

from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.fields import FieldSpec, field_specs

TYPES = {each.__name__: each for each in (bool, int, float, str)}
FLAGS = ("optional", "traced", "data", "setting", "log")
FIELD = re.compile(r"[A-Za-z]\w{0,99}")
OF_TASK = {"metric": str, "higher_is_better": bool, "online": bool, "causal": bool}
# The schema of a description; see `runs/json_files.py`.
SCHEMA: dict[str, Any] = {
    "name": str,
    **{f"{name}?": value_type for name, value_type in OF_TASK.items()},
    "solved_at?": (float, None),
    "metric_range?": [(float, None)],
    "fields": {FIELD: {"type": re.compile("|".join(TYPES)), **dict.fromkeys(FLAGS, bool)}},
}


class StandIn:
    """The base class of all stand-ins, beside that of the component. It computes nothing."""

    spec: ClassVar[str]  # the name on record, `path/to/file.py:Class`
    description: ClassVar[dict[str, Any]]

    @classmethod
    def spec_string(cls) -> str:
        """Returns the name on record."""
        return cls.spec

    def load(self, *_: object) -> NoReturn:
        """Raises EnvironmentProblem: the code of this component was not run."""
        raise EnvironmentProblem(
            f"the code of {self.spec} was not run: give --trust-code (trust_code=True) if you "
            "trust it"
        )

    model_spec = transformation = curve = load


class OnRecord(NamedTuple):
    """What a record that is being read knows of components in users' files."""

    descriptions: Mapping[str, dict[str, Any]]  # by their names on record
    own: Mapping[str, type]  # classes of the user's experiment, by their own names


_on_record = ContextVar[OnRecord | None]("on_record", default=None)


@contextmanager
def reading_record(
    descriptions: Mapping[str, dict[str, Any]], own: Mapping[str, type]
) -> Iterator[None]:
    """Lets no component be loaded from a file while the block runs: stand-ins take their place.

    A component that has the name of one in `own` is of that class, wherever its file lies.
    """
    token = _on_record.set(OnRecord(descriptions, own))
    try:
        yield
    finally:
        _on_record.reset(token)


def find_on_record(base: type, spec: str) -> type | None:
    """Returns the class for a name on the record that is being read; None where none is read.

    Raises UserError for a component that the record does not describe.
    """
    on_record = _on_record.get()
    if on_record is None:
        return None
    description = on_record.descriptions.get(spec)
    if description is None:
        raise UserError(f"it names {spec} and does not describe it")
    own = on_record.own.get(description["name"])
    if own is not None and issubclass(own, base):
        return own
    try:
        return _stand_in(base, spec, json.dumps(description))
    except (TypeError, ValueError, KeyError) as error:
        raise UserError(f"the description of {spec}: {error}") from error


def describe(component: type) -> dict[str, Any]:
    """Returns the description of a component's class, as JSON values."""
    if issubclass(component, StandIn):
        return component.description
    assert dataclasses.is_dataclass(component)
    defaults = {field.name: field.default for field in dataclasses.fields(component)}
    names = ("name", *OF_TASK, "solved_at")
    description = {name: getattr(component, name) for name in names if hasattr(component, name)}
    if bounds := getattr(component, "metric_range", None):
        description["metric_range"] = [b if math.isfinite(b) else None for b in bounds]
    fields = {
        name: {
            "type": spec.value_type.__name__,
            "default": defaults[name],
            **{flag: getattr(spec, flag) for flag in FLAGS},
        }
        for name, spec in field_specs(component).items()
    }
    return description | {"fields": fields}


@cache  # equal experiments have equal classes
def _stand_in(base: type, spec: str, text: str) -> type:
    description = json.loads(text)
    fields = []
    for name, declared in description["fields"].items():
        if hasattr(StandIn, name) or (hasattr(base, name) and name not in field_specs(base)):
            raise ValueError(f"{name!r} cannot be a field")
        default = declared["default"]
        flags = {flag: declared[flag] for flag in FLAGS}
        field: Any = dataclasses.field(
            default=tuple(default) if isinstance(default, list) else default,
            metadata={"spec": FieldSpec(TYPES[declared["type"]], "", **flags)},
        )
        fields.append((name, Any, field))
    plain = {name: value for name, value in description.items() if name != "fields"}
    if hasattr(base, "metric_range"):  # a task
        low, high = plain["metric_range"]
        plain |= {name: description[name] for name in OF_TASK}
        bounds = -math.inf if low is None else low, math.inf if high is None else high
        plain["metric_range"] = bounds
    namespace = {**plain, "spec": spec, "description": description}
    return dataclasses.make_dataclass(
        "StandInOfARecord", fields, bases=(StandIn, base), frozen=True, namespace=namespace
    )
