"""The command `predict`: its options, and the call of the predictor that the task names.

The command line reads the options before JAX starts, so what is heavy is imported inside.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from lstm_jax.errors import UserError
from lstm_jax.plugins import load_attribute


class PredictOptions(NamedTuple):
    """The options of `predict`. Each task reads those that mean something to it."""

    inputs: tuple[str, ...] = ()  # files, sentences, or - for stdin
    json: bool = False  # one JSON object per line
    show_each_time_step: bool = False  # also the answer after each time step
    length: int = 200  # tokens that a language model writes
    temperature: float = 1.0  # sampling temperature; 0 is greedy
    seed: int = 0  # of the samples
    beam: int = 1  # beam size of a decoder; 1 is greedy
    last: Path | None = None  # the file whose end a forecast continues


def predict(
    run_dir: Path,
    options: PredictOptions,
    console: Console,
    *,
    member: str | None = None,
    other_code: bool = False,
) -> None:
    """Prints the answers of a trained model. Raises UserError for inputs that its task cannot read.

    `member` and `other_code` are those of `predict.trained.load`.
    """
    from lstm_jax.predict.trained import load
    from lstm_jax.runs.progress import say
    from lstm_jax.tasks.forecast import Forecast

    trained = load(run_dir, member, partial(print, file=sys.stderr), other_code=other_code)
    task = trained.member.task
    if task.predictor is None:
        raise UserError(f"predict: the task {task.name} names no predictor; see docs/extend.md")
    if options.last is not None and not isinstance(task, Forecast):
        raise UserError(f"predict: --last is for forecasts; this model is of the task {task.name}")
    load_attribute("predictor", task.predictor)(trained, options, partial(say, console))
