"""What gates, cells and gradients did: pure functions of a folded model (`train.fold`) and images.

Axes: B images, T rows, I pixels a row, H hidden, C classes.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.cells.lstm import lstm_trace
from lstm_jax.train.model import FoldedRowLSTM, apply_folded, read_out
from lstm_jax.train.step import scale

SATURATED = 0.05  # a gate closer than this to 0 or 1 passes almost no gradient


class Gate(NamedTuple):
    """Of one gate or of the cell, over images and units: float32 [T] each."""

    mean_T: jax.Array
    sd_T: jax.Array
    low_T: jax.Array  # share below SATURATED (of the cell: below -1)
    high_T: jax.Array  # share above 1 - SATURATED (of the cell: above 1)


def probabilities(folded: FoldedRowLSTM, images_BTI: jax.Array) -> jax.Array:
    """Class probabilities of uint8 images: float32 [B,C]."""
    return jax.nn.softmax(apply_folded(folded, scale(images_BTI)))


def beliefs(folded: FoldedRowLSTM, images_BTI: jax.Array) -> jax.Array:
    """Class probabilities after each row read, as if it were the last: float32 [T,B,C]."""
    trace = lstm_trace(scale(images_BTI).swapaxes(0, 1), folded.kernel_KG)
    return jax.nn.softmax(read_out(folded, trace.h))


def accuracy_by_row(folded: FoldedRowLSTM, images_BTI: jax.Array, labels_B: jax.Array) -> jax.Array:
    """Share of images whose most probable class after each row is right: float32 [T]."""
    guesses_TB = jnp.argmax(beliefs(folded, images_BTI), axis=-1)
    return jnp.mean((guesses_TB == labels_B[None]).astype(jnp.float32), axis=1)


def gates(folded: FoldedRowLSTM, images_BTI: jax.Array) -> dict[str, Gate]:
    """Input, forget and output gate and the cell by row, over images and units."""
    trace = lstm_trace(scale(images_BTI).swapaxes(0, 1), folded.kernel_KG)
    bounds = (SATURATED, 1 - SATURATED)
    return {
        "input gate": _summary(trace.i, *bounds),
        "forget gate": _summary(trace.f, *bounds),
        "output gate": _summary(trace.o, *bounds),
        "cell": _summary(trace.c, -1.0, 1.0),
    }


def gradient_flow(folded: FoldedRowLSTM, images_BTI: jax.Array, labels_B: jax.Array) -> jax.Array:
    """|d loss / d h_t| of each image's own cross-entropy, mean over images: float32 [T].

    A curve that falls towards the first rows vanishes there, one that rises explodes.
    """
    x_TBI = scale(images_BTI).swapaxes(0, 1)
    target_BC = jax.nn.one_hot(labels_B, folded.output_kernel_DC.shape[1], dtype=jnp.float32)

    def loss_of(nudge_TBH: jax.Array) -> jax.Array:
        h_BH = lstm_trace(x_TBI, folded.kernel_KG, nudge_TBH).h[-1]
        return -jnp.sum(target_BC * jax.nn.log_softmax(read_out(folded, h_BH)))

    rows, batch, _ = x_TBI.shape
    hidden = folded.kernel_KG.shape[1] // 4
    zeros_TBH = jnp.zeros((rows, batch, hidden), jnp.float32)
    slopes_TBH = jax.grad(loss_of)(zeros_TBH)
    # Scaled before they are squared: an exploding gradient is soon beyond the root of the largest
    # float32.
    largest_TB1 = jnp.max(jnp.abs(slopes_TBH), axis=-1, keepdims=True)
    scaled_TBH = slopes_TBH / jnp.where(largest_TB1 > 0, largest_TB1, 1)
    return jnp.mean(largest_TB1[..., 0] * jnp.linalg.norm(scaled_TBH, axis=-1), axis=1)


def _summary(values_TBH: jax.Array, low: float, high: float) -> Gate:
    over = partial(jnp.mean, axis=(1, 2))
    return Gate(
        over(values_TBH),
        jnp.std(values_TBH, axis=(1, 2)),
        over((values_TBH < low).astype(jnp.float32)),
        over((values_TBH > high).astype(jnp.float32)),
    )
