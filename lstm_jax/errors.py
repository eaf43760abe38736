"""Exceptions, with the exit codes of the commands that they end, and helpers for messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class UserError(Exception):
    """A mistake of the user. The message is one line that says what to do. Exit code 2."""


class EnvironmentProblem(Exception):
    """A problem with data, disk, device or a lock. Exit code 3."""


class NotReproduced(Exception):
    """A reproduced run differs from its record. Exit code 5.

    The code is not 1: Python itself ends with 1 after an unexpected exception, and so does XLA when
    it refuses its flags.
    """


class DivergedError(Exception):
    """The loss of every member stopped being finite. Exit code 4."""

    def __init__(self, message: str, directory: Path) -> None:
        super().__init__(message)
        self.directory = directory

    def __reduce__(self) -> tuple[type, tuple[str, Path]]:
        """Returns what a pickle needs: a pool of processes waits for ever for a broken one."""
        return type(self), (str(self), self.directory)


def missing_package(option: str, package: str, extra: str) -> EnvironmentProblem:
    """Returns an error that says how to install the package that an option needs."""
    return EnvironmentProblem(
        f"{option} needs {package}: pip install 'lstm_jax[{extra}]', or `make`, whose .venv has it"
    )


# The packages of the extra `experiments`, by the names under which they are imported.
EXPERIMENTS_PACKAGES = {
    "flatbuffers": "flatbuffers",
    "importlib_resources": "importlib_resources",
    "jinja2": "jinja2",
    "matplotlib": "matplotlib",
    "PIL": "pillow",
    "pyarrow": "pyarrow",
    "safetensors": "safetensors",
    "sklearn": "scikit-learn",
    "tensorflow_datasets": "tensorflow-datasets",
}


@contextmanager
def explain_missing_packages() -> Iterator[None]:
    """Raises EnvironmentProblem, which says what to install, where the block misses a package of
    the extra `experiments`.
    """
    try:
        yield
    except ImportError as error:
        # JAX raises an ImportError of its own, whose cause names the package.
        missing = error if error.name else error.__cause__
        package = EXPERIMENTS_PACKAGES.get((getattr(missing, "name", None) or "").partition(".")[0])
        if package is None:
            raise
        raise missing_package("this", package, "experiments") from error


class Interrupted(Exception):
    """Training was stopped and saved; the same command resumes it. Exit code 75."""


class Stopped(Interrupted):
    """The callback of a run stopped it: `run` returns, and the same call resumes it."""


class NothingToSave(Interrupted):
    """A command was stopped by a signal while nothing had to be saved. Exit code 130."""


def one_line(error: BaseException) -> str:
    """Returns the class and the message of an error in one line of limited length."""
    try:
        message = " ".join(str(error).split())[:200]
    except Exception:  # raised by the `__str__` of a user's class
        message = ""
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def did_you_mean(word: str, choices: Iterable[str], prefix: str = "") -> str:
    """Returns ` Did you mean a, b?`, or an empty string when no choice resembles the word.

    `prefix` stands before each choice, such as `--`.
    """
    near = difflib.get_close_matches(word.lower(), list(choices), n=3, cutoff=0.5)
    return f" Did you mean {', '.join(prefix + choice for choice in near)}?" if near else ""
