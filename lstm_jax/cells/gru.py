"""The GRU: Cho et al., "Learning phrase representations using RNN encoder-decoder" (2014).

    r = sigmoid(x @ Wr + h @ Ur + br)
    u = sigmoid(x @ Wu + h @ Uu + bu)
    n = tanh(x @ Wx + bx + r * (h @ Wh + bh))
    h = (1 - u) * n + u * h

The reset gate r is applied after the product, as in cuDNN, Flax and ONNX (linear_before_reset=1),
so n has a block that takes from h and one that takes from x. Axes as in `passes.py`; G = 4H, the
blocks are r, u, n of h, n of x.

All of it goes through h, whose slope by each z is kept: faster by 15 % than the gradient of the
formula (measured on CPU).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax.cells.cell import Activations, Block, Cell, Extra, State


class _Gates(NamedTuple):
    r: jax.Array
    u: jax.Array
    n_h: jax.Array
    n: jax.Array
    h: jax.Array


def _gates(z_BG: jax.Array, h_BH: jax.Array) -> _Gates:
    """Returns the gates after their activations, both forms of n, and the new h."""
    z_r, z_u, n_h, n_x = jnp.split(z_BG, 4, axis=1)
    gates = 0.5 * lax.optimization_barrier(jnp.tanh(jnp.concatenate([z_r, z_u], axis=1))) + 0.5
    r, u = jnp.split(gates, 2, axis=1)
    n = lax.optimization_barrier(jnp.tanh(n_x + r * n_h))
    return _Gates(r, u, n_h, n, (1 - u) * n + u * h_BH)


def _pointwise(z_BG: jax.Array, state: State, extra: Extra) -> State:
    return (_gates(z_BG, *state).h,)


def _activations(z_BG: jax.Array, before: State, after: State, extra: Extra) -> Activations:
    gates = _gates(z_BG, *before)
    return {"reset gate": gates.r, "update gate": gates.u}


def _pointwise_fwd(z_BG: jax.Array, state: State) -> tuple[State, State, State]:
    """Returns the new state; the slopes of h by r, u, n of h and n of x; its slope by h before."""
    r, u, n_h, n, h_BH = _gates(z_BG, *state)
    s_n = (1 - u) * (1 - n * n)
    # The inputs of r and u are halved, so their slopes are doubled.
    slopes = s_n * n_h * 2 * r * (1 - r), 2 * u * (1 - u) * (state[0] - n), s_n * r, s_n
    return (h_BH,), slopes, (u,)


def _pointwise_bwd(
    forward_BG: jax.Array, residuals: State, dstate: State
) -> tuple[jax.Array, tuple[Any, ...]]:
    (u,), (dh_BH,) = residuals, dstate
    dz_BG = jnp.concatenate([dh_BH * slope for slope in jnp.split(forward_BG, 4, axis=1)], axis=1)
    return dz_BG, (dh_BH * u,)


gru_cell = Cell(
    name="gru",
    columns=("r", "u", "n"),
    blocks=(Block("r", scale=0.5), Block("u", scale=0.5), Block("n", "h"), Block("n", "x")),
    keeps="u",
    pointwise=_pointwise,
    activations=_activations,
    pointwise_fwd=_pointwise_fwd,
    pointwise_bwd=_pointwise_bwd,
)
