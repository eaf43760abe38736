"""Example answers of the memory tasks: adding and copying."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lstm_jax.data.dataset import Dataset, num_examples
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.report.drawing import TextTable
from lstm_jax.report.figures import first_examples
from lstm_jax.tasks.memory import BLANK, NUM_REMEMBERED

NUM_EXAMPLES = 5


def adding_figures(
    trained: TrainedModel, dataset: Dataset, member_label: str
) -> Iterator[TextTable]:
    """Yields a table of the first validation examples of adding and the model's answers."""
    batch = first_examples(trained, dataset, NUM_EXAMPLES)
    answers = trained.outputs(batch)
    sums, positions = np.asarray(batch["sums"]), np.asarray(batch["places"])
    numbers = np.take_along_axis(np.asarray(batch["numbers"]), positions, axis=1)
    yield TextTable(
        "answers",
        "Example answers",
        f"{dataset.name}, the first {num_examples(batch)} of validation; {member_label}",
        ["marked numbers", "at time steps", "correct sum", "answer"],
        [
            [
                " + ".join(f"{value:.3f}" for value in numbers[i]),
                " and ".join(str(position + 1) for position in positions[i]),
                f"{sums[i]:.3f}",
                f"{answers[i, 0]:.3f}",
            ]
            for i in range(len(sums))
        ],
    )


def copying_figures(
    trained: TrainedModel, dataset: Dataset, member_label: str
) -> Iterator[TextTable]:
    """Yields a table of the first validation examples of copying and what the model recalls."""

    def letters(symbols: np.ndarray) -> str:
        return "".join("." if symbol == BLANK else "ABCDEFGH"[symbol] for symbol in symbols)

    batch = first_examples(trained, dataset, NUM_EXAMPLES)
    answers = trained.outputs(batch)[-NUM_REMEMBERED:].argmax(axis=-1).T
    symbols = np.asarray(batch["symbols"])
    yield TextTable(
        "answers",
        "Example answers",
        f"{dataset.name}, the first {num_examples(batch)} of validation; {member_label}; a dot is "
        "a blank",
        ["symbols to remember", "symbols recalled"],
        [[letters(row) for row in pair] for pair in zip(symbols, answers, strict=True)],
    )
