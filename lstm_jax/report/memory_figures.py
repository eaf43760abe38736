"""What a model of a memory task answers: a few examples to judge it by."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import jax
import numpy as np

from lstm_jax.data import Dataset
from lstm_jax.report.figures import Table
from lstm_jax.report.model_figures import first_examples
from lstm_jax.tasks.memory import BLANK, REMEMBERED, Adding
from lstm_jax.train import model
from lstm_jax.use.trained import Trained

SHOWN = 5


def of_answers(trained: Trained, dataset: Dataset, who: str) -> Iterator[Table]:
    """Yields the first examples of validation beside their answers."""
    batch = first_examples(trained, dataset, SHOWN)
    inputs = trained.ready.task.inputs(batch)
    run = jax.jit(partial(model.outputs, trained.ready, trained.ends))
    outputs = np.asarray(run(trained.folded, inputs))
    where = f"{dataset.name}, validation, the first {len(next(iter(batch.values())))}; {who}"
    if isinstance(trained.member.task, Adding):
        sums, places = np.asarray(batch["sums"]), np.asarray(batch["places"])
        numbers = np.take_along_axis(np.asarray(batch["numbers"]), places, axis=1)
        yield Table(
            "answers",
            "What it answers",
            where,
            ["marked", "in rows", "sum", "answer"],
            [
                [
                    " + ".join(f"{value:.3f}" for value in numbers[i]),
                    " and ".join(str(place + 1) for place in places[i]),
                    f"{sums[i]:.3f}",
                    f"{outputs[i, 0]:.3f}",
                ]
                for i in range(len(sums))
            ],
        )
        return
    symbols, said = np.asarray(batch["symbols"]), outputs[-REMEMBERED:].argmax(axis=-1).T
    yield Table(
        "answers",
        "What it recalls",
        f"{where}; a dot is a blank",
        ["to remember", "recalled"],
        [[_letters(row) for row in pair] for pair in zip(symbols, said, strict=True)],
    )


def _letters(symbols: np.ndarray) -> str:
    return "".join("." if symbol == BLANK else "ABCDEFGH"[symbol] for symbol in symbols)
