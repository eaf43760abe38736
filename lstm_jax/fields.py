"""The declaration of a field: its range or choices, its help, and whether it is static or traced.

A field takes one value or several. A *static* field decides which program is compiled. A *traced*
field enters the program as an array, so that another value needs no compilation.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lstm_jax.errors import UserError, did_you_mean

T = TypeVar("T")

MAX_VALUES = 100_000  # of one field

if TYPE_CHECKING:

    class Axis(Generic[T]):
        """A field that takes one value or several. In a member it has one value and reads as T."""

        def __get__(self, instance: object, owner: type) -> T: ...
        def __set__(self, instance: object, value: T | tuple[T, ...]) -> None: ...

else:
    Axis = tuple  # annotations are never evaluated


@dataclass(frozen=True)
class FieldSpec:
    """The values that a field takes, and how they are used."""

    value_type: type
    help: str
    low: float = -math.inf
    high: float = math.inf
    choices: Callable[[], Iterable[str]] | None = None  # called late: a table may still grow
    check: Callable[[str], str] | None = None  # instead of choices; raises UserError
    traced: bool = False
    data: bool = False  # decides which data are loaded
    # Of a task: another value is another way to answer the same question, so its results may be
    # ranked. Any other field of a task is a condition: it decides what is asked.
    setting: bool = False
    log: bool = False  # a search draws log-uniformly from a range of this field
    optional: bool = False  # None is allowed and means off; on and off are two programs
    option: str | None = None  # its option on the command line, where that is not its name
    metavar: str | None = None  # what stands for its value in help, where that is not its type
    component: Callable[[Any], Any] | None = None  # makes a component of a value: `components.py`


def axis(default: Any, help: str, **spec: Any) -> Any:
    """Returns a dataclass field with a declaration; `spec` holds fields of `FieldSpec`.

    Its values have the type of the default. A field whose default is None is optional: its values
    have the type of `low`, or are text.
    """
    is_optional = default is None
    value_type = type(spec.get("low", "") if is_optional else default)
    declared = FieldSpec(value_type, help, optional=is_optional, **spec)
    return dataclasses.field(default=default, metadata={"spec": declared})


def field_specs(of: Any) -> dict[str, FieldSpec]:
    """Returns the declarations of a dataclass or of an instance of one, by field name."""
    return _specs_of_class(of if isinstance(of, type) else type(of))


@cache
def _specs_of_class(of: Any) -> dict[str, FieldSpec]:
    return {f.name: f.metadata["spec"] for f in dataclasses.fields(of) if "spec" in f.metadata}


def check_value(path: str, value: Any, spec: FieldSpec) -> Any:
    """Returns one value, or a tuple of several, each of the field's type and within its bounds.

    A tuple of one value becomes that value, because both are the same experiment. Raises UserError,
    which names the field by its path and says which values are valid.
    """
    if not isinstance(value, (tuple, list, range)):
        return _check_single(path, value, spec)
    if len(value) > MAX_VALUES:
        raise UserError(f"{path}: {len(value):,} values are more than {MAX_VALUES:,}")
    values = tuple(_check_single(path, item, spec) for item in value)
    if not values:
        raise UserError(f"{path}: needs at least one value")
    if len(set(values)) < len(values):
        repeated = Counter(values).most_common(1)[0][0]
        raise UserError(f"{path}: {repeated} is there twice; every member must be different")
    return values[0] if len(values) == 1 else values


def _check_single(path: str, value: Any, spec: FieldSpec) -> Any:
    if value is None and spec.optional:
        return None
    if spec.component is not None:
        return spec.component(value)
    if spec.value_type is str:
        if not isinstance(value, str) or not value:
            raise UserError(f"{path}: expected a name, got {value!r}")
        if spec.check is not None:
            return spec.check(value)
        if spec.choices is not None and value not in (choices := list(spec.choices())):
            near = did_you_mean(value, choices)
            raise UserError(f"{path}: {value!r} is not one of {', '.join(choices)}.{near}")
        return value
    if spec.value_type is bool:
        if not isinstance(value, bool):
            raise UserError(f"{path}: expected true or false, got {value!r}")
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UserError(f"{path}: expected a number, got {value!r}")
    if spec.value_type is int and isinstance(value, float) and not value.is_integer():
        raise UserError(f"{path}: expected a whole number, got {value!r}")
    if not spec.low <= value <= spec.high:  # refuses nan, and an int beyond all floats
        off = "; none switches it off" if spec.optional else ""
        # All digits of a whole number: 4.29e+09 would not say whether 2**32 is in.
        digits = ".15g" if spec.value_type is int else "g"
        low, high = format(spec.low, digits), format(spec.high, digits)
        bounds = f"at least {low}" if spec.high == math.inf else f"between {low} and {high}"
        raise UserError(f"{path}: {value} is not {bounds}{off}")
    return spec.value_type(value) + 0  # -0.0 is 0.0: equal experiments have equal digests


def parse_value(path: str, word: str, spec: FieldSpec) -> Any:
    """Returns the value that a word of a command line stands for. Raises UserError."""
    if spec.optional and word.lower() == "none":
        return None
    if spec.value_type is str:
        return word
    if spec.value_type is bool:
        return {"true": True, "false": False}.get(word.lower(), word)
    try:
        return spec.value_type(word)
    except ValueError:
        pass
    try:
        return float(word)  # such as 1e4 for a whole number; `check_value` refuses 1.5
    except ValueError:
        expected = "a whole number" if spec.value_type is int else "a number"
        hint = "; separate several values by spaces, not by commas" if "," in word else ""
        raise UserError(f"{path}: expected {expected}, got {word!r}{hint}") from None
