"""Cells whose units read their own state alone, by one weight each: no product in the loop.

indrnn:    h = relu(x @ W + b + u * h)
           Li, Li, Cook, Zhu and Gao, "Independently recurrent neural network (IndRNN)" (2018).
           u starts uniform in [0, 1]. The paper clips |u| after each step; here nothing does.
sru:       f = sigmoid(x @ Wf + v_f * c + bf),  r = sigmoid(x @ Wr + v_r * c + br)
           c = f * c + (1 - f) * (x @ W),  h = r * c + (1 - r) * sqrt(3) * (x @ Ws)
           Lei, Zhang, Wang, Dai and Artzi, "Simple recurrent units for highly parallelizable
           recurrence" (2018). r reads the c of the time step before. sqrt(3) is the paper's scale
           of the highway. x goes through a kernel of its own there, as in the authors' code where
           inputs and units differ in number.
paragru:   u = sigmoid(a_u * h + x @ Wu + bu),  r = sigmoid(a_r * h + x @ Wr + br)
           h = u * h + (1 - u) * tanh(a_n * (r * h) + x @ Wn + bn)
paralstm:  f = sigmoid(a_f * h + p_f * c + x @ Wf + bf),  n = tanh(a_n * h + x @ Wn + bn)
           c = f * c + (1 - f) * n
           o = sigmoid(a_o * h + p_o * c + x @ Wo + bo),  h = o * tanh(c)
           Danieli et al., "ParaRNN: Unlocking parallel training of nonlinear RNNs for large
           language models" (2025). u is 1 minus the paper's update gate. `paragru` has one head,
           `paragru_heads` the paper's 2: a unit reads the inputs of its head, so W is
           block-diagonal. For another number, put `mine = paragru(heads=4, name="paragru_4")` into
           a file. Trained time step by time step, without Newton's method.

A sum of two products, f * c + (1 - f) * n, is written n + f * (c - n): a compiler may round either
product, and takes another one in a loop than outside of it.

Axes: B batch, H hidden, G = blocks * H.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax.cells.cell import Activations, Block, Cell, Extra, State, Weight, gate


def _tanh(array: jax.Array) -> jax.Array:
    # The barrier keeps XLA from computing the tanh again in every consumer.
    return lax.optimization_barrier(jnp.tanh(array))


def _uniform(low: float, high: float) -> Any:
    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, low, high)

    return init


def _indrnn(z_BG: jax.Array, state: State, extra: Extra) -> State:
    return (jax.nn.relu(z_BG + extra["u"] * state[0]),)


indrnn_cell = Cell(
    name="indrnn",
    columns=("n",),
    read=(),
    extra={"u": Weight(_uniform(0, 1))},
    chrono_init={"u": lambda tau_H: jnp.exp(-1 / tau_H)},
    pointwise=_indrnn,
)


# z of the gates is halved, so the terms of the weights are halved as well.
def _sru_gates(z_BG: jax.Array, c_BH: jax.Array, extra: Extra) -> tuple[jax.Array, ...]:
    f, r, n, skip = jnp.split(z_BG, 4, axis=1)
    half = 0.5 * c_BH
    return gate(f + extra["v_f"] * half), gate(r + extra["v_r"] * half), n, skip


def _sru(z_BG: jax.Array, state: State, extra: Extra) -> State:
    f, r, n, skip = _sru_gates(z_BG, state[0], extra)
    c_BH = n + f * (state[0] - n)
    skip = math.sqrt(3) * skip
    return c_BH, skip + r * (c_BH - skip)


def _sru_activations(z_BG: jax.Array, before: State, after: State, extra: Extra) -> Activations:
    f, r, _, _ = _sru_gates(z_BG, before[0], extra)
    return {"forget gate": f, "reset gate": r, "cell": after[0]}


sru_cell = Cell(
    name="sru",
    columns=("f", "r", "n", "s"),
    blocks=(
        Block("f", "x", scale=0.5),
        Block("r", "x", scale=0.5),
        Block("n", "x"),
        Block("s", "x"),
    ),
    state=("c", "h"),
    read=(),
    # Uniform with variance 1, times sqrt(0.5) before a sigmoid.
    extra={name: Weight(_uniform(-math.sqrt(1.5), math.sqrt(1.5))) for name in ("v_f", "v_r")},
    keeps="f",
    pointwise=_sru,
    decay="forget gate",
    activations=_sru_activations,
)


def _state_weight(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Returns N(0, 4 / (5 H)), the initial weights of the state in the authors' code."""
    return jax.random.normal(key, shape, dtype) * (2 / math.sqrt(5 * shape[0]))


