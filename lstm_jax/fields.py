"""How a field of an experiment is declared: its range or choices, its help, static or traced.

A field takes one value or several. A *static* one decides what program is compiled; a *traced* one
enters the program as an array, so that other values compile nothing again.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lstm_jax.errors import UserError, closest

T = TypeVar("T")

MOST_VALUES = 100_000  # of one field

if TYPE_CHECKING:

    class Axis(Generic[T]):
        """A field is given one value or several; a member's has one, and reads as that."""

        def __get__(self, instance: object, owner: type) -> T: ...
        def __set__(self, instance: object, value: T | tuple[T, ...]) -> None: ...

else:
    Axis = tuple  # annotations are never evaluated


@dataclass(frozen=True)
class FieldSpec:
    """What a field takes, and what becomes of it."""

    kind: type
    help: str
    low: float = -math.inf
    high: float = math.inf
    choices: Callable[[], Iterable[str]] | None = None  # called late: a table may still grow
    check: Callable[[str], str] | None = None  # instead of choices; raises UserError
    traced: bool = False
    data: bool = False  # decides what data is loaded
    log: bool = False  # a search draws from a range of it log-uniformly
    optional: bool = False  # also takes None, which switches it off; off is another program
    option: str | None = None  # its option on the command line, where that is not its name


def axis(default: Any, help: str, *, kind: type | None = None, **spec: Any) -> Any:
    """Declares a field. `spec` are the fields of `FieldSpec`; the kind is that of the default."""
    metadata = {"spec": FieldSpec(kind or type(default), help, **spec)}
    return dataclasses.field(default=default, metadata=metadata)


def field_specs(of: Any) -> dict[str, FieldSpec]:
    """Returns the declarations of a dataclass or an instance of one, by field name."""
    return {f.name: f.metadata["spec"] for f in dataclasses.fields(of) if "spec" in f.metadata}


def checked(path: str, value: Any, spec: FieldSpec) -> Any:
    """Returns one value or a tuple of several, each of the field's kind and within its bounds.

    One value stays one value, also out of a tuple of one: both are the same experiment. Raises
    UserError, which names the field by its path and says which values are good.
    """
    if not isinstance(value, (tuple, list, range)):
        return _checked_one(path, value, spec)
    if len(value) > MOST_VALUES:
        raise UserError(f"{path}: {len(value):,} values are more than {MOST_VALUES:,}")
    values = tuple(_checked_one(path, item, spec) for item in value)
    if not values:
        raise UserError(f"{path}: needs at least one value")
    if len(set(values)) < len(values):
        twice = Counter(values).most_common(1)[0][0]
        raise UserError(f"{path}: {twice} is there twice; every member must be different")
    return values[0] if len(values) == 1 else values


def _checked_one(path: str, value: Any, spec: FieldSpec) -> Any:
    if value is None and spec.optional:
        return None
    if spec.kind is str:
        return _checked_name(path, value, spec)
    if spec.kind is bool:
        if not isinstance(value, bool):
            raise UserError(f"{path}: expected true or false, got {value!r}")
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UserError(f"{path}: expected a number, got {value!r}")
    if spec.kind is int and isinstance(value, float) and not value.is_integer():
        raise UserError(f"{path}: expected a whole number, got {value!r}")
    if not spec.low <= value <= spec.high:  # nan is not, nor an int beyond all floats
        off = "; none switches it off" if spec.optional else ""
        # All digits of a whole number: 4.29e+09 would not say whether 2**32 is in.
        digits = ".15g" if spec.kind is int else "g"
        low, high = format(spec.low, digits), format(spec.high, digits)
        raise UserError(f"{path}: {value} is not between {low} and {high}{off}")
    return spec.kind(value) + 0  # -0.0 is 0.0: equal experiments have equal digests


def _checked_name(path: str, value: Any, spec: FieldSpec) -> str:
    if not isinstance(value, str) or not value:
        raise UserError(f"{path}: expected a name, got {value!r}")
    if spec.check is not None:
        return spec.check(value)
    if spec.choices is not None and value not in (choices := list(spec.choices())):
        near = closest(value, choices)
        raise UserError(f"{path}: {value!r} is not one of {', '.join(choices)}.{near}")
    return value


def parsed(path: str, word: str, spec: FieldSpec) -> Any:
    """Returns the value that a word of a command line stands for. Raises UserError."""
    if spec.optional and word.lower() == "none":
        return None
    if spec.kind is str:
        return word
    if spec.kind is bool:
        return {"true": True, "false": False}.get(word.lower(), word)
    try:
        return spec.kind(word)
    except ValueError:
        pass
    try:
        number = float(word)
    except ValueError:
        kind = "a whole number" if spec.kind is int else "a number"
        hint = "; several stand side by side, without commas" if "," in word else ""
        raise UserError(f"{path}: expected {kind}, got {word!r}{hint}") from None
    return number  # such as 1e4 for a whole number; `checked` refuses 1.5
