"""Experiments and runs by name: a file in `experiments/`, a directory in `runs/`."""

from __future__ import annotations

import ast
import os
import re
import runpy
from pathlib import Path

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.search import Search, Study
from lstm_jax.errors import UserError, did_you_mean, one_line

NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
TEMPLATE = '''"""{name}: what it shows, in a line.

    lstm-jax run {name}

Expect ... About ... minutes on ...
"""

from lstm_jax import Experiment, Images

experiment = Experiment(
    task=Images(dataset="digits"),  # or mnist, or any image set of TensorFlow Datasets
    cell=("lstm", "gru"),  # several values in a field: all combinations are trained
    hidden_size=32,
    learning_rate=3e-3,
    total_examples=20_000,
    seed=(0, 1, 2),
)
# All fields, with their ranges: lstm-jax run {name} --help
'''


def folders() -> list[Path]:
    """Returns where experiments are looked up: here, then in the package, which an installed one
    has, or else beside it (a checkout).
    """
    package = Path(__file__).parent.parent
    inside = package / "experiments"
    return [Path("experiments"), inside if inside.is_dir() else package.parent / "experiments"]


def available() -> list[str]:
    """Returns the names of the experiments at hand."""
    return sorted({path.stem for folder in folders() for path in folder.glob("[a-z]*.py")})


def listing() -> str:
    """Returns the names in one sentence."""
    return f"There are {', '.join(available())}" if available() else "No experiments/ is here"


def load_study(name_or_file: str) -> Study:
    """Returns what a named file holds, or one given by its path: `experiment`, and `search` where
    it has one.
    """
    path = _find(name_or_file)
    try:
        values = runpy.run_path(str(path))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the file is the user's own program
        raise UserError(f"{path}: {one_line(error)}") from error
    experiment, search = values.get("experiment"), values.get("search", Search())
    if not isinstance(experiment, Experiment):
        raise UserError(
            f"{path} defines no `experiment = Experiment(...)`"
            + (f", but one that is {experiment!r:.80}" if experiment is not None else "")
        )
    if not isinstance(search, Search):
        raise UserError(f"{path}: its `search` is no Search(...)")
    try:
        return Study(experiment, search)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _find(name_or_file: str) -> Path:
    if NAME.fullmatch(name_or_file):
        path = _named(name_or_file)
        if path is None:
            near = did_you_mean(name_or_file, available())
            raise UserError(f"no experiment {name_or_file!r}.{near} {listing()}")
        return path
    path = Path(name_or_file)
    if path.suffix != ".py" or not os.path.isfile(path):  # also of a name too long: no
        why = "is no Python file" if os.path.exists(path) else "does not exist"
        raise UserError(f"{name_or_file!r} {why}; give a name or the path of a file. {listing()}")
    return path


def _named(name: str) -> Path | None:
    paths = [folder / f"{name}.py" for folder in folders()]
    return next((path for path in paths if path.is_file()), None)


def experiment_or_default(name: str) -> Experiment:
    """Returns the experiment of this name as its file has it, or, where there is none that can be
    read, the one in which every field has its default.
    """
    try:
        return load_study(name).experiment
    except UserError:
        return Experiment()


def descriptions() -> dict[str, str]:
    """Returns what the experiments at hand say of themselves: the docstrings of their files."""
    found = {}
    for name in available():
        path = _named(name)
        try:
            text = ast.get_docstring(ast.parse(path.read_text())) if path else None
        except (OSError, SyntaxError, ValueError) as error:
            text = f"It cannot be read: {error}"
        found[name] = text or "It has no docstring."
    return found


def write_experiment(name: str) -> Path:
    """Writes a file to start from into `experiments/` and returns its path.

    Raises UserError for a name that is taken or cannot be one: nothing is overwritten.
    """
    if not NAME.fullmatch(name):
        raise UserError(f"new: {name!r} is no name: use letters, digits, - and _")
    if taken := _named(name):
        raise UserError(f"new: {name} is an experiment already, {taken}; choose another name")
    path = Path("experiments") / f"{name}.py"
    path.parent.mkdir(exist_ok=True)
    with path.open("x") as file:
        file.write(TEMPLATE.format(name=name))
    return path
