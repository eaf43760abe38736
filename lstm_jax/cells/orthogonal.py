"""A network whose recurrent kernel is orthogonal: gradients neither vanish nor explode through it.

    h = modrelu(x @ U + h @ W),  modrelu(z) = sign(z) * relu(|z| + b)
    W = (1 + A)^-1 (1 - A) D,  A = (P - P^T) / 20

Helfrich, Willmott and Ye, "Orthogonal recurrent neural networks with scaled Cayley transform"
(2018). P is the recurrent kernel of the parameters, H x H, of which the skew part counts. D is a
constant diagonal of 1 and -1. As in the authors' code, U starts uniform in +-0.01, b at zero, and
A with blocks of two units whose angles are uniform in 0 to pi/2; D has -1 at a tenth of the units,
their share for MNIST pixel by pixel. For another, put `mine = scornn(negative=0.5)` into a file and
name it `--cell file.py:mine`.

The paper trains A at a tenth of the learning rate. Here the factor 1/20 does the same, for both P
and its transpose move: with Adam and other optimisers whose steps do not grow with a gradient.

(1 + A)^-1 (1 - A) is 2 (1 + A)^-1 - 1. The inverse is found by elimination, which adds nothing up
in an order that a thread could change. It needs no pivots: the symmetric part of 1 + A is 1, so
none is below 1. Axes: B batch, G = H hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax.cells.cell import Cell, Extra, State, Weight
from lstm_jax.cells.ordered_matmul import sum_over_rows

SCALE = 20


def scornn(*, negative: float, name: str = "scornn") -> Cell:
    """Returns a scoRNN whose diagonal D is -1 for a share of the units, from 0 to 1."""

    def recurrent_map(p_HH: jax.Array) -> jax.Array:
        hidden = len(p_HH)
        one_HH = jnp.eye(hidden, dtype=p_HH.dtype)
        cayley_HH = 2 * _inverse(one_HH + (p_HH - p_HH.T) / SCALE) - one_HH
        is_negative_H = jnp.arange(hidden) >= hidden - round(negative * hidden)
        return jnp.where(is_negative_H[None], -cayley_HH, cayley_HH)

    return Cell(
        name=name,
        columns=("n",),
        extra={"b": Weight(jax.nn.initializers.zeros)},
        kernel_init=_kernel_init,
        recurrent_map=recurrent_map,
        pointwise=_pointwise,
    )


def _pointwise(z_BG: jax.Array, state: State, extra: Extra) -> State:
    return (jnp.sign(z_BG) * jax.nn.relu(jnp.abs(z_BG) + extra["b"]),)


def _kernel_init(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
    """Returns U, uniform in +-0.01, above the P of rotations by pairs of units."""
    hidden = shape[1]
    input_key, angle_key = jax.random.split(key)
    inputs = jax.random.uniform(input_key, (shape[0] - hidden, hidden), dtype, -0.01, 0.01)
    angles = jax.random.uniform(angle_key, (hidden // 2,), dtype, 0, jnp.pi / 2)
    above = jnp.zeros(max(hidden - 1, 0), dtype).at[::2].set(-jnp.tan(angles / 2))
    a_HH = jnp.diag(above, 1) - jnp.diag(above, -1)
    return jnp.concatenate([inputs, SCALE / 2 * a_HH])


@jax.custom_vjp
def _inverse(m_HH: jax.Array) -> jax.Array:
    """Returns the inverse of a matrix whose symmetric part is positive, by elimination."""

    def eliminate(k: jax.Array, m_HH: jax.Array) -> jax.Array:
        row_H, column_H = m_HH[k], m_HH[:, k].at[k].set(0)
        inverse = 1 / row_H[k]
        row_H = (row_H * inverse).at[k].set(inverse)
        m_HH = m_HH.at[:, k].set(0) - column_H[:, None] * row_H[None]
        return m_HH.at[k].set(row_H)

    return lax.fori_loop(0, len(m_HH), eliminate, m_HH)


def _inverse_fwd(m_HH: jax.Array) -> tuple[jax.Array, jax.Array]:
    inverse_HH = _inverse(m_HH)
    return inverse_HH, inverse_HH


def _inverse_bwd(inverse_HH: jax.Array, gradient_HH: jax.Array) -> tuple[jax.Array]:
    """Returns -X^T G X^T, by products in a fixed order."""
    first_HH = sum_over_rows(inverse_HH, gradient_HH)
    return (-sum_over_rows(first_HH.T, inverse_HH.T),)


_inverse.defvjp(_inverse_fwd, _inverse_bwd)

scornn_cell = scornn(negative=0.1)
