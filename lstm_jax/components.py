"""Components: the parts of an experiment that can be exchanged, each with fields of its own.

A task, an optimiser, a schedule is a component: a frozen dataclass whose fields are declared with
`axis`. An experiment holds it in the field that is its *role*, and reaches its fields by path, such
as `optimizer.momentum`. A component has a name in a table, or lies in a user's file.
"""

from __future__ import annotations

import dataclasses
import inspect
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from lstm_jax.errors import UserError, did_you_mean
from lstm_jax.fields import FieldSpec, check_value, field_specs
from lstm_jax.plugins import FILE_ATTRIBUTE, is_file_attribute, load_attribute
from lstm_jax.stand_ins import StandIn, find_on_record


@dataclass(frozen=True)
class Component:
    """The base class of all components. Raises `UserError` when the value of a field is invalid."""

    role: ClassVar[str]  # the field of the experiment that holds it
    name: ClassVar[str]
    source_file: ClassVar[str]  # the user's file that defines it

    def __init_subclass__(cls) -> None:
        # A class in a user's file must not share the name, and so the digest, of what it extends.
        if cls.__module__.startswith("lstm_jax."):
            return
        if "name" not in vars(cls):
            cls.name = cls.__name__
        cls.source_file = _file_of_class(cls.__module__)

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Raises UserError for a class with fields that `@dataclass` has not seen."""
        for base in cls.__mro__:
            names = [n for n, value in vars(base).items() if isinstance(value, dataclasses.Field)]
            if names:
                raise UserError(
                    f"{cls.role}: {base.__name__} is no dataclass, so its fields "
                    f"({', '.join(names)}) are not known; write @dataclass(frozen=True) above the "
                    "class"
                )
        return super().__new__(cls)

    def __post_init__(self) -> None:
        specs = field_specs(self)
        for field in dataclasses.fields(self):
            if field.name not in specs:
                raise UserError(
                    f"{self.role}: {type(self).__name__}.{field.name} is not declared with "
                    "axis(...), so no record would hold it"
                )
        for name, spec in specs.items():
            value = check_value(f"{self.role}.{name}", getattr(self, name), spec)
            object.__setattr__(self, name, value)

    def check(self) -> None:
        """Raises UserError where fields, of one value each, do not fit together."""

    @classmethod
    def spec_string(cls) -> str:
        """Returns the name, or `path/to/file.py:Class` for a component in a user's file."""
        if cls.__module__.startswith("lstm_jax."):
            return cls.name
        if cls.source_file.endswith(".py"):
            return f"{cls.source_file}:{cls.__name__}"
        return cls.name

    @property
    def values(self) -> dict[str, Any]:
        """All fields by name."""
        return {name: getattr(self, name) for name in field_specs(self)}

    @property
    def overrides(self) -> dict[str, Any]:
        """The fields that differ from their defaults, by name."""
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        return {name: value for name, value in self.values.items() if value != defaults[name]}

    def to_json(self) -> dict[str, Any]:
        """Returns the name and all fields, as JSON has them."""
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in self.values.items()}
        return {"name": self.spec_string(), **values}

    def points(self) -> Iterator[Self]:
        """Yields a copy for each combination of the values of all fields."""
        axes = {name: value for name, value in self.values.items() if isinstance(value, tuple)}
        return (copy_with(self, point) for point in grid_points(axes))


def _file_of_class(module: str) -> str:
    """Returns the file whose class statement runs now; empty if no frame is of its module.

    The module of a file that `runpy` has run is gone afterwards, so that the frame is asked.
    """
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__") != module:
        frame = frame.f_back
    return frame.f_code.co_filename if frame else ""


C = TypeVar("C", bound=Component)


