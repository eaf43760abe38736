"""Cells that are linear in their state, with gates that read x alone. Axes: [T,B,H] each, G.

mingru:   h = u * h + (1 - u) * g(x @ Wn + bn),  u = sigmoid(x @ Wu + bu)
minlstm:  h = f' * h + i' * g(x @ Wn + bn),  f' = f / (f + i),  i' = i / (f + i),
          f = sigmoid(x @ Wf + bf),  i = sigmoid(x @ Wi + bi)
          Feng et al., "Were RNNs all we needed?" (2024). g(v) is v + 0.5 for v >= 0 and sigmoid(v)
          below, so that h stays positive. u is 1 minus the paper's update gate. The paper trains
          with logarithms; `linear_scan.py` says why this is not done here.
qrnn:     c = f * c + (1 - f) * tanh(x @ Wn + bn),  h = sigmoid(x @ Wo + bo) * c,
          f = sigmoid(x @ Wf + bf)
          Bradbury, Merity, Xiong and Socher, "Quasi-recurrent neural networks" (2017), fo-pooling
          with a window of one time step.
hgrn:     h = f * h + (1 - f) * silu(x @ Wn + bn),  f = sigmoid(x @ Wf + bf)
          Qin, Yang and Zhong, "Hierarchically gated recurrent neural network for sequence modeling"
          (2023), the real form of its first layer, whose lower bound of f is 0. Its output gate
          and norm belong to a block around the cell.
rglru:    log a = -8 * softplus(d) * sigmoid(x @ Wr + br)
          h = a * h + sqrt(1 - a^2) * sigmoid(x @ Wi + bi) * (x @ Wn + bn)
          De et al., "Griffin: Mixing gated linear recurrences with local attention for efficient
          language models" (2024). d starts such that exp(-softplus(d)) is uniform by area on the
          ring from 0.9 to 0.999. The gates read all of x, theirs a head of it. Theirs takes the
          first input of a sequence whole, without sqrt(1 - a^2); this one does not.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax.cells.cell import Activations, Block, Extra, State, Weight, gate
from lstm_jax.cells.linear_cell import LinearCell
from lstm_jax.cells.ordered_matmul import broadcast_rows


def _split(z_TBG: jax.Array, count: int) -> list[jax.Array]:
    return jnp.split(z_TBG, count, axis=-1)


def _positive(v: jax.Array) -> jax.Array:
    """Returns g(v); see the head of this file."""
    return jnp.where(v >= 0, v + 0.5, gate(0.5 * v))


def _mingru(z_TBG: jax.Array, extra: Extra) -> tuple[Any, Any]:
    u, n = _split(z_TBG, 2)
    u = gate(u)
    return u, (1 - u) * _positive(n)


def _mingru_activations(z_TBG: jax.Array, before: State, after: State, extra: Extra) -> Activations:
    return {"update gate": gate(_split(z_TBG, 2)[0])}


mingru_cell = LinearCell(
    name="mingru",
    columns=("u", "n"),
    blocks=(Block("u", "x", scale=0.5), Block("n", "x")),
    keeps="u",
    coefficients=_mingru,
    activations=_mingru_activations,
)


def _minlstm_gate(z_TBG: jax.Array) -> jax.Array:
    """Returns f / (f + i), without a quotient: the sigmoid of log f - log i."""
    f, i, _ = _split(z_TBG, 3)
    return gate(0.5 * (jax.nn.log_sigmoid(f) - jax.nn.log_sigmoid(i)))


def _minlstm(z_TBG: jax.Array, extra: Extra) -> tuple[Any, Any]:
    keep, n = _minlstm_gate(z_TBG), _split(z_TBG, 3)[2]
    return keep, (1 - keep) * _positive(n)


def _minlstm_activations(
    z_TBG: jax.Array, before: State, after: State, extra: Extra
) -> Activations:
    keep = _minlstm_gate(z_TBG)
    return {"forget gate": keep, "input gate": 1 - keep}


minlstm_cell = LinearCell(
    name="minlstm",
    columns=("f", "i", "n"),
    forget="f",
    coefficients=_minlstm,
    activations=_minlstm_activations,
)


def _qrnn(z_TBG: jax.Array, extra: Extra) -> tuple[Any, Any]:
    f, n, _ = _split(z_TBG, 3)
    f = gate(f)
    return f, (1 - f) * lax.optimization_barrier(jnp.tanh(n))


def _qrnn_read_out(states: State, z_TBG: jax.Array, extra: Extra) -> jax.Array:
    return gate(_split(z_TBG, 3)[2]) * states[0]


def _qrnn_activations(z_TBG: jax.Array, before: State, after: State, extra: Extra) -> Activations:
    f, _, o = _split(z_TBG, 3)
    return {"forget gate": gate(f), "output gate": gate(o), "cell": after[0]}


qrnn_cell = LinearCell(
    name="qrnn",
    columns=("f", "n", "o"),
    blocks=(Block("f", "x", scale=0.5), Block("n", "x"), Block("o", "x", scale=0.5)),
    state=("c", "h"),
    forget="f",
    coefficients=_qrnn,
    read_out=_qrnn_read_out,
    activations=_qrnn_activations,
)


def _hgrn(z_TBG: jax.Array, extra: Extra) -> tuple[Any, Any]:
    f, n = _split(z_TBG, 2)
    f = gate(f)
    return f, (1 - f) * (n * gate(0.5 * n))


def _hgrn_activations(z_TBG: jax.Array, before: State, after: State, extra: Extra) -> Activations:
    return {"forget gate": gate(_split(z_TBG, 2)[0])}


hgrn_cell = LinearCell(
    name="hgrn",
    columns=("f", "n"),
    blocks=(Block("f", "x", scale=0.5), Block("n", "x")),
    forget="f",
    coefficients=_hgrn,
    activations=_hgrn_activations,
)


@jax.custom_vjp
def _sqrt(array: jax.Array) -> jax.Array:
    """Returns the root. Its derivative is at most 1000, also at 0."""
    return jnp.sqrt(array)


def _sqrt_fwd(array: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.sqrt(array), array


def _sqrt_bwd(array: jax.Array, cotangent: jax.Array) -> tuple[jax.Array]:
    return (cotangent * 0.5 * lax.rsqrt(jnp.maximum(array, 1 / (4 * 1000**2))),)


_sqrt.defvjp(_sqrt_fwd, _sqrt_bwd)


def _rglru(z_TBG: jax.Array, extra: Extra) -> tuple[Any, Any]:
    r, i, n = _split(z_TBG, 3)
    rate_TBH = broadcast_rows(-8 * jax.nn.softplus(extra["d"]), z_TBG.shape[:2])
    log_a = lax.optimization_barrier(rate_TBH * gate(r))
    # 1 - a^2 as an exponential minus one: exact where a is close to 1.
    return jnp.exp(log_a), _sqrt(-jnp.expm1(2 * log_a)) * (gate(i) * n)


def _rglru_activations(z_TBG: jax.Array, before: State, after: State, extra: Extra) -> Activations:
    r, i, _ = _split(z_TBG, 3)
    decay = jnp.exp(-8 * jax.nn.softplus(extra["d"])[None, None] * gate(r))
    return {"recurrence gate": gate(r), "input gate": gate(i), "decay": decay}


def _rglru_init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    square = jax.random.uniform(key, shape, dtype, 0.9**2, 0.999**2)
    return jnp.log(jnp.expm1(-0.5 * jnp.log(square)))


rglru_cell = LinearCell(
    name="rglru",
    columns=("r", "i", "n"),
    blocks=(Block("r", "x", scale=0.5), Block("i", "x", scale=0.5), Block("n", "x")),
    extra={"d": Weight(_rglru_init)},
    # Where the gate r is 1/2, a is exp(-1 / tau).
    chrono_init={"d": lambda tau_H: jnp.log(jnp.expm1(1 / (4 * tau_H)))},
    coefficients=_rglru,
    activations=_rglru_activations,
)
