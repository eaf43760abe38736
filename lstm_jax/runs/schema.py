"""What a JSON value has to look like, said by a value of the same look.

None, bool, str, float      that type; a float is a finite number, whole or not
range(0, 10)                a whole number in it
re.compile("[0-9a-f]+")     a string that matches it as a whole
(str, None)                 any of these
[float]                     a list of such entries, of any length
{str: float}                an object whose names and entries all look so
{"step": range(9), "note?": str}    an object of these names; those with a `?` may be missing,
                                    others are not looked at
object                      anything
"""

from __future__ import annotations

import re
import sys
from typing import Any


def check(value: Any, shape: Any, place: str = "it") -> None:
    """Raises ValueError, which names the place, when the value does not look like the shape."""
    if isinstance(shape, tuple):
        if not any(_fits(value, choice) for choice in shape):
            raise ValueError(f"{place} is {_brief(value)}")
    elif isinstance(shape, list) and isinstance(value, list):
        for index, entry in enumerate(value):
            check(entry, shape[0], f"{place}[{index}]")
    elif isinstance(shape, dict) and isinstance(value, dict):
        _check_object(value, shape, place)
    elif not _is_plain(value, shape):
        raise ValueError(f"{place} is {_brief(value)}")


def _check_object(value: dict[str, Any], shape: dict[Any, Any], place: str) -> None:
    for name, inner in shape.items():
        if not isinstance(name, str):  # it says what every name looks like
            for key, entry in value.items():
                check(key, name, f"a name in {place}")
                check(entry, inner, f"{place}.{key}")
        elif (known := name.removesuffix("?")) in value:
            check(value[known], inner, f"{place}.{known}")
        elif known == name:
            raise ValueError(f"{place} has no {name}")


def _fits(value: Any, shape: Any) -> bool:
    try:
        check(value, shape)
    except ValueError:
        return False
    return True


def _is_plain(value: Any, shape: Any) -> bool:
    """Whether a value without entries of its own looks like the shape."""
    if shape is None:
        return value is None
    if isinstance(shape, range):
        return type(value) is int and value in shape
    if isinstance(shape, re.Pattern):
        return isinstance(value, str) and shape.fullmatch(value) is not None
    if shape is float:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max
    return isinstance(shape, type) and isinstance(value, shape)


def _brief(value: Any) -> str:
    return f"a {type(value).__name__}" if isinstance(value, (dict, list)) else repr(value)[:60]
