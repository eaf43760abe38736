"""Answers of a trained model on the command line, by the predictor that its task names."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from rich.console import Console

from lstm_jax.errors import UserError
from lstm_jax.plugins import load_attribute
from lstm_jax.predict.options import PredictOptions
from lstm_jax.predict.trained import load
from lstm_jax.runs.progress import say
from lstm_jax.tasks.forecast import Forecast


def predict(
    run_dir: Path, options: PredictOptions, console: Console, *, member: str | None = None
) -> None:
    """Prints the answers. Raises UserError for inputs that the task cannot read."""
    trained = load(run_dir, member, partial(print, file=sys.stderr))
    task = trained.member.task
    if task.predictor is None:
        raise UserError(f"predict: the task {task.name} names no predictor; see docs/extend.md")
    if options.last is not None and not isinstance(task, Forecast):
        raise UserError(f"predict: --last is for forecasts; this model is of the task {task.name}")
    load_attribute("predictor", task.predictor)(trained, options, partial(say, console))
