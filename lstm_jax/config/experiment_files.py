"""Experiment files: they are found by name, run, described, and written from a template."""

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

Expect ... It takes about ... minutes on ...
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


def experiment_folders() -> list[Path]:
    """Returns the folders of experiment files: `experiments/` here, then that of the package.

    The package's folder lies inside an installed package, and beside it in a checkout.
    """
    package = Path(__file__).parent.parent
    inside = package / "experiments"
    return [Path("experiments"), inside if inside.is_dir() else package.parent / "experiments"]


def experiment_names() -> list[str]:
    """Returns the names of all experiment files, sorted."""
    return sorted(
        {path.stem for folder in experiment_folders() for path in folder.glob("[a-z]*.py")}
    )


def name_all_experiments() -> str:
    """Returns a sentence with the names of all experiments."""
    names = experiment_names()
    return f"There are {', '.join(names)}" if names else "No experiments/ is here"


def load_study(name_or_file: str) -> Study:
    """Returns the study of an experiment file: its `experiment`, and its `search` if it has one.

    The file is given by its name or its path. Raises UserError where it is not found, fails, or
    defines no experiment.
    """
    if NAME.fullmatch(name_or_file):
        path = _find(name_or_file)
        if path is None:
            near = did_you_mean(name_or_file, experiment_names())
            raise UserError(f"no experiment {name_or_file!r}.{near} {name_all_experiments()}")
    else:
        path = Path(name_or_file)
        if path.suffix != ".py" or not os.path.isfile(path):  # False also for a name too long
            why = "is no Python file" if os.path.exists(path) else "does not exist"
            raise UserError(
                f"{name_or_file!r} {why}; give a name or the path of a file. "
                f"{name_all_experiments()}"
            )
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


def _find(name: str) -> Path | None:
    paths = [folder / f"{name}.py" for folder in experiment_folders()]
    return next((path for path in paths if path.is_file()), None)


def experiment_or_default(name: str) -> Experiment:
    """Returns the experiment of the file with this name, or the default experiment where it cannot
    be loaded.
    """
    try:
        return load_study(name).experiment
    except UserError:
        return Experiment()


def experiment_docstrings() -> dict[str, str]:
    """Returns the docstrings of all experiment files, by name."""
    docstrings = {}
    for name in experiment_names():
        path = _find(name)
        try:
            text = ast.get_docstring(ast.parse(path.read_text())) if path else None
        except (OSError, SyntaxError, ValueError) as error:
            text = f"It cannot be read: {error}"
        docstrings[name] = text or "It has no docstring."
    return docstrings


def write_experiment(name: str) -> Path:
    """Writes a template into `experiments/` and returns its path.

    Raises UserError for an invalid name or one that is taken: nothing is overwritten.
    """
    if not NAME.fullmatch(name):
        raise UserError(f"new: {name!r} is not a valid name: use letters, digits, - and _")
    if taken := _find(name):
        raise UserError(f"new: {name} is an experiment already, {taken}; choose another name")
    path = Path("experiments") / f"{name}.py"
    path.parent.mkdir(exist_ok=True)
    with path.open("x") as file:
        file.write(TEMPLATE.format(name=name))
    return path
