"""What a model of the adding problem answers: a few examples to judge it by."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lstm_jax.data.dataset import Dataset, num_examples
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.report.drawing import Table
from lstm_jax.report.figures.model import first_examples

SHOWN = 5


def of_answers(trained: TrainedModel, dataset: Dataset, who: str) -> Iterator[Table]:
    """Yields the first examples of validation beside their answers."""
    batch = first_examples(trained, dataset, SHOWN)
    answers = trained.outputs(batch)
    sums, places = np.asarray(batch["sums"]), np.asarray(batch["places"])
    numbers = np.take_along_axis(np.asarray(batch["numbers"]), places, axis=1)
    yield Table(
        "answers",
        "What it answers",
        f"{dataset.name}, validation, the first {num_examples(batch)}; {who}",
        ["marked", "in rows", "sum", "answer"],
        [
            [
                " + ".join(f"{value:.3f}" for value in numbers[i]),
                " and ".join(str(place + 1) for place in places[i]),
                f"{sums[i]:.3f}",
                f"{answers[i, 0]:.3f}",
            ]
            for i in range(len(sums))
        ],
    )
