"""What a model of language does: five beginnings written on, the past it uses, what counting gets.

Axes: T bytes of a window, B windows.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.config.experiment import Experiment
from lstm_jax.data import language
from lstm_jax.data.dataset import Dataset, num_examples
from lstm_jax.model.fuse import FusedParams
from lstm_jax.predict import inference
from lstm_jax.predict.language import write
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.report import drawing, plots
from lstm_jax.report.drawing import Figure, Table
from lstm_jax.report.figures.model import activation_batch, this_model
from lstm_jax.tasks.task import Batch, ModelSpec

EXAMPLES, GIVEN, WRITTEN = 5, 60, 160  # beginnings, and bytes of each
TEMPERATURE = 0.7
ORDERS = 5


def of_answers(trained: TrainedModel, dataset: Dataset, who: str) -> Iterator[Figure | Table]:
    """Yields texts written on and bits by position on validation, and the floors on the test."""
    train = language.windows_text(dataset.train)
    validation, test = (
        language.streams_text(split) for split in (dataset.validation, dataset.test)
    )
    where = f"{dataset.name}, validation; {who}"
    yield _written(trained, validation, where)
    bits = np.array([[f"{bits:.3f}" for bits in language.ngram_bits_per_byte(train, text, ORDERS)]
                     for text in (validation, test)]).T  # fmt: skip
    names = ["single bytes", *(f"runs of up to {order}" for order in range(2, ORDERS + 1))]
    yield Table(
        "floors",
        "What counting gets",
        f"{dataset.name}; bits per character of models that count runs of bytes in the same "
        "training text, interpolated (Witten and Bell, 1991)",
        ("model", "validation", "test"),
        [
            *this_model(trained),
            *([name, *row] for name, row in zip(names, bits.tolist(), strict=True)),
        ],
    )
    batch = activation_batch(trained, dataset)
    bits_T = _bits_by_position(trained.spec, trained.ready, trained.fused, batch)
    positions = np.arange(1, len(bits_T) + 1)
    yield Figure(
        "bits_by_position",
        "How much the past helps",
        f"{where}; mean over n = {num_examples(batch):,} windows that begin without a past",
        drawing.draw(
            plots.curves,
            {"": (positions, bits_T)},
            ("bytes read", "bits per character"),
        ),
    )


def _written(trained: TrainedModel, text: bytes, where: str) -> Table:
    """Beginnings from places evenly spread over the text, the model's way on, and the text's."""
    rows = []
    given = min(GIVEN, max(1, len(text) // 2))
    for place in np.linspace(0, max(0, len(text) - given - WRITTEN), EXAMPLES).astype(int).tolist():
        beginning = text[place : place + given]
        truth = text[place + given : place + given + WRITTEN]
        written = write(trained, beginning, WRITTEN, TEMPERATURE, seed=0)
        rows.append([part.decode(errors="replace") for part in (beginning, written, truth)])
    return Table(
        "written",
        "Five texts written on",
        f"beginnings from {where}; drawn at temperature {TEMPERATURE}",
        ("beginning", "the model writes", "the text goes on"),
        rows,
    )


@partial(jax.jit, static_argnums=0)
def _sums(
    spec: ModelSpec, member: Experiment, fused: FusedParams, batch: Batch
) -> tuple[jax.Array, jax.Array]:
    outputs = inference.outputs(spec, member, fused, batch)
    items = member.task.per_example(outputs, batch, training=False)
    shape = outputs.shape[:2]
    metric_TB, weight_TB = items.metric.reshape(shape), items.weight.reshape(shape)
    return jnp.sum(metric_TB * weight_TB, axis=1), jnp.sum(weight_TB, axis=1)


def _bits_by_position(
    spec: ModelSpec, member: Experiment, fused: FusedParams, batch: Batch
) -> np.ndarray:
    """Returns the mean bits of the bytes at each position of a window, [T]."""
    bits_T, count_T = _sums(spec, member, fused, batch)
    return np.asarray(bits_T) / np.maximum(1, np.asarray(count_T))
