"""What gates, cells and gradients did: pure functions of a fused model and a batch.

A member comes as `use.forward.ready` returns it. Axes: B batch, T rows, H hidden.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.config.experiment import Experiment
from lstm_jax.model.forward import apply_head
from lstm_jax.model.fuse import FusedParams
from lstm_jax.predict import inference
from lstm_jax.tasks.task import Batch, ModelSpec

SATURATED = 0.05  # a gate closer than this to 0 or 1 passes almost no gradient


class ActivationSummary(NamedTuple):
    """Of a gate, the cell or the output, over examples and units: float32 [T] each.

    Examples that have ended before a row do not count in it; where all have, it is nan.
    """

    median_T: jax.Array
    lower_T: jax.Array  # quartile
    upper_T: jax.Array  # quartile
    shut_T: jax.Array  # share below SATURATED (of what is no gate: below -1)
    open_T: jax.Array  # share above 1 - SATURATED (of what is no gate: above 1)


def is_gate(name: str) -> bool:
    """Returns whether what is looked at lies between 0 and 1."""
    return name.endswith("gate")


def activations(
    member: Experiment, fused: FusedParams, batch: Batch
) -> dict[str, ActivationSummary]:
    """Returns what may be looked at in the last layer by row: its gates, its cell, its output h."""
    inputs = member.task.inputs(batch)
    found = inference.activations(member, fused, inputs)
    inside_TB = jnp.ones(inputs.x_TBI.shape[:2], bool)
    if inputs.lengths_B is not None:
        rows_T = jnp.arange(len(inside_TB), dtype=jnp.int32)
        inside_TB = rows_T[:, None] < inputs.lengths_B[None]
    gate, other = (SATURATED, 1 - SATURATED), (-1.0, 1.0)
    return {
        name: _summary(values, inside_TB, *(gate if is_gate(name) else other))
        for name, values in found.items()
    }


def accuracy_by_row(member: Experiment, fused: FusedParams, batch: Batch) -> jax.Array:
    """Returns the share of examples whose most probable class after each row is right: [T]."""
    guesses_TB = jnp.argmax(inference.beliefs(member, fused, batch), axis=-1)
    return jnp.mean((guesses_TB == batch["labels"][None]).astype(jnp.float32), axis=1)


def gradient_flow(
    spec: ModelSpec, member: Experiment, fused: FusedParams, batch: Batch
) -> jax.Array:
    """Returns |d loss / d h_t| of each example's own loss, mean over examples: float32 [T].

    h is the last layer's output. A curve that falls towards the first rows vanishes there, one that
    rises explodes.
    """
    task, inputs = member.task, member.task.inputs(batch)

    def loss_of(perturbation_TBH: jax.Array) -> jax.Array:
        h_TBH = inference.activations(member, fused, inputs, perturbation_TBH)["h"]
        if spec.per_step_outputs:
            h = h_TBH
        elif inputs.lengths_B is None:
            h = h_TBH[-1]
        else:
            h = h_TBH[inputs.lengths_B - 1, jnp.arange(len(inputs.lengths_B))]
        items = task.per_example(apply_head(fused, h), batch, training=False)
        return items.loss @ items.weight

    hidden = fused.head_DO.shape[0] - 1
    slopes_TBH = jax.grad(loss_of)(jnp.zeros((*inputs.x_TBI.shape[:2], hidden), jnp.float32))
    # Scaled before they are squared: an exploding gradient is soon beyond the root of the largest
    # float32.
    largest_TB1 = jnp.max(jnp.abs(slopes_TBH), axis=-1, keepdims=True)
    scaled_TBH = slopes_TBH / jnp.where(largest_TB1 > 0, largest_TB1, 1)
    return jnp.mean(largest_TB1[..., 0] * jnp.linalg.norm(scaled_TBH, axis=-1), axis=1)


def _summary(
    values_TBH: jax.Array, inside_TB: jax.Array, low: float, high: float
) -> ActivationSummary:
    counted_TBH = jnp.where(inside_TB[:, :, None], values_TBH, jnp.nan)
    of = jnp.array([0.5, 0.25, 0.75])
    quartiles = jnp.nanquantile(counted_TBH.reshape(len(counted_TBH), -1), of, axis=1)

    def share(is_so_TBH: jax.Array) -> jax.Array:
        so = jnp.where(inside_TB[:, :, None], is_so_TBH.astype(jnp.float32), jnp.nan)
        return jnp.nanmean(so, axis=(1, 2))

    median_T, lower_T, upper_T = quartiles
    return ActivationSummary(
        median_T, lower_T, upper_T, share(values_TBH < low), share(values_TBH > high)
    )
