"""Experiments and runs by name: a file in `experiments/`, a directory in `runs/`."""

from __future__ import annotations

import ast
import os
import re
import runpy
from pathlib import Path

from lstm_jax.errors import UserError, closest, in_a_line
from lstm_jax.experiment import Experiment
from lstm_jax.search import Search, Study

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
    train_examples=20_000,
    seed=(0, 1, 2),
)
# All fields, with their ranges: lstm-jax run {name} --help
'''


def folders() -> list[Path]:
    """Returns where experiments are looked up: here, then in the package, which an installed one
    has, or else beside it (a checkout).
    """
    package = Path(__file__).parent
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
        raise UserError(f"{path}: {in_a_line(error)}") from error
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
            near = closest(name_or_file, available())
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


def own_experiment(name: str) -> Experiment:
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


def find_run(named: str | Path, runs_dir: Path = Path("runs")) -> Path:
    """Returns the directory of a run: given by its path, as `NAME` or `latest` (the run that began
    last), or as `NAME/begin-of-digest`. What is a `Path` is returned as it is.

    Raises UserError when there is none, or more than one.
    """
    from lstm_jax.runs.record import began, run_directories  # a hundredth of a second or two

    if isinstance(named, Path):
        return named
    path, word = Path(named), named
    if (path / "record.json").exists():
        return path
    if word == "latest" or NAME.fullmatch(word):
        found = run_directories(runs_dir, None if word == "latest" else word)
        if found:  # the record of a large run takes seconds to read
            return max(found, key=began) if len(found) > 1 else found[0]
    elif match := re.fullmatch(rf"({NAME.pattern})/([0-9a-f]{{1,12}})(-[0-9]+-of-[0-9]+)?", word):
        name, start, end = match[1], match[2], match[3] or ""
        named_so = run_directories(runs_dir, name, parts=bool(end))
        found = [run for run in named_so if run.name.startswith(start) and run.name[12:] == end]
        if len(found) > 1:
            names = ", ".join(f"{name}/{run.name}" for run in found[:5])
            raise UserError(f"{len(found)} runs begin with {word}: {names}")
        if found:
            return found[0]
    if word and path.is_dir():
        return path
    known = {run.parent.name for run in run_directories(runs_dir)}
    raise UserError(
        f"{word} is no directory and names no run in {runs_dir}.{closest(word, known)} Give a run "
        "directory, NAME, NAME/begin-of-digest or latest; `lstm-jax list` shows them"
    )
