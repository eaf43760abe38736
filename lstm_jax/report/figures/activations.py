"""Gates, cell state and output of the last layer, summarised over time.

Axes: B batch, T time steps, H hidden.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.config.experiment import Experiment
from lstm_jax.data.dataset import Dataset, num_examples
from lstm_jax.model import forward
from lstm_jax.model.fused_params import FusedParams
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.report import drawing, plots
from lstm_jax.report.drawing import Figure
from lstm_jax.report.figures import activation_batch, inside
from lstm_jax.tasks.task import Batch

SATURATED = 0.05  # a gate closer than this to 0 or 1 passes almost no gradient


class ActivationSummary(NamedTuple):
    """A gate, the cell state or the output over examples and units: float32 [T] each.

    An example counts until it ends. A time step that no example reaches is nan.
    """

    median_T: jax.Array
    lower_T: jax.Array  # quartile
    upper_T: jax.Array  # quartile
    closed_T: jax.Array  # fraction below SATURATED; below -1 where it is no gate
    open_T: jax.Array  # fraction above 1 - SATURATED; above 1 where it is no gate


def is_gate(name: str) -> bool:
    """Returns whether an activation of this name is a gate, whose values lie between 0 and 1."""
    return name.endswith("gate")


def activation_figures(
    trained: TrainedModel, dataset: Dataset, member_label: str
) -> Iterator[Figure]:
    """Yields the gates and their saturation where the cell has gates, then the cell state, or the
    output where there is none. Yields nothing for a model whose layers do not all run forwards.
    """
    member = trained.member
    if not forward.can_trace(member, trained.spec):
        return
    batch = activation_batch(trained, dataset)
    summaries = jax.jit(summarise_activations)(trained.ready, trained.fused, batch)
    source = f"{dataset.name}, validation, n = {num_examples(batch):,}; {member_label}"
    if member.layers > 1:
        source += f"; layer {member.layers} of {member.layers}"
    caption = f"{source}; median over examples and units, band from lower to upper quartile"
    time_step = member.task.time_step_name
    x_T = np.arange(1, len(summaries["h"].median_T) + 1)
    gates = {name: summary for name, summary in summaries.items() if is_gate(name)}
    if gates:
        bands = {name: summary[:3] for name, summary in gates.items()}
        yield Figure(
            "gates", "Gates", caption, drawing.draw(plots.bands, bands, (time_step, "gate"))
        )
        saturated = {
            f"{name}, {state}": (x_T, fraction_T)
            for name, summary in gates.items()
            for state, fraction_T in (("closed", summary.closed_T), ("open", summary.open_T))
        }
        yield Figure(
            "saturation",
            "Saturated gates",
            f"{source}; fraction of units below {SATURATED} (closed) and above {1 - SATURATED} "
            "(open)",
            drawing.draw(plots.curves, saturated, (time_step, "fraction")),
        )
    if "cell" in summaries:
        name, title, symbol = "cell", "Cell state", "c"
        quartiles = {"cell": summaries["cell"][:3]}
    else:
        name, title, symbol = "output", "Output", "h"
        quartiles = {"h": summaries["h"][:3]}
    band = drawing.draw(plots.bands, quartiles, (time_step, symbol))
    yield Figure(name, title, caption, band)


def summarise_activations(
    member: Experiment, fused: FusedParams, batch: Batch
) -> dict[str, ActivationSummary]:
    """Returns the activations of the last layer by name, each summarised at every time step.

    `member` is as `predict.inference.ready` returns it.
    """
    inputs = member.task.inputs(batch)
    inside_TB = inside(inputs).astype(bool)

    def fraction_T(holds_TBH: jax.Array) -> jax.Array:
        counted_TBH = jnp.where(inside_TB[:, :, None], holds_TBH.astype(jnp.float32), jnp.nan)
        return jnp.nanmean(counted_TBH, axis=(1, 2))

    summaries = {}
    for name, values_TBH in forward.trace_last_layer(member, fused, inputs).items():
        low, high = (SATURATED, 1 - SATURATED) if is_gate(name) else (-1.0, 1.0)
        counted_TBH = jnp.where(inside_TB[:, :, None], values_TBH, jnp.nan)
        median_T, lower_T, upper_T = jnp.nanquantile(
            counted_TBH.reshape(len(counted_TBH), -1), jnp.array([0.5, 0.25, 0.75]), axis=1
        )
        summaries[name] = ActivationSummary(
            median_T, lower_T, upper_T, fraction_T(values_TBH < low), fraction_T(values_TBH > high)
        )
    return summaries
