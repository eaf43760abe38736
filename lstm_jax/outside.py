"""What users write in files of their own: `path/to/file.py:attribute` names a cell or a task."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lstm_jax.errors import UserError, in_a_line

EXPECTED = "path/to/file.py:attribute"


def is_outside(name: str) -> bool:
    """Returns whether a name is that of an attribute of a file."""
    return ".py:" in name


def from_file(what: str, name: str, fits: Callable[[Any], bool]) -> Any:
    """Returns the attribute that a name stands for, of the file as it is now; `fits` tells a `what`
    from other values. Raises UserError where there is none.
    """
    file, _, attribute = name.rpartition(":")
    path = Path(file)
    if path.suffix != ".py" or not path.is_file():
        raise UserError(f"{what} {name!r}: no such file; expected {EXPECTED}")
    try:
        values = runpy.run_path(str(path))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the file is the user's own program
        raise UserError(f"{what} {name!r}: {in_a_line(error)}") from error
    found = values.get(attribute)
    if not fits(found):
        others = [key for key, value in values.items() if fits(value)]
        there = f"there are {', '.join(others)}" if others else "there is none"
        raise UserError(f"{what} {name!r}: {path} has no {what} {attribute!r}; {there}")
    return found
