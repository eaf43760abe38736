"""The recurrent networks without gates. Axes: B batch, G = H hidden.

rnn:   h = tanh(x @ W + h @ U + b)      Elman, "Finding structure in time" (1990)
irnn:  h = relu(x @ W + h @ U + b)      Le, Jaitly and Hinton, "A simple way to initialize
                                        recurrent networks of rectified linear units" (2015),
                                        whose U starts as the identity
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lstm_jax.cells.cell import Cell, Extra, State


def _tanh(z_BG: jax.Array, state: State, extra: Extra) -> State:
    return (jnp.tanh(z_BG),)


def _relu(z_BG: jax.Array, state: State, extra: Extra) -> State:
    return (jax.nn.relu(z_BG),)


rnn_cell = Cell(name="rnn", columns=("n",), pointwise=_tanh)
irnn_cell = Cell(name="irnn", columns=("n",), pointwise=_relu, recurrent_init="identity")
