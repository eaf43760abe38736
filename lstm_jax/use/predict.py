"""Answers of a trained model, on the command line: each task has its own way, in its own file."""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module
from pathlib import Path

from rich.console import Console

from lstm_jax.errors import UserError
from lstm_jax.runs.screen import say
from lstm_jax.use.asked import Asked
from lstm_jax.use.trained import load

WAYS = {  # by task: `predict(trained, asked, tell)` in it
    "images": "lstm_jax.use.predict_images",
    "translation": "lstm_jax.use.predict_translation",
    "captions": "lstm_jax.use.predict_captions",
}


def predict(run_dir: Path, asked: Asked, console: Console, *, member: str | None = None) -> None:
    """Prints the answers. Raises UserError for inputs that the task cannot read."""
    trained = load(run_dir, member, partial(print, file=sys.stderr))
    name = trained.member.task.name
    if name not in WAYS:
        raise UserError(f"predict: there is no way yet to ask a model of the task {name}")
    import_module(WAYS[name]).predict(trained, asked, partial(say, console))
