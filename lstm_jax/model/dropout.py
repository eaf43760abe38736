"""Dropout: Srivastava et al., "Dropout" (2014).

Axes: T time steps, B batch, W numbers.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lstm_jax.config.experiment import Experiment


def dropout(member: Experiment, key: jax.Array | None, h: jax.Array) -> jax.Array:
    """Returns [B,W] or [T,B,W], each number set to zero with the member's probability p, the others
    / (1 - p). Without a key or a probability they are returned as they are.

    With `variational_dropout` all time steps of a sequence have one mask: Gal and Ghahramani, "A
    theoretically grounded application of dropout in recurrent neural networks" (2016).
    """
    if key is None or member.dropout is None:
        return h
    shape = h.shape
    if member.variational_dropout and h.ndim == 3:
        shape = 1, *h.shape[1:]
    kept = jax.random.uniform(key, shape) >= member.dropout
    # A product: XLA turns x / scalar into x * (1 / scalar) in some programs only.
    return jnp.where(kept, h * (1 / (1 - member.dropout)), jnp.float32(0))
