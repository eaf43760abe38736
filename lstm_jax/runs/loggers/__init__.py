"""The table of loggers: a new logger is a file and a line here."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lstm_jax.errors import EnvironmentProblem, UserError, did_you_mean
from lstm_jax.plugins import (
    FILE_ATTRIBUTE,
    attribute_file,
    is_file_attribute,
    load_attribute,
)
from lstm_jax.runs.loggers.logger import Logger

# Each is imported when it is asked for: it needs a package of its own.
LOGGERS = {
    "tensorboard": "lstm_jax.runs.loggers.tensorboard:TensorBoard",
    "wandb": "lstm_jax.runs.loggers.wandb:WandB",
    "mlflow": "lstm_jax.runs.loggers.mlflow:MLflow",
}


def make_loggers(loggers: Iterable[Logger | str]) -> list[Logger]:
    """Returns loggers; each is given as one, by its name in the table, or as `file.py:name`.

    Raises UserError for anything else, and EnvironmentProblem where a package is missing.
    """
    return [_make_logger(logger) for logger in loggers]


def _make_logger(logger: Logger | str) -> Logger:
    if isinstance(logger, Logger):
        return logger
    if not isinstance(logger, str):
        raise UserError(f"loggers: {logger!r} is not a Logger; derive its class from it")
    if logger in LOGGERS:
        made: Logger = load_attribute("logger", LOGGERS[logger])()
        return made
    if not is_file_attribute(logger):
        near = did_you_mean(logger, LOGGERS)
        raise UserError(
            f"logger: {logger!r} is not one of {', '.join(LOGGERS)}, nor {FILE_ATTRIBUTE}.{near}"
        )
    value = load_attribute("logger", logger, _is_logger)
    return value() if isinstance(value, type) else value


def logger_files(loggers: Iterable[Logger | str]) -> list[Path]:
    """Returns the files of the loggers that are named as `file.py:name`."""
    named = [each for each in loggers if isinstance(each, str) and is_file_attribute(each)]
    return [attribute_file(each) for each in named]


def _is_logger(value: Any) -> bool:
    if isinstance(value, type):
        return issubclass(value, Logger) and value is not Logger
    return isinstance(value, Logger)


def missing_logger(package: str) -> EnvironmentProblem:
    """Returns an error that says how to install the package that a logger needs."""
    return EnvironmentProblem(f"the logger {package} needs {package}: pip install {package}")
