"""Experiments by name: a file in `experiments/` whose `experiment` is the value."""

from __future__ import annotations

import os
import re
import runpy
from pathlib import Path

from lstm_jax.errors import UserError, closest
from lstm_jax.experiment import Experiment


def folders() -> list[Path]:
    """Where experiments are looked up: here, then beside the package (a checkout)."""
    return [Path("experiments"), Path(__file__).parent.parent / "experiments"]


def available() -> list[str]:
    """Names of the experiments at hand."""
    return sorted({path.stem for folder in folders() for path in folder.glob("[a-z]*.py")})


def listing() -> str:
    return f"There are {', '.join(available())}" if available() else "No experiments/ is here"


def load_experiment(name_or_file: str) -> Experiment:
    """The value `experiment` of a named file, or of one below the working directory."""
    if re.fullmatch(r"[A-Za-z0-9_-]{1,100}", name_or_file):
        found = [folder / f"{name_or_file}.py" for folder in folders()]
        path = next((path for path in found if path.is_file()), None)
        if path is None:
            near = closest(name_or_file, available())
            raise UserError(f"no experiment {name_or_file!r}.{near} {listing()}")
    else:
        path = Path(name_or_file)
        if not path.resolve().is_relative_to(Path.cwd().resolve()):
            raise UserError(f"{name_or_file} lies outside the working directory; copy it into it")
        if path.suffix != ".py" or not os.path.isfile(path):  # also of a name too long: no
            raise UserError(f"{name_or_file} is no Python file; give a name or a path to one")
    try:
        experiment = runpy.run_path(str(path)).get("experiment")
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (Exception, SystemExit) as error:  # the file is the user's own program
        raise UserError(f"{path}: {type(error).__name__}: {error}") from error
    if not isinstance(experiment, Experiment):
        raise UserError(f"{path} defines no `experiment = Experiment(...)`")
    return experiment