class Table(dict[str, type[C]]):
    """The components of one role, by name."""

    def __init__(self, base: type[C], *classes: type[C]) -> None:
        super().__init__({each.name: each for each in classes})
        self.base = base

    def find(self, name: object) -> type[C]:
        """Returns the class with a name, or the class of `path/to/file.py:Class`.

        A file is not run again when its class is already defined: the latest one is returned. None
        is run while a record is read: its class is a `StandIn`. Raises UserError for an unknown
        name.
        """
        if isinstance(name, str):
            if name in self:
                return self[name]
            if loaded := self.loaded(name):
                return loaded
        if not isinstance(name, str) or not is_file_attribute(name):
            near = did_you_mean(name, self) if isinstance(name, str) else ""
            raise UserError(
                f"{self.base.role}: {name!r} is not one of {', '.join(self)}, nor "
                f"{FILE_ATTRIBUTE}.{near}"
            )

        if on_record := find_on_record(self.base, name):
            return on_record

        def fits(value: object) -> bool:
            is_class = isinstance(value, type) and issubclass(value, self.base)
            return is_class and value is not self.base

        component: type[C] = load_attribute(self.base.role, name, fits)
        return component

    def loaded(self, name: str) -> type[C] | None:
        """Returns the latest class in a user's file that this process has defined under a name."""
        defined = [each for each in subclasses(self.base) if each.spec_string() == name]
        return defined[-1] if defined else None

    def make(self, value: Any) -> C:
        """Returns the component that a value stands for. Raises UserError.

        A value is a component, its name (then all fields have their defaults), or the JSON of a
        record, `{"name": "sgd", "momentum": 0.9}`.
        """
        if isinstance(value, self.base):
            return value
        values = dict(value) if isinstance(value, Mapping) else {"name": value}
        component = self.find(values.pop("name", None))
        for name in values:
            if name not in field_specs(component):
                raise self.no_such_field(name, component.name)
        return component(**values)

    def no_such_field(self, name: str, *chosen: str) -> UserError:
        """Returns the error of a field that no chosen component has; it names those that do."""
        role, fields = self.base.role, {each: field_specs(self[each]) for each in self}
        near = did_you_mean(name, [field for each in chosen for field in fields.get(each, ())])
        hint = f".{near}" if near else ""
        if owners := [each for each in self if name in fields[each]]:
            have = "have" if owners[1:] else "has"
            hint = f"; {', '.join(owners)} {have} it (--{role} {owners[0]})"
        return UserError(f"{role}.{name}: {' and '.join(chosen)} has no such field{hint}")


if TYPE_CHECKING:

    class ComponentAxis(Generic[C]):
        """A field that takes one component or several, each an instance or a name."""

        def __get__(self, instance: object, owner: type) -> C: ...
        def __set__(self, instance: object, value: C | str | tuple[C | str, ...]) -> None: ...

else:
    ComponentAxis = tuple  # annotations are never evaluated


def component_axis(default: C, table: Table[C], help: str) -> Any:
    """Returns a dataclass field that holds one component or several, as `axis` does for values."""
    spec = FieldSpec(str, help, choices=lambda: table, component=table.make)
    return dataclasses.field(default=default, metadata={"spec": spec, "table": table})


def tables(of: Any) -> dict[str, Table[Any]]:
    """Returns the tables of the fields that `component_axis` has declared, by role."""
    return {f.name: f.metadata["table"] for f in dataclasses.fields(of) if "table" in f.metadata}


def subclasses(base: type[C]) -> Iterator[type[C]]:
    """Yields all classes that extend a class and have a name, the first one first."""
    for each in base.__subclasses__():
        if issubclass(each, StandIn):
            continue
        if hasattr(each, "name"):  # others are base classes
            yield each
        yield from subclasses(each)


def grid_points(axes: Mapping[str, tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    """Yields all combinations of the values of all axes; the last axis varies fastest."""
    for point in itertools.product(*axes.values()):
        yield dict(zip(axes, point, strict=True))


def copy_with(instance: Any, values: Mapping[str, Any]) -> Any:
    """Returns a copy of a frozen dataclass with other values, unchecked: this is done millions of
    times.
    """
    copy = object.__new__(type(instance))
    fields = {f.name: getattr(instance, f.name) for f in dataclasses.fields(instance)}
    copy.__dict__.update(fields, **values)
    return copy
