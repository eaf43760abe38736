"""Experiment files: they are found by name, run, described, and written from a template."""

from __future__ import annotations

import ast
import os
import re
import runpy
import textwrap
from pathlib import Path
from textwrap import indent

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.search import Search, Study
from lstm_jax.data.dataset import Say, say_nothing
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


TEMPLATE_OF_DATA = '''"""{name}: {task_class} of {file}.

    lstm-jax data {name}     # what is read of it
    lstm-jax run {name}

Expect ... It takes about ... minutes on ...
"""

from lstm_jax import Experiment, {task_class}

{comment}
experiment = Experiment(
    task={task},
    cell="lstm",
    hidden_size=64,
    learning_rate=3e-3,
    batch_size=32,
    total_epochs={total_epochs},
    seed=(0, 1, 2),
)
# All fields, with their ranges: lstm-jax run {name} --help
'''
TOTAL_EPOCHS = {"forecast": 20, "translation": 10, "language": 1}  # of the other tasks: 5


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
    if not NAME.fullmatch(name):  # the name of a folder of runs: no path that may be run
        return Experiment()
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


def write_experiment(name: str, data: Path | None = None, say: Say = say_nothing) -> Path:
    """Writes a template, or an experiment that reads a user's file or folder, into `experiments/`.

    Returns its path. `say` prints what was understood of the data. Raises UserError for an invalid
    name or one that is taken, because nothing is overwritten, and as `readings_of` does.
    """
    if not NAME.fullmatch(name):
        raise UserError(f"new: {name!r} is not a valid name: use letters, digits, - and _")
    if taken := _find(name):
        raise UserError(f"new: {name} is an experiment already, {taken}; choose another name")
    source = TEMPLATE.format(name=name) if data is None else _experiment_of_data(name, data, say)
    path = Path("experiments") / f"{name}.py"
    path.parent.mkdir(exist_ok=True)
    with path.open("x", encoding="utf-8") as file:
        file.write(source)
    return path


def _experiment_of_data(name: str, data: Path, say: Say) -> str:
    """Returns the source of an experiment that reads a file, with what was understood of it, which
    `say` prints too.
    """
    from lstm_jax.config.data_files import readings_of, source_of

    first, *others = readings_of(data)
    say(f"{data.name}: {first.understood}")
    lines = textwrap.wrap(f"{data.name}: {first.understood}", 96)
    for other in others:
        say(f"Or: {other.understood}")
        lines += ["", *textwrap.wrap(f"Or: {other.understood}", 96)]
        lines += indent(f"task={source_of(other.task)},", "    ").split("\n")
    return TEMPLATE_OF_DATA.format(
        name=name,
        file=data.name,
        task_class=type(first.task).__name__,
        comment="\n".join(f"# {line}".rstrip() for line in lines),
        task=indent(source_of(first.task), "    ").strip(),
        total_epochs=TOTAL_EPOCHS.get(first.task.name, 5),
    )
