"""Attributes that are loaded by name: `package.module:attribute` or `path/to/file.py:attribute`.

The second form names cells, tasks and figures in users' own files.
"""

from __future__ import annotations

import ast
import importlib
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lstm_jax.errors import UserError, one_line

FILE_ATTRIBUTE = "path/to/file.py:attribute"


def is_file_attribute(name: str) -> bool:
    """Returns whether a name has the form `path/to/file.py:attribute`."""
    return ".py:" in name


def attribute_file(name: str) -> Path:
    """Returns the file of `path/to/file.py:attribute`."""
    return Path(name.rpartition(":")[0])


def defined_names(path: Path) -> list[str]:
    """Returns the names that a Python file gives to classes and to results of calls, in order.

    Parses the file and does not run it. The list is empty where the file cannot be parsed.
    """
    try:
        statements = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return []
    names = []
    for each in statements:
        if isinstance(each, ast.ClassDef):
            names.append(each.name)
        elif isinstance(each, ast.Assign) and isinstance(each.value, ast.Call):
            names += [target.id for target in each.targets if isinstance(target, ast.Name)]
    return names


def load_attribute(
    kind: str,
    name: str,
    fits: Callable[[Any], bool] = callable,
    why_not: Callable[[Any], str] | None = None,
) -> Any:
    """Returns the attribute with this name. A file is run each time.

    `kind` says in messages what the attribute should be, such as `cell`. `fits` returns whether a
    value is of this kind, and `why_not` says why one is not. Raises UserError where the file has no
    such attribute.
    """
    source, _, attribute = name.rpartition(":")
    if not is_file_attribute(name):
        return getattr(importlib.import_module(source), attribute)
    path = Path(source)
    if path.suffix != ".py" or not path.is_file():
        raise UserError(f"{kind} {name!r}: no such file; expected {FILE_ATTRIBUTE}")
    try:
        values = runpy.run_path(str(path))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the file is the user's own program
        raise UserError(f"{kind} {name!r}: {one_line(error)}") from error
    value = values.get(attribute)
    if not fits(value):
        if why_not is not None and attribute in values:
            raise UserError(f"{kind} {name!r}: {attribute} {why_not(value)}")
        others = [key for key, other in values.items() if fits(other)]
        available = f"there are {', '.join(others)}" if others else "there is none"
        raise UserError(f"{kind} {name!r}: {path} has no {kind} {attribute!r}; {available}")
    return value
