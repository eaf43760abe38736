"""What a model of the copying problem recalls: a few examples to judge it by."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lstm_jax.data.dataset import Dataset, num_examples
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.report.drawing import Table
from lstm_jax.report.figures.model import first_examples
from lstm_jax.tasks.memory import BLANK, NUM_REMEMBERED

SHOWN = 5


def of_answers(trained: TrainedModel, dataset: Dataset, who: str) -> Iterator[Table]:
    """Yields the first examples of validation beside what is recalled of them."""
    batch = first_examples(trained, dataset, SHOWN)
    said = trained.outputs(batch)[-NUM_REMEMBERED:].argmax(axis=-1).T
    symbols = np.asarray(batch["symbols"])
    yield Table(
        "answers",
        "What it recalls",
        f"{dataset.name}, validation, the first {num_examples(batch)}; {who}; a dot is a blank",
        ["to remember", "recalled"],
        [[_letters(row) for row in pair] for pair in zip(symbols, said, strict=True)],
    )


def _letters(symbols: np.ndarray) -> str:
    return "".join("." if symbol == BLANK else "ABCDEFGH"[symbol] for symbol in symbols)
