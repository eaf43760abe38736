"""What can go wrong, each with the exit code of the command that ends so."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class UserError(Exception):
    """The user's mistake, in one line that says what to do. Exit code 2."""


class EnvironmentProblem(Exception):
    """Data, disk, device or lock: not the user's mistake, not ours. Exit code 3."""


class NotReproduced(Exception):
    """A run made again is not the one on record. Exit code 5.

    It was 1, with which Python itself ends at a defect, and XLA when it refuses its flags.
    """


class DivergedError(Exception):
    """The loss of every member stopped being finite. Exit code 4. Names the run directory."""

    def __init__(self, message: str, directory: Path) -> None:
        super().__init__(message)
        self.directory = directory


def missing_package(option: str, package: str, extra: str) -> EnvironmentProblem:
    """What to do when an option needs a package that is not here."""
    return EnvironmentProblem(
        f"{option} needs {package}: pip install 'lstm_jax[{extra}]', or `make`, whose .venv has it"
    )


# What the extra `experiments` brings, by the name under which it is imported.
EXPERIMENTS = {
    "flatbuffers": "flatbuffers",
    "importlib_resources": "importlib_resources",
    "jinja2": "jinja2",
    "matplotlib": "matplotlib",
    "PIL": "pillow",
    "safetensors": "safetensors",
    "sklearn": "scikit-learn",
    "tensorflow_datasets": "tensorflow-datasets",
}


@contextmanager
def explain_missing_packages() -> Iterator[None]:
    """Says what to install where the block misses a package of the extra `experiments`."""
    try:
        yield
    except ImportError as error:
        # JAX says in words of its own that one is missing.
        missing = error if error.name else error.__cause__
        package = EXPERIMENTS.get((getattr(missing, "name", None) or "").partition(".")[0])
        if package is None:
            raise
        raise missing_package("this", package, "experiments") from error


class Interrupted(Exception):
    """Stopped by a signal after saving; the same command goes on. Exit code 75."""


class NothingToSave(Interrupted):
    """Stopped by a signal while nothing had to be saved. Exit code 130."""


def one_line(error: BaseException) -> str:
    """Returns the kind of an error and what it says, if it can say anything, in one short line."""
    try:
        said = " ".join(str(error).split())[:200]
    except Exception:  # of somebody's own class
        said = ""
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def did_you_mean(word: str, choices: Iterable[str], prefix: str = "") -> str:
    """Returns ` Did you mean a, b?`, each choice behind the prefix; "" where none resembles it."""
    near = difflib.get_close_matches(word.lower(), list(choices), n=3, cutoff=0.5)
    return f" Did you mean {', '.join(prefix + choice for choice in near)}?" if near else ""
