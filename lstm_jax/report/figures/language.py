"""Answers of a language model: texts it continues, use of the past, and models that count bytes.

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
from lstm_jax.model.fused_params import FusedParams
from lstm_jax.predict import inference
from lstm_jax.predict.language import write
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.report import drawing, plots
from lstm_jax.report.drawing import Figure, TextTable
from lstm_jax.report.figures import activation_batch, model_row
from lstm_jax.tasks.task import Batch, ModelSpec

NUM_EXAMPLES = 5
BEGINNING, CONTINUATION = 60, 160  # bytes
TEMPERATURE = 0.7
MAX_ORDER = 5


def answer_figures(
    trained: TrainedModel, dataset: Dataset, member_label: str
) -> Iterator[Figure | TextTable]:
    """Yields texts that the model continues, its score beside models that count bytes, and the bits
    per character at each position of a window.
    """
    train = language.windows_text(dataset.train)
    validation, test = (
        language.streams_text(split) for split in (dataset.validation, dataset.test)
    )
    source = f"{dataset.name}, validation; {member_label}"
    rows = []
    size = min(BEGINNING, max(1, len(validation) // 2))
    last = max(0, len(validation) - size - CONTINUATION)
    for position in np.linspace(0, last, NUM_EXAMPLES).astype(int).tolist():
        beginning = validation[position : position + size]
        original = validation[position + size : position + size + CONTINUATION]
        written = write(trained, beginning, CONTINUATION, TEMPERATURE, seed=0)
        rows.append([text.decode(errors="replace") for text in (beginning, written, original)])
    yield TextTable(
        "written",
        "Five texts continued",
        f"beginnings from {source}; sampled at temperature {TEMPERATURE}",
        ("beginning", "continued by the model", "original text"),
        rows,
    )
    bits = [language.ngram_bits_per_byte(train, text, MAX_ORDER) for text in (validation, test)]
    names = ["single bytes", *(f"runs of up to {order}" for order in range(2, MAX_ORDER + 1))]
    yield TextTable(
        "counting",
        "Bits per character beside models that count bytes",
        f"{dataset.name}; these models count runs of bytes in the same training text, interpolated "
        "as by Witten and Bell (1991); fewer bits are better",
        ("model", "validation", "test"),
        [
            *model_row(trained),
            *(
                [name, *(f"{score:.3f}" for score in scores)]
                for name, *scores in zip(names, *bits, strict=True)
            ),
        ],
    )
    batch = activation_batch(trained, dataset)
    bits_T, count_T = _sums_by_position(trained.spec, trained.ready, trained.fused, batch)
    mean_T = np.asarray(bits_T) / np.maximum(1, np.asarray(count_T))
    curve = np.arange(1, len(mean_T) + 1), mean_T
    yield Figure(
        "bits_by_position",
        "How much the past helps",
        f"{source}; mean over n = {num_examples(batch):,} windows, before each of which the state "
        "is zero",
        drawing.draw(plots.curves, {"": curve}, ("bytes read", "bits per character")),
    )


@partial(jax.jit, static_argnums=0)
def _sums_by_position(
    spec: ModelSpec, member: Experiment, fused: FusedParams, batch: Batch
) -> tuple[jax.Array, jax.Array]:
    """Returns the weighted sum of bits at each position of a window, and the weights: [T] each."""
    outputs = inference.outputs(spec, member, fused, batch)
    scores = member.task.score_items(outputs, batch, training=False)
    shape = outputs.shape[:2]
    metric_TB, weight_TB = scores.metric.reshape(shape), scores.weight.reshape(shape)
    return jnp.sum(metric_TB * weight_TB, axis=1), jnp.sum(weight_TB, axis=1)
