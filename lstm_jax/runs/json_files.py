"""JSON files with a schema and a checksum. A file that was changed is an `EnvironmentProblem`.

A schema is a value that looks like the values it allows:

None, bool, str, float      that type; a float is a finite number, also a whole one
range(0, 10)                a whole number in this range
re.compile("[0-9a-f]+")     a string that matches as a whole
(str, None)                 any of these
[float]                     a list of such entries, of any length
{str: float}                an object in which all names and all entries look like this
{"step": range(9), "note?": str}    an object with these names; `?` marks a name that may be
                                    missing; other names are allowed and are not checked
object                      anything
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

from lstm_jax.errors import EnvironmentProblem
from lstm_jax.runs.files import problem, read_bytes, write_text

MAX_JSON_BYTES = 2**28  # the record of 10,000 members has about 10 MB
MAX_JSON_DEPTH = 16


def write_json(path: Path, value: Any) -> None:
    """Writes a value as JSON: one line for each entry of the two outer levels of objects."""
    write_text(path, _to_lines(value, 2) + "\n")


def _to_lines(value: Any, depth: int, indent: str = "") -> str:
    """Returns JSON with a line for each entry down to this depth.

    This is readable, and ten times as fast as `json.dumps` with an indent.
    """
    if not depth or not value or not isinstance(value, dict):
        return json.dumps(value, allow_nan=False)
    inner = f"{indent}  "
    entries = (
        f"{inner}{json.dumps(name)}: {_to_lines(entry, depth - 1, inner)}"
        for name, entry in value.items()
    )
    return "{\n" + ",\n".join(entries) + f"\n{indent}}}"


def read_json(path: Path, schema: Any = object) -> Any:
    """Returns the value in a file, checked against the schema, or None if there is no file.

    Raises EnvironmentProblem if the file is damaged.
    """
    content = read_bytes(path, MAX_JSON_BYTES)
    if content is None:
        return None
    try:
        value = json.loads(content)
        _check_depth_and_numbers(value)
        check(value, schema)
    except (ValueError, RecursionError) as error:
        raise damaged(path, error) from None
    return value


def _check_depth_and_numbers(value: Any) -> None:
    """Raises ValueError if a value is nested too deep or holds a number that is not finite."""
    level = [value]
    for _ in range(MAX_JSON_DEPTH):
        if any(isinstance(entry, float) and not math.isfinite(entry) for entry in level):
            raise ValueError("a number in it is not finite")
        level = [
            entry
            for outer in level
            if isinstance(outer, (dict, list))
            for entry in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise ValueError(f"it is nested more than {MAX_JSON_DEPTH} deep")


def damaged(path: Path, reason: object) -> EnvironmentProblem:
    """Returns the error for a file whose content is wrong."""
    return problem(
        f"{path} is damaged ({str(reason)[:200]}); move the run directory away to start anew"
    )


def with_checksum(value: dict[str, Any]) -> dict[str, Any]:
    """Returns the object with `sha256`, a checksum over all its other entries.

    A value that was read is undamaged if it equals `with_checksum(value)`.
    """
    body = {name: entry for name, entry in value.items() if name != "sha256"}
    text = json.dumps(body, sort_keys=True)
    return body | {"sha256": hashlib.sha256(text.encode()).hexdigest()}


def check(value: Any, schema: Any, path: str = "it") -> None:
    """Raises ValueError, which names the path of the entry, if a value does not fit the schema."""
    if isinstance(schema, tuple):
        if not any(_fits(value, choice) for choice in schema):
            raise ValueError(f"{path} is {_describe(value)}")
    elif isinstance(schema, list) and isinstance(value, list):
        for index, entry in enumerate(value):
            check(entry, schema[0], f"{path}[{index}]")
    elif isinstance(schema, dict) and isinstance(value, dict):
        for name, inner in schema.items():
            if not isinstance(name, str):  # a schema for all names
                for key, entry in value.items():
                    check(key, name, f"a name in {path}")
                    check(entry, inner, f"{path}.{key}")
            elif (key := name.removesuffix("?")) in value:
                check(value[key], inner, f"{path}.{key}")
            elif key == name:
                raise ValueError(f"{path} has no {name}")
    elif not _fits_plain(value, schema):
        raise ValueError(f"{path} is {_describe(value)}")


def _fits(value: Any, schema: Any) -> bool:
    try:
        check(value, schema)
    except ValueError:
        return False
    return True


def _fits_plain(value: Any, schema: Any) -> bool:
    """Returns whether a value without entries fits the schema."""
    if schema is None:
        return value is None
    if isinstance(schema, range):
        return type(value) is int and value in schema
    if isinstance(schema, re.Pattern):
        return isinstance(value, str) and schema.fullmatch(value) is not None
    if schema is float:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max
    return isinstance(schema, type) and isinstance(value, schema)


def _describe(value: Any) -> str:
    return f"a {type(value).__name__}" if isinstance(value, (dict, list)) else repr(value)[:60]
