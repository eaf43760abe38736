"""Normalisation over the numbers of a time step, with bits that no thread moves.

The norms have no scale and no bias of their own: the product that reads them has both.

Axes: W numbers; the axes before it, such as T time steps and B batch, are of any number.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax.cells.ordered_matmul import matmul_rows
from lstm_jax.cells.precision import FLOAT32, products_in

EPSILON = 1e-6  # added to the variance


def mean_over_features(x: jax.Array, by_rows: bool = False) -> jax.Array:
    """Returns the mean over the last axis, [..., W] to [..., 1].

    It is a product with ones: a plain sum may be split over threads. Eight columns, since XLA takes
    a product with one column as a plain sum. Its gradient is a product too. With `by_rows` the bits
    of a row do not depend on how many there are; see `matmul_rows`.
    """
    width = x.shape[-1]
    share_W8 = lax.optimization_barrier(jnp.full((width, 8), 1 / width, x.dtype))
    if by_rows:
        with products_in(FLOAT32):
            mean = matmul_rows(x.reshape(1, -1, width), share_W8)
        return mean.reshape(*x.shape[:-1], 8)[..., :1]
    return (x @ share_W8)[..., :1]


@partial(jax.custom_vjp, nondiff_argnums=(0, 2))
def normalise(norm: str, x: jax.Array, by_rows: bool = False) -> jax.Array:
    """Returns x [..., W] normalised over W. For `by_rows` see `mean_over_features`.

    layer: (x - mean) / sqrt(variance + EPSILON); Ba, Kiros and Hinton, "Layer normalization"
        (2016).
    rms: x / sqrt(mean of x^2 + EPSILON); Zhang and Sennrich, "Root mean square layer normalization"
        (2019).
    none: x.
    """
    return _normalise_fwd(norm, x, by_rows)[0]


def _normalise_fwd(
    norm: str, x: jax.Array, by_rows: bool
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    if norm == "none":
        return x, ()
    if norm == "layer":
        x = x - mean_over_features(x, by_rows)
    # A reciprocal before the product: a quotient by a broadcast array has other bits in some
    # programs.
    inverse = lax.rsqrt(mean_over_features(x * x, by_rows) + EPSILON)
    normalised = x * inverse
    return normalised, (normalised, inverse)


def _normalise_bwd(
    norm: str, by_rows: bool, residuals: tuple[jax.Array, ...], gradient: jax.Array
) -> tuple[jax.Array]:
    if norm == "none":
        return (gradient,)
    normalised, inverse = residuals
    gradient = gradient - normalised * mean_over_features(gradient * normalised)
    if norm == "layer":  # the mean of `normalised` is zero
        gradient = gradient - mean_over_features(gradient)
    return (gradient * inverse,)


normalise.defvjp(_normalise_fwd, _normalise_bwd)
