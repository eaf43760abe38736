"""The sLSTM: Beck et al., "xLSTM: Extended long short-term memory" (2024).

    m' = max(log sigmoid(f) + m, i), and i at the first time step
    c = exp(log sigmoid(f) + m - m') * c + exp(i - m') * tanh(z)
    n = exp(log sigmoid(f) + m - m') * n + exp(i - m')
    h = sigmoid(o) * c / n

The input gate is an exponential. m is the logarithm of its scale, taken out of c and n, so that
neither overflows; h does not depend on it. n is 0 before the first time step only: after it one of
the two factors is 1, so n is at least 1.

`slstm` has one head, `slstm_heads` the paper's 4: a unit reads the units of its own head, so the
recurrent kernel has a quarter of the numbers. The product takes the others as zeros: heads save
parameters, not time. For another number, put `mine = slstm(heads=8, name="slstm_8")` into a file
and name it `--cell file.py:mine`. The paper's norm of each head belongs to its block; here there is
none.

The forget gate's bias falls over the d units of a head as the authors' does: from +5 to -7, by
5 - 12 (k / (d - 1))^0.3. The recurrent kernel starts at zero, as theirs.

Axes: B batch, H hidden, G = 4H. The states are c, n, m and h; the products read h.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax.cells.cell import Activations, Block, Cell, Extra, State, gate


def _factors(z_BG: jax.Array, before: State) -> tuple[jax.Array, ...]:
    """Returns the factors of the new input and of the old state, and the new m."""
    i, f, _, _ = jnp.split(z_BG, 4, axis=1)
    _, n_BH, m_BH, _ = before
    log_keep = m_BH + jax.nn.log_sigmoid(f)
    m_new = lax.optimization_barrier(jnp.where(n_BH == 0, i, jnp.maximum(log_keep, i)))
    # Both exponents are at most 0, but for the second one where c and n are 0.
    exp_i, exp_f = jnp.exp(i - m_new), jnp.exp(jnp.minimum(log_keep - m_new, 0))
    return lax.optimization_barrier(exp_i), lax.optimization_barrier(exp_f), m_new


def _pointwise(z_BG: jax.Array, state: State, extra: Extra) -> State:
    _, _, z, o = jnp.split(z_BG, 4, axis=1)
    exp_i, exp_f, m_BH = _factors(z_BG, state)
    c_BH = exp_f * state[0] + exp_i * lax.optimization_barrier(jnp.tanh(z))
    n_BH = exp_f * state[1] + exp_i
    # A state that no time step has made, such as one that a decoder starts from, may hold any n.
    divisor = jnp.where(n_BH < 1, jnp.ones_like(n_BH), n_BH)
    return c_BH, n_BH, m_BH, gate(o) * (c_BH / divisor)


def _activations(z_BG: jax.Array, before: State, after: State, extra: Extra) -> Activations:
    exp_i, exp_f, _ = _factors(z_BG, before)
    _, _, _, o = jnp.split(z_BG, 4, axis=1)
    named = {"input factor": exp_i, "forget factor": exp_f, "output gate": gate(o)}
    # The share of c / n that is of the time steps before.
    return named | {"cell": after[0], "decay": exp_f * before[1] / after[1]}


def slstm(*, heads: int, name: str) -> Cell:
    """Returns an sLSTM with so many heads, which divide its number of units."""

    def forget_bias(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        of_head = 5 - 12 * jnp.linspace(0, 1, shape[0] // heads, dtype=dtype) ** 0.3
        return jnp.tile(of_head, heads)

    return Cell(
        name=name,
        columns=("i", "f", "z", "o"),
        blocks=(Block("i"), Block("f"), Block("z"), Block("o", scale=0.5)),
        state=("c", "n", "m", "h"),
        bias_init={"f": forget_bias},
        recurrent_init="zeros",
        keeps="f",
        pointwise=_pointwise,
        decay="decay",
        has_means=False,  # c and n of two states may have different scales m
        activations=_activations,
        recurrent_heads=heads,
    )


slstm_cell = slstm(heads=1, name="slstm")
slstm_heads_cell = slstm(heads=4, name="slstm_heads")
