"""The GRU: Cho et al., "Learning phrase representations using RNN encoder-decoder" (2014).

    r = sigmoid(x @ Wr + h @ Ur + br)
    u = sigmoid(x @ Wu + h @ Uu + bu)
    n = tanh(x @ Wx + bx + r * (h @ Wh + bh))
    h = (1 - u) * n + u * h

The reset gate r is applied after the product, as in cuDNN, Flax and ONNX (linear_before_reset=1).
So n has one block that reads h and one that reads x.

Axes: T time steps, B batch, I input, H hidden, W = 3H, G = 4H; the blocks are r, u, n of h, n of
x.

The forward pass keeps the derivatives of h by each z. This is 15 % faster than the gradient that
JAX derives (measured on CPU).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax.cells.cell import Activations, Block, Cell, Extra, State
from lstm_jax.cells.scan import run_unstacked


def gru(
    x_TBI: jax.Array,
    input_kernel_IW: jax.Array,
    recurrent_kernel_HW: jax.Array,
    bias_G: jax.Array,
    carry: jax.Array | None = None,
    lengths_B: jax.Array | None = None,
    *,
    reverse: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """Runs a GRU over T time steps: returns all outputs [T,B,H] and the final carry h, [B,H].

    input_kernel_IW, recurrent_kernel_HW: W = 3H; the columns are those of r, u, n.
    bias_G: G = 4H; those of r and u, then of n that is added to h @ Wh, and of n beside x.
    carry: h before the first time step, [B,H]; None stands for zeros.

    The other arguments, dtypes, gradients and errors are those of `lstm_jax.lstm`.
    """
    state = None if carry is None else (carry,)
    kernels = input_kernel_IW, recurrent_kernel_HW, bias_G
    h_TBH, (h_BH,) = run_unstacked(gru_cell, x_TBI, *kernels, state, lengths_B, reverse=reverse)
    return h_TBH, h_BH


class _TimeStep(NamedTuple):
    """All values of one time step, [B,H] each: gates after their activations, n, the new h."""

    r: jax.Array
    u: jax.Array
    n_h: jax.Array  # h @ Wh + bh
    n: jax.Array
    h: jax.Array


def _time_step(z_BG: jax.Array, h_BH: jax.Array) -> _TimeStep:
    z_r, z_u, n_h, n_x = jnp.split(z_BG, 4, axis=1)
    gates = 0.5 * lax.optimization_barrier(jnp.tanh(jnp.concatenate([z_r, z_u], axis=1))) + 0.5
    r, u = jnp.split(gates, 2, axis=1)
    n = lax.optimization_barrier(jnp.tanh(n_x + r * n_h))
    return _TimeStep(r, u, n_h, n, (1 - u) * n + u * h_BH)


def _pointwise(z_BG: jax.Array, state: State, extra: Extra) -> State:
    return (_time_step(z_BG, *state).h,)


def _activations(z_BG: jax.Array, before: State, after: State, extra: Extra) -> Activations:
    now = _time_step(z_BG, *before)
    return {"reset gate": now.r, "update gate": now.u}


def _pointwise_fwd(z_BG: jax.Array, state: State) -> tuple[State, State, State]:
    """Returns the new state, the derivatives of h by each z, and its derivative by the old h."""
    r, u, n_h, n, h_BH = _time_step(z_BG, *state)
    h_by_n = (1 - u) * (1 - n * n)
    # z of r and of u is halved, so these derivatives are doubled.
    h_by_r, h_by_u = h_by_n * n_h * 2 * r * (1 - r), 2 * u * (1 - u) * (state[0] - n)
    return (h_BH,), (h_by_r, h_by_u, h_by_n * r, h_by_n), (u,)


def _pointwise_bwd(
    derivatives_BG: jax.Array, residuals: State, dstate: State
) -> tuple[jax.Array, tuple[Any, ...]]:
    (u,), (dh_BH,) = residuals, dstate
    gradients = [dh_BH * h_by_z for h_by_z in jnp.split(derivatives_BG, 4, axis=1)]
    return jnp.concatenate(gradients, axis=1), (dh_BH * u,)


gru_cell = Cell(
    name="gru",
    columns=("r", "u", "n"),
    blocks=(Block("r", scale=0.5), Block("u", scale=0.5), Block("n", "h"), Block("n", "x")),
    keeps="u",
    pointwise=_pointwise,
    decay="update gate",
    activations=_activations,
    pointwise_fwd=_pointwise_fwd,
    pointwise_bwd=_pointwise_bwd,
)
