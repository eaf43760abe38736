"""The recurrent networks without gates. Axes: T time steps, B batch, I input, G = H
hidden.

rnn:   h = tanh(x @ W + h @ U + b)      Elman, "Finding structure in time" (1990)
irnn:  h = relu(x @ W + h @ U + b)      Le, Jaitly and Hinton, "A simple way to initialize
                                        recurrent networks of rectified linear units" (2015),
                                        whose U starts as the identity
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lstm_jax.cells.cell import Cell, Extra, State
from lstm_jax.cells.scan import run_unstacked


def rnn(
    x_TBI: jax.Array,
    input_kernel_IH: jax.Array,
    recurrent_kernel_HH: jax.Array,
    bias_H: jax.Array,
    carry: jax.Array | None = None,
    lengths_B: jax.Array | None = None,
    *,
    reverse: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """Runs a tanh RNN over T time steps: returns all outputs [T,B,H] and the final carry h, [B,H].

    carry: h before the first time step, [B,H]; None stands for zeros.

    The other arguments, dtypes, gradients and errors are those of `lstm_jax.lstm`.
    """
    state = None if carry is None else (carry,)
    kernels = input_kernel_IH, recurrent_kernel_HH, bias_H
    h_TBH, (h_BH,) = run_unstacked(rnn_cell, x_TBI, *kernels, state, lengths_B, reverse=reverse)
    return h_TBH, h_BH


def _tanh(z_BG: jax.Array, state: State, extra: Extra) -> State:
    return (jnp.tanh(z_BG),)


def _relu(z_BG: jax.Array, state: State, extra: Extra) -> State:
    return (jax.nn.relu(z_BG),)


rnn_cell = Cell(name="rnn", columns=("n",), pointwise=_tanh)
irnn_cell = Cell(name="irnn", columns=("n",), pointwise=_relu, recurrent_init="identity")