def _rising(sign: float) -> Any:
    """Returns the initialiser of a gate's bias: from 0 to `sign`, evenly over the units."""

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        return jnp.linspace(0, sign, shape[0], dtype=dtype)

    return init


def _paragru_gates(z_BG: jax.Array, h_BH: jax.Array, extra: Extra) -> tuple[jax.Array, ...]:
    u, r, n = jnp.split(z_BG, 3, axis=1)
    half = 0.5 * h_BH
    return gate(u + extra["a_u"] * half), gate(r + extra["a_r"] * half), n


def _paragru(z_BG: jax.Array, state: State, extra: Extra) -> State:
    (h_BH,) = state
    u, r, n = _paragru_gates(z_BG, h_BH, extra)
    n = _tanh(n + extra["a_n"] * (r * h_BH))
    return (n + u * (h_BH - n),)


def _paragru_activations(z_BG: jax.Array, before: State, after: State, extra: Extra) -> Activations:
    u, r, _ = _paragru_gates(z_BG, before[0], extra)
    return {"update gate": u, "reset gate": r}


def paragru(*, heads: int, name: str) -> Cell:
    """Returns a ParaGRU with so many heads, which divide its numbers of inputs and of units."""
    return Cell(
        name=name,
        columns=("u", "r", "n"),
        blocks=(Block("u", "x", scale=0.5), Block("r", "x", scale=0.5), Block("n", "x")),
        read=(),
        extra={name: Weight(_state_weight) for name in ("a_u", "a_r", "a_n")},
        bias_init={"u": _rising(1.0)},
        keeps="u",
        pointwise=_paragru,
        decay="update gate",
        activations=_paragru_activations,
        input_heads=heads,
    )


paragru_cell = paragru(heads=1, name="paragru")
paragru_heads_cell = paragru(heads=2, name="paragru_heads")


def _paralstm_steps(z_BG: jax.Array, state: State, extra: Extra) -> tuple[jax.Array, ...]:
    """Returns the gates f and o, and the new c."""
    f, n, o = jnp.split(z_BG, 3, axis=1)
    c_BH, h_BH = state
    half_h, half_c = 0.5 * h_BH, 0.5 * c_BH
    f = gate(f + extra["a_f"] * half_h + extra["p_f"] * half_c)
    n = _tanh(n + extra["a_n"] * h_BH)
    c_BH = n + f * (c_BH - n)
    return f, gate(o + extra["a_o"] * half_h + extra["p_o"] * (0.5 * c_BH)), c_BH


def _paralstm(z_BG: jax.Array, state: State, extra: Extra) -> State:
    _, o, c_BH = _paralstm_steps(z_BG, state, extra)
    return c_BH, o * _tanh(c_BH)


def _paralstm_activations(
    z_BG: jax.Array, before: State, after: State, extra: Extra
) -> Activations:
    f, o, c_BH = _paralstm_steps(z_BG, before, extra)
    return {"forget gate": f, "output gate": o, "cell": c_BH}


paralstm_cell = Cell(
    name="paralstm",
    columns=("f", "n", "o"),
    blocks=(Block("f", "x", scale=0.5), Block("n", "x"), Block("o", "x", scale=0.5)),
    state=("c", "h"),
    read=(),
    extra={name: Weight(_state_weight) for name in ("a_f", "a_n", "a_o", "p_f", "p_o")},
    bias_init={"f": _rising(-1.0)},
    keeps="f",
    pointwise=_paralstm,
    decay="forget gate",
    activations=_paralstm_activations,
)
