"""Cells with fewer gates than the LSTM and the GRU. Axes: B batch, H hidden, G = blocks * H.

janet:  h = sigmoid(f) * h + (1 - sigmoid(f - 1)) * tanh(j)
        Van der Westhuizen and Lasenby, "The unreasonable effectiveness of the forget gate" (2018).
        f and j read x and h. The paper opens the forget gate by chrono initialisation:
        `--chrono-steps T`, with `--forget-bias 0`.
mgu:    f = sigmoid(x @ Wf + h @ Uf + bf)
        n = tanh(x @ Wn + bn + f * (h @ Un + cn))
        h = (1 - f) * n + f * h
        Zhou, Wu, Zhang and Zhou, "Minimal gated unit for recurrent neural networks" (2016), in the
        form of Flax's `MGUCell`: the gate is applied after the product, as in our GRU, and 1 - f is
        the paper's update. The paper's tanh(x @ Wn + (f * h) @ Un) needs two products in sequence.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax.cells.cell import Activations, Block, Cell, Extra, State, gate


def _janet(z_BG: jax.Array, state: State, extra: Extra) -> State:
    j, f = jnp.split(z_BG, 2, axis=1)
    n = lax.optimization_barrier(jnp.tanh(j))
    return (gate(f) * state[0] + gate(0.5 - f) * n,)  # 1 - sigmoid(f - 1) is sigmoid(1 - f)


def _janet_activations(z_BG: jax.Array, before: State, after: State, extra: Extra) -> Activations:
    _, f = jnp.split(z_BG, 2, axis=1)
    return {"forget gate": gate(f), "input gate": gate(0.5 - f)}


def _mgu(z_BG: jax.Array, state: State, extra: Extra) -> State:
    f, n_h, n_x = jnp.split(z_BG, 3, axis=1)
    f = gate(f)
    n = lax.optimization_barrier(jnp.tanh(n_x + f * n_h))
    return (n + f * (state[0] - n),)


def _mgu_activations(z_BG: jax.Array, before: State, after: State, extra: Extra) -> Activations:
    f, _, _ = jnp.split(z_BG, 3, axis=1)
    return {"forget gate": gate(f)}


janet_cell = Cell(
    name="janet",
    columns=("j", "f"),
    blocks=(Block("j"), Block("f", scale=0.5)),
    pointwise=_janet,
    forget="f",
    decay="forget gate",
    activations=_janet_activations,
)
mgu_cell = Cell(
    name="mgu",
    columns=("f", "n"),
    blocks=(Block("f", scale=0.5), Block("n", "h"), Block("n", "x")),
    pointwise=_mgu,
    keeps="f",
    decay="forget gate",
    activations=_mgu_activations,
)
