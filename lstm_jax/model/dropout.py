"""Dropout: Srivastava et al., "Dropout" (2014); and the keys of zoneout.

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


def draws_masks(member: Experiment) -> bool:
    """Returns whether training draws masks, so that a model needs a key."""
    return member.dropout is not None or member.zoneout is not None


def zoneout_keys(
    member: Experiment, key: jax.Array | None, count: int
) -> tuple[jax.Array | None, ...]:
    """Returns a key of zoneout for each direction of a layer, from the layer's key of dropout."""
    if key is None or member.zoneout is None:
        return (None,) * count
    # A residual block splits the key in two.
    return tuple(jax.random.fold_in(key, 2 + index) for index in range(count))
