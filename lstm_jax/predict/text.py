"""Class probabilities of texts, on request after each word.

Axes: N texts, T tokens of a text, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from json import dumps

import numpy as np

from lstm_jax.data.dataset import Say
from lstm_jax.data.tokens import encode_texts, tokenize_text
from lstm_jax.errors import UserError
from lstm_jax.predict import inference
from lstm_jax.predict.answers import Classes
from lstm_jax.predict.predict import PredictOptions, answer_lines, as_texts
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.tasks.task import Batch
from lstm_jax.tasks.text import Text

BATCH_SIZE = 64  # of a batch of several texts, so that few programs are compiled


def predict(trained: TrainedModel, options: PredictOptions, say: Say) -> None:
    """Prints one line for each text: its label, the probability of the label, and unknown words.

    The input - stands for the lines of stdin. Raises UserError, after it has answered the others,
    for a text without a token.
    """
    answer_lines(options, say, "text", lambda text: _answer(trained, text, options))


def classify(trained: TrainedModel, texts: str | Sequence[str]) -> Classes:
    """Returns the classes of texts. Raises UserError for a text without a token."""
    tokens = [tokenize(trained, text) for text in as_texts(texts)]
    return Classes(probabilities(trained, tokens), trained.class_names)


def _answer(trained: TrainedModel, text: str, options: PredictOptions) -> list[str]:
    """Returns the lines of the answer to a text; the last one names the label."""
    classes, known = trained.metadata["classes"], set(trained.metadata["vocabulary"])

    def by_class(row_C: np.ndarray) -> dict[str, float]:
        return {name: round(float(p), 6) for name, p in zip(classes, row_C, strict=True)}

    tokens = tokenize(trained, text)
    beliefs_TC = beliefs(trained, tokens) if options.show_each_time_step else None
    last_C = classify(trained, text).probabilities[0] if beliefs_TC is None else beliefs_TC[-1]
    best = int(np.argmax(last_C))
    label = classes[best]
    if options.json:
        answer = {"text": text, "label": label, "probabilities": by_class(last_C)}
        if beliefs_TC is not None:
            rows = zip(tokens, beliefs_TC, strict=True)
            answer["by_step"] = [[token, by_class(row_C)] for token, row_C in rows]
        return [dumps(answer, ensure_ascii=False)]
    lines = []
    if beliefs_TC is not None:
        width = min(24, max(map(len, tokens)))
        before = 1 / trained.spec.num_outputs
        for token, belief in zip(tokens, beliefs_TC[:, best].tolist(), strict=True):
            mark = " " if token in known else "?"
            bar = "#" * round(20 * belief)
            change = f"{belief:.2f} {belief - before:+.2f}"
            lines.append(f"{token[:24]:{width}}{mark} {label}  {bar:20} {change}")
            before = belief
    unknown = [token for token in tokens if token not in known]
    note = f"; not known: {', '.join(dict.fromkeys(unknown))}" if unknown else ""
    if len(unknown) == len(tokens):
        note += f"; no {text_task(trained).time_step_name} of it was in training: not sure"
    return [*lines, f"{label} ({last_C[best]:.1%}): {text}{note}"]


def text_task(trained: TrainedModel) -> Text:
    """Returns the task. Raises UserError where it does not classify texts."""
    if not isinstance(trained.member.task, Text):
        raise UserError(f"a model of the task {trained.member.task.name} classifies no texts")
    return trained.member.task


def tokenize(trained: TrainedModel, text: str) -> list[str]:
    """Returns the tokens of a text that the model reads. Raises UserError where there are none."""
    task = text_task(trained)
    tokens = tokenize_text(text, task.units)[-max(trained.spec.bucket_lengths) :]
    if not tokens:
        raise UserError(f"predict: {text!r} has no {task.time_step_name} that could be read")
    return tokens


def probabilities(trained: TrainedModel, texts: list[list[str]]) -> np.ndarray:
    """Returns the class probabilities of tokenised texts, float32 [N,C]."""
    results = []
    size = BATCH_SIZE if len(texts) > 1 else 1
    for first in range(0, len(texts), size):
        chunk = texts[first : first + size]
        missing = size - len(chunk)  # a batch is filled up with texts of one token
        lengths = np.array([len(tokens) for tokens in chunk] + [1] * missing, np.int32)
        length = next(bucket for bucket in trained.spec.bucket_lengths if bucket >= lengths.max())
        padded = [*chunk, *([[""]] * missing)]
        batch: Batch = {
            "symbols": encode_texts(padded, trained.metadata["vocabulary"], length),
            "lengths": lengths,
        }
        answers = inference.compiled_answers(trained.spec, trained.ready, trained.fused, batch)
        results.append(np.asarray(answers)[: len(chunk)])
    return np.concatenate(results)


def beliefs(trained: TrainedModel, tokens: list[str]) -> np.ndarray:
    """Returns the class probabilities if the text ended after each token, float32 [T,C].

    The model reads each beginning of the text anew, so it may also read backwards.
    """
    return probabilities(trained, [tokens[: i + 1] for i in range(len(tokens))])
