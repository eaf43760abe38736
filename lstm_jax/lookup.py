"""Experiments by name: a file in `experiments/` whose `experiment` is the value."""

from __future__ import annotations

import os
import re
import runpy
from pathlib import Path

from lstm_jax.errors import UserError, closest, in_a_line
from lstm_jax.experiment import Experiment
from lstm_jax.search import Search, Study


def folders() -> list[Path]:
    """Returns where experiments are looked up: here, then beside the package (a checkout)."""
    return [Path("experiments"), Path(__file__).parent.parent / "experiments"]


def available() -> list[str]:
    """Returns the names of the experiments at hand."""
    return sorted({path.stem for folder in folders() for path in folder.glob("[a-z]*.py")})


def listing() -> str:
    """Returns the names in one sentence."""
    return f"There are {', '.join(available())}" if available() else "No experiments/ is here"


def load_study(name_or_file: str) -> Study:
    """Returns what a named file holds, or one below the working directory: `experiment`, and
    `search` where it has one.
    """
    path = _find(name_or_file)
    try:
        values = runpy.run_path(str(path))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the file is the user's own program
        raise UserError(f"{path}: {in_a_line(error)}") from error
    experiment, search = values.get("experiment"), values.get("search", Search())
    if not isinstance(experiment, Experiment):
        raise UserError(f"{path} defines no `experiment = Experiment(...)`")
    if not isinstance(search, Search):
        raise UserError(f"{path}: its `search` is no Search(...)")
    try:
        return Study(experiment, search)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _find(name_or_file: str) -> Path:
    if re.fullmatch(r"[A-Za-z0-9_-]{1,100}", name_or_file):
        paths = [folder / f"{name_or_file}.py" for folder in folders()]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            near = closest(name_or_file, available())
            raise UserError(f"no experiment {name_or_file!r}.{near} {listing()}")
        return path
    path = Path(name_or_file)
    if not path.resolve().is_relative_to(Path.cwd().resolve()):
        raise UserError(f"{name_or_file} lies outside the working directory; copy it into it")
    if path.suffix != ".py" or not os.path.isfile(path):  # also of a name too long: no
        raise UserError(f"{name_or_file} is no Python file; give a name or a path to one")
    return path
