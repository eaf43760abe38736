"""Answers of a trained model, on the command line: each task has its own way, `predict` in the
file of this folder that is named after it.
"""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from lstm_jax.errors import UserError
from lstm_jax.runs.screen import say
from lstm_jax.use.asked import Asked
from lstm_jax.use.trained import load


def predict(run_dir: Path, asked: Asked, console: Console, *, member: str | None = None) -> None:
    """Prints the answers. Raises UserError for inputs that the task cannot read."""
    trained = load(run_dir, member, partial(print, file=sys.stderr))
    name = trained.member.task.name
    module = f"lstm_jax.use.predict_{name}"
    if not find_spec(module):
        raise UserError(f"predict: there is no way yet to ask a model of the task {name}")
    if asked.last is not None and name != "forecast":
        raise UserError(f"predict: --last is for forecasts; this is a model of the task {name}")
    import_module(module).predict(trained, asked, partial(say, console))
