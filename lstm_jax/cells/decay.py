"""How long the units of a cell keep their state, from its decay factors.

Axes: T time steps, B batch, I input, H hidden, G = blocks * H, K = I + 1 + the state that is read.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lstm_jax.cells import scan
from lstm_jax.cells.cell import Cell, Extra
from lstm_jax.cells.linear_cell import LinearCell, coefficients
from lstm_jax.cells.linear_scan import Matrix

MAX_TIME_SCALE = 1e6  # time steps; a unit that loses nothing has this one


def decay_factors(
    cell: Cell, kernel_KG: jax.Array, x_TBI: jax.Array, extra: Extra
) -> jax.Array | None:
    """Returns the factor by which each unit keeps its state over each time step, [T,B,H].

    It is [1,1,H] where it is the same at all time steps. In a linear cell, h = a h + b, it is |a|,
    of two states the larger |eigenvalue| of the matrix a. In a gated cell it is the gate that keeps
    (`Cell.decay`). Returns None for a cell without one. Starts from a state of zeros.
    """
    if isinstance(cell, LinearCell):
        _, a, _ = coefficients(cell, kernel_KG, x_TBI, extra)
        factors = _spectral_radius(a)
        return factors if factors.ndim == 3 else factors[None, None]
    if cell.decay is None:
        return None
    return scan.trace(cell, kernel_KG, x_TBI, extra)[cell.decay]


def time_scale(factor: jax.Array) -> jax.Array:
    """Returns -1 / log(factor): the number of time steps after which 1/e of a state is left."""
    least = 1 / MAX_TIME_SCALE
    return 1 / jnp.maximum(-jnp.log(jnp.maximum(factor, 1e-30)), least)


def _spectral_radius(a: Matrix) -> jax.Array:
    """Returns the largest |eigenvalue| of a matrix [1,1] or [2,2] of arrays."""
    if len(a) == 1:
        return jnp.abs(a[0][0])
    (a_11, a_12), (a_21, a_22) = a
    half_trace = jnp.abs(a_11 + a_22) / 2
    determinant = a_11 * a_22 - a_12 * a_21
    discriminant = half_trace * half_trace - determinant
    real = half_trace + jnp.sqrt(jnp.maximum(discriminant, 0))
    return jnp.where(discriminant < 0, jnp.sqrt(jnp.maximum(determinant, 0)), real)
