"""The command `predict`: its options, and the call of the predictor that the task names.

The command line reads the options before JAX starts, so what is heavy is imported inside.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from json import dumps
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from lstm_jax.data.dataset import Say
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


def answer_lines(
    options: PredictOptions, say: Say, noun: str, answer: Callable[[str], list[str]]
) -> None:
    """Prints the answer to each text: that of a word of the command line, or of a line of stdin
    where the word is -.

    A line of stdin ends with a line feed alone. One that cannot be read is answered too, with the
    reason and its number, so that with `json` the answers stand beside the lines. `noun` names the
    text in the JSON object. Raises UserError for the name of a file, and at the end if a text could
    not be read.
    """
    from lstm_jax.data.files import decode_lines
    from lstm_jax.data.readers import READERS

    texts = list[tuple[str, str]]()  # each with where it stands
    for word in options.inputs:
        if word != "-":
            if os.path.isfile(word):
                if Path(word).suffix.lower() in READERS:
                    raise UserError(
                        f"predict: {word} is a table, not a {noun}; give - and its {noun}s alone, "
                        "one a line, on stdin, or read the column in Python, as docs/predict.md "
                        "shows; `lstm-jax score` scores a table that has the right answers too"
                    )
                raise UserError(
                    f"predict: {word} is a file, not a {noun}; for an answer to each of its lines, "
                    f"give -, with the file as stdin: - < {word}"
                )
            texts.append(("", word))
            continue
        lines = decode_lines(sys.stdin.buffer.read(), "stdin")
        texts += [(f"line {number} of stdin", line) for number, line in enumerate(lines, 1)]
    num_failed = 0
    for where, text in texts:
        try:
            lines = answer(text)
        except UserError as error:
            if len(texts) == 1:
                raise
            num_failed += 1
            reason = ": ".join(filter(None, (where, str(error).removeprefix("predict: "))))
            lines = [dumps({noun: text, "error": reason}, ensure_ascii=False)]
            lines = lines if options.json else [f"({reason})"]
        for line in lines:
            say(line)
    if num_failed:
        raise UserError(
            f"{num_failed:,} of {len(texts):,} texts could not be read; the answer to each says why"
        )


def as_texts(inputs: str | Sequence[str]) -> list[str]:
    """Returns one text or several as a list. Raises UserError for anything else, and for none."""
    texts = [inputs] if isinstance(inputs, str) else list(inputs)
    if not texts or not all(isinstance(text, str) for text in texts):
        raise UserError("predict: give a text, or a list of texts")
    return texts


def predict(
    run_dir: Path,
    options: PredictOptions,
    console: Console,
    *,
    member: str | None = None,
    other_code: bool = False,
    trust_code: bool = False,
) -> None:
    """Prints the answers of a trained model. Raises UserError for inputs that its task cannot read.

    `member`, `other_code` and `trust_code` are those of `predict.trained.load`.
    """
    from lstm_jax.predict.trained import load
    from lstm_jax.runs.progress import say
    from lstm_jax.tasks.forecast import Forecast

    log = partial(print, file=sys.stderr)
    trained = load(run_dir, member, log, other_code=other_code, trust_code=trust_code)
    task = trained.member.task
    if task.predictor is None:
        raise UserError(f"predict: the task {task.name} names no predictor; see docs/extend.md")
    if options.last is not None and not isinstance(task, Forecast):
        raise UserError(f"predict: --last is for forecasts; this model is of the task {task.name}")
    load_attribute("predictor", task.predictor)(trained, options, partial(say, console))
