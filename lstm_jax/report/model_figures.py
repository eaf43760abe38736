"""What is inside a trained model of any task: its gates, its cell, its output, row by row."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.data import Dataset, num_examples
from lstm_jax.report import diagnose, figures, plots
from lstm_jax.report.figures import Figure
from lstm_jax.tasks.task import Batch
from lstm_jax.use import forward
from lstm_jax.use.trained import Trained

ROWS_LOOKED_AT = 14_000  # of validation, by the diagnostics: 500 images of 28 rows


def first_examples(trained: Trained, dataset: Dataset, count: int) -> Batch:
    """Returns the first examples of validation: the test set is for one number only."""
    size = min(count, num_examples(dataset.validation))
    index_B = jnp.arange(size, dtype=jnp.int32)
    return trained.member.task.gather(dataset.validation, index_B)


def this_model(trained: Trained) -> list[list[str]]:
    """Returns the row of a table in which a model stands beside simpler ones: its metric on
    validation and on the test; no row while it is unfinished.
    """
    if trained.result is None:
        return []
    scores = trained.result.validation_metric, trained.result.test_metric
    return [["this model", *(f"{score:.3f}" for score in scores)]]


def of_insides(trained: Trained, dataset: Dataset, who: str) -> Iterator[Figure]:
    """Yields, by row, the gates of a model that can be looked into, and its cell or output."""
    if forward.has_one_way(trained.member, trained.ends):
        batch = look_batch(trained, dataset)
        where = f"{dataset.name}, validation, n = {num_examples(batch):,}; {who}"
        yield from _of_looks(trained, batch, where)


def look_batch(trained: Trained, dataset: Dataset) -> Batch:
    """Returns as many examples of validation as the diagnostics look at."""
    one = first_examples(trained, dataset, 1)
    rows = jax.eval_shape(trained.ready.task.inputs, one).x_TBI.shape[0]
    return first_examples(trained, dataset, max(50, ROWS_LOOKED_AT // rows))


def _of_looks(trained: Trained, batch: Batch, where: str) -> Iterator[Figure]:
    """Gates and their saturation, in cells that have any; the cell, or else the output."""
    found = jax.jit(diagnose.looks)(trained.ready, trained.folded, batch)
    step, last = trained.member.task.step_name, trained.member.layers
    layer = f"{where}; layer {last} of {last}" if last > 1 else where
    steps = np.arange(1, len(found["h"].median_T) + 1)
    gates = {name: look for name, look in found.items() if diagnose.is_gate(name)}
    means = f"{layer}; median over examples and units, band from the lower to the upper quartile"
    if gates:
        lines = {name: look[:3] for name, look in gates.items()}
        yield Figure("gates", "The gates", means, figures.draw(plots.bands, lines, (step, "gate")))
        full = {
            f"{name}, {way}": (steps, share)
            for name, look in gates.items()
            for way, share in (("shut", look.shut_T), ("open", look.open_T))
        }
        yield Figure(
            "saturation",
            "Saturated gates",
            f"{layer}; share of units below {diagnose.SATURATED} (shut) and above "
            f"{1 - diagnose.SATURATED} (open)",
            figures.draw(plots.curves, full, (step, "share")),
        )
    name, title, symbol = ("cell", "cell", "c") if "cell" in found else ("output", "h", "h")
    look = found["cell" if name == "cell" else "h"]
    drawing = figures.draw(plots.bands, {title: look[:3]}, (step, symbol))
    yield Figure(name, f"The {name}", means, drawing)
