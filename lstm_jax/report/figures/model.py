"""What is inside a trained model of any task: its gates, its cell, its output, row by row."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.data.dataset import Dataset, num_examples
from lstm_jax.predict import inference
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.report import diagnostics, drawing, plots
from lstm_jax.report.drawing import Figure
from lstm_jax.tasks.task import Batch

MAX_TIME_STEPS = 14_000  # of validation, by the diagnostics: 500 images of 28 rows


def first_examples(trained: TrainedModel, dataset: Dataset, count: int) -> Batch:
    """Returns the first examples of validation: the test set is for one number only."""
    size = min(count, num_examples(dataset.validation))
    index_B = jnp.arange(size, dtype=jnp.int32)
    return trained.member.task.gather(dataset.validation, index_B)


def this_model(trained: TrainedModel) -> list[list[str]]:
    """Returns the row of a table in which a model stands beside simpler ones: its metric on
    validation and on the test; no row while it is unfinished.
    """
    if trained.result is None:
        return []
    scores = trained.result.validation_metric, trained.result.test_metric
    return [["this model", *(f"{score:.3f}" for score in scores)]]


def of_insides(trained: TrainedModel, dataset: Dataset, who: str) -> Iterator[Figure]:
    """Yields, by row, the gates of a model that can be looked into, and its cell or output."""
    if inference.has_one_way(trained.member, trained.spec):
        batch = activation_batch(trained, dataset)
        where = f"{dataset.name}, validation, n = {num_examples(batch):,}; {who}"
        yield from _of_activations(trained, batch, where)


def activation_batch(trained: TrainedModel, dataset: Dataset) -> Batch:
    """Returns as many examples of validation as the diagnostics look at."""
    one = first_examples(trained, dataset, 1)
    rows = jax.eval_shape(trained.ready.task.inputs, one).x_TBI.shape[0]
    return first_examples(trained, dataset, max(50, MAX_TIME_STEPS // rows))


def _of_activations(trained: TrainedModel, batch: Batch, where: str) -> Iterator[Figure]:
    """Gates and their saturation, in cells that have any; the cell, or else the output."""
    found = jax.jit(diagnostics.activations)(trained.ready, trained.fused, batch)
    step, last = trained.member.task.time_step_name, trained.member.layers
    layer = f"{where}; layer {last} of {last}" if last > 1 else where
    steps = np.arange(1, len(found["h"].median_T) + 1)
    gates = {name: look for name, look in found.items() if diagnostics.is_gate(name)}
    means = f"{layer}; median over examples and units, band from the lower to the upper quartile"
    if gates:
        lines = {name: look[:3] for name, look in gates.items()}
        yield Figure("gates", "The gates", means, drawing.draw(plots.bands, lines, (step, "gate")))
        full = {
            f"{name}, {way}": (steps, share)
            for name, look in gates.items()
            for way, share in (("shut", look.shut_T), ("open", look.open_T))
        }
        yield Figure(
            "saturation",
            "Saturated gates",
            f"{layer}; share of units below {diagnostics.SATURATED} (shut) and above "
            f"{1 - diagnostics.SATURATED} (open)",
            drawing.draw(plots.curves, full, (step, "share")),
        )
    name, title, symbol = ("cell", "cell", "c") if "cell" in found else ("output", "h", "h")
    look = found["cell" if name == "cell" else "h"]
    quartiles = drawing.draw(plots.bands, {title: look[:3]}, (step, symbol))
    yield Figure(name, f"The {name}", means, quartiles)
