"""Cells with two products in sequence. Axes: B batch, H hidden, G = columns * H.

lem:    t = dt * sigmoid(x @ W1 + h @ V1 + b1),  s = dt * sigmoid(x @ W2 + h @ V2 + b2)
        z = (1 - s) * z + s * tanh(x @ Wz + h @ Vz + bz)
        h = (1 - t) * h + t * tanh(x @ Wy + z @ Vy + by), which reads the new z
        Rusch, Mishra, Erichson and Mahoney, "Long expressive memory for sequence modeling" (2022).
        h is the paper's y. All weights start uniform in +-1/sqrt(H), as in the authors' code,
        which adds two such biases where we have one. dt is a constant of the cell: that in the
        table is the paper's for pixels of MNIST one by one. For another, put
        `mine = lem(dt=0.5)` into a file and name it `--cell file.py:mine`.
gru_reset_before:
        r = sigmoid(x @ Wr + h @ Ur + br),  u = sigmoid(x @ Wu + h @ Uu + bu)
        h = (1 - u) * tanh(x @ Wn + (r * h) @ Un + bn) + u * h
        Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical
        machine translation" (2014). Our `gru` resets after the product, as cuDNN and Flax do.
mgu_gate_before:
        f = sigmoid(x @ Wf + h @ Uf + bf)
        h = (1 - f) * h + f * tanh(x @ Wn + (f * h) @ Un + bn)
        Zhou, Wu, Zhang and Zhou, "Minimal gated unit for recurrent neural networks" (2016), with
        the gate before the product, as in the paper. f updates, where that of our `mgu` keeps.

A sum of two products, u * h + (1 - u) * n, is written n + u * (h - n): a compiler may round either
product, and takes another one in a loop than outside of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax.cells.cell import Activations, Block, Extra, State, gate, minus_log
from lstm_jax.cells.staged_cell import PerColumn, Products, StagedCell


def _tanh(array: jax.Array) -> jax.Array:
    # The barrier keeps XLA from computing the tanh again in every consumer.
    return lax.optimization_barrier(jnp.tanh(array))


def _gates(z_B2G: jax.Array, count: int) -> PerColumn:
    """Returns the gates of the first columns."""
    x_BG, projected_BG = jnp.split(z_B2G, 2, axis=1)
    return tuple(map(gate, jnp.split(x_BG + projected_BG, count, axis=1)))


def lem(*, dt: float, name: str = "lem") -> StagedCell:
    """Returns a LEM with the longest time step dt."""

    def formula(x: PerColumn, products: Products, state: State, extra: Extra) -> State:
        z_BH, h_BH = state
        t, s, n = products[0](h_BH)
        t, s, n = gate(x[0] + t), gate(x[1] + s), _tanh(x[2] + n)
        z_BH = z_BH + dt * s * (n - z_BH)
        (y,) = products[1](z_BH)
        return z_BH, h_BH + dt * t * (_tanh(x[3] + y) - h_BH)

    def activations(z_B2G: jax.Array, before: State, after: State, extra: Extra) -> Activations:
        t, s, _, _ = _gates(z_B2G, 4)
        return {"output gate": t, "input gate": s, "decay": 1 - dt * s}

    def chrono_bias(tau_H: jax.Array) -> jax.Array:
        """Returns the bias such that a unit keeps tau / (1 + tau), or as little as dt lets it."""
        return jax.scipy.special.logit(jnp.minimum(1 / (dt * (1 + tau_H)), 0.99))

    columns = ("t", "s", "n", "y")

    def kernel_init(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        bound = math.sqrt(len(columns) / shape[1])  # 1 / sqrt(H)
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    def bias_init(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        bound = 1 / math.sqrt(shape[0])
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return StagedCell(
        name=name,
        columns=columns,
        stages=(("t", "s", "n"), ("y",)),
        blocks=(Block("t", scale=0.5), Block("s", scale=0.5), Block("n"), Block("y")),
        state=("z", "h"),
        kernel_init=kernel_init,
        bias_init=dict.fromkeys(columns, bias_init),
        chrono_init={"t": chrono_bias, "s": chrono_bias},
        formula=formula,
        decay="decay",
        activations=activations,
    )


def _gru(x: PerColumn, products: Products, state: State, extra: Extra) -> State:
    (h_BH,) = state
    r, u = products[0](h_BH)
    r, u = gate(x[0] + r), gate(x[1] + u)
    (n,) = products[1](r * h_BH)
    n = _tanh(x[2] + n)
    return (n + u * (h_BH - n),)


def _gru_activations(z_B2G: jax.Array, before: State, after: State, extra: Extra) -> Activations:
    r, u, _ = _gates(z_B2G, 3)
    return {"reset gate": r, "update gate": u}


def _mgu(x: PerColumn, products: Products, state: State, extra: Extra) -> State:
    (h_BH,) = state
    (f,) = products[0](h_BH)
    f = gate(x[0] + f)
    (n,) = products[1](f * h_BH)
    return (h_BH + f * (_tanh(x[1] + n) - h_BH),)


def _mgu_activations(z_B2G: jax.Array, before: State, after: State, extra: Extra) -> Activations:
    f, _ = _gates(z_B2G, 2)
    return {"update gate": f, "decay": 1 - f}


lem_cell = lem(dt=0.21)
gru_reset_before_cell = StagedCell(
    name="gru_reset_before",
    columns=("r", "u", "n"),
    stages=(("r", "u"), ("n",)),
    blocks=(Block("r", scale=0.5), Block("u", scale=0.5), Block("n")),
    keeps="u",
    formula=_gru,
    decay="update gate",
    activations=_gru_activations,
)
mgu_gate_before_cell = StagedCell(
    name="mgu_gate_before",
    columns=("f", "n"),
    stages=(("f",), ("n",)),
    blocks=(Block("f", scale=0.5), Block("n")),
    chrono_init={"f": minus_log},
    formula=_mgu,
    decay="decay",
    activations=_mgu_activations,
)
