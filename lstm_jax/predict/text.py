"""Sentences to classes, with the belief moving word by word if one wants to see it.

Axes: T symbols of a text, C classes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from json import dumps

import numpy as np

from lstm_jax.data import vocabulary
from lstm_jax.data.dataset import Say
from lstm_jax.errors import UserError
from lstm_jax.predict import inference
from lstm_jax.predict.options import PredictOptions
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.tasks.task import Batch
from lstm_jax.tasks.text import Text

BLOCK = 64  # texts answered at a time: one compiled program for each width


def predict(trained: TrainedModel, options: PredictOptions, tell: Say) -> None:
    """Prints a line for each text: its label, the probability of it, and what was not known.

    Raises UserError for a text of which there is nothing to read.
    """
    for text in _texts(options.inputs):
        pieces = cut(trained, text)
        beliefs_TC = beliefs(trained, pieces) if options.rows else None
        last_C = probabilities(trained, [pieces])[0] if beliefs_TC is None else beliefs_TC[-1]
        classes, first = trained.metadata["classes"], int(np.argmax(last_C))
        if options.json:
            answer = {
                "text": text,
                "label": classes[first],
                "probabilities": _by_class(classes, last_C),
            }
            if beliefs_TC is not None:
                rows = zip(pieces, beliefs_TC, strict=True)
                answer["by_step"] = [[piece, _by_class(classes, row_C)] for piece, row_C in rows]
            tell(dumps(answer, ensure_ascii=False))
            continue
        if beliefs_TC is not None:
            _show(trained, pieces, beliefs_TC[:, first], classes[first], tell)
        strange = [piece for piece in pieces if piece not in _known(trained)]
        note = f"; not known: {', '.join(dict.fromkeys(strange))}" if strange else ""
        tell(f"{classes[first]} ({last_C[first]:.1%}): {text}{note}")


def task_of(trained: TrainedModel) -> Text:
    """Returns the task. Raises UserError when it classifies no texts."""
    if not isinstance(trained.member.task, Text):
        raise UserError(f"a model of the task {trained.member.task.name} classifies no texts")
    return trained.member.task


def cut(trained: TrainedModel, text: str) -> list[str]:
    """Returns the symbols that a model reads of a text. Raises UserError where there is none."""
    task = task_of(trained)
    pieces = vocabulary.cut(text, task.unit)[-max(trained.spec.bucket_lengths) :]
    if not pieces:
        raise UserError(f"predict: {text!r} has no {task.time_step_name} that could be read")
    return pieces


def probabilities(trained: TrainedModel, texts: list[list[str]]) -> np.ndarray:
    """Returns class probabilities, float32 [N,C], of texts that were cut into symbols."""
    found = [_answers(trained, texts[i : i + BLOCK]) for i in range(0, len(texts), BLOCK)]
    return np.concatenate(found)


def beliefs(trained: TrainedModel, pieces: list[str]) -> np.ndarray:
    """Returns what the model would answer if the text ended after each symbol, float32 [T,C].

    So one can ask a model that also reads backwards.
    """
    return probabilities(trained, [pieces[: i + 1] for i in range(len(pieces))])


def _answers(trained: TrainedModel, texts: list[list[str]]) -> np.ndarray:
    """Of at most BLOCK texts, in a batch filled up with texts of one symbol."""
    lengths = np.array([len(text) for text in texts] + [1] * (BLOCK - len(texts)), np.int32)
    width = next(w for w in trained.spec.bucket_lengths if w >= lengths.max())
    padded = [*texts, *([[""]] * (BLOCK - len(texts)))]
    batch: Batch = {
        "symbols": vocabulary.encode(padded, trained.metadata["vocabulary"], width),
        "lengths": lengths,
    }
    answers = inference.answer(trained.spec, trained.ready, trained.fused, batch)
    return np.asarray(answers)[: len(texts)]


def _texts(inputs: tuple[str, ...]) -> Iterator[str]:
    """The arguments; for - the lines of stdin."""
    for text in inputs:
        if text == "-":
            yield from (line.strip() for line in sys.stdin if line.strip())
        else:
            yield text


def _show(
    trained: TrainedModel, pieces: list[str], belief_T: np.ndarray, label: str, tell: Say
) -> None:
    """Prints the belief in the label after each symbol, and by how much it moved."""
    wide = min(24, max(map(len, pieces)))
    before = 1 / trained.spec.num_outputs
    for piece, belief in zip(pieces, belief_T.tolist(), strict=True):
        mark = " " if piece in _known(trained) else "?"
        bar = "#" * round(20 * belief)
        tell(f"{piece[:24]:{wide}}{mark} {label}  {bar:20} {belief:.2f} {belief - before:+.2f}")
        before = belief


def _by_class(classes: list[str], row_C: np.ndarray) -> dict[str, float]:
    return {name: round(float(p), 6) for name, p in zip(classes, row_C, strict=True)}


def _known(trained: TrainedModel) -> set[str]:
    return set(trained.metadata["vocabulary"])
