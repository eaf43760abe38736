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

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax.cells.cell import Activations, Block, Cell, Extra, State, gate


class _TimeStep(NamedTuple):
    """All values of one time step, [B,H] each: factors and gates after activation, new state."""

    exp_i: jax.Array  # the factor of the new input
    exp_f: jax.Array  # the factor of the old state
    z: jax.Array
    o: jax.Array
    is_kept: jax.Array  # bool: m' is log sigmoid(f) + m
    divisor: jax.Array
    state: State


def _time_step(z_BG: jax.Array, before: State) -> _TimeStep:
    i, f, z, o = jnp.split(z_BG, 4, axis=1)
    c_BH, n_BH, m_BH, _ = before
    log_keep = m_BH + jax.nn.log_sigmoid(f)
    is_kept = (n_BH != 0) & (log_keep >= i)
    m_new = lax.optimization_barrier(jnp.where(is_kept, log_keep, i))
    # Both exponents are at most 0, but for the second one where c and n are 0.
    exp_i, exp_f = jnp.exp(i - m_new), jnp.exp(jnp.minimum(log_keep - m_new, 0))
    exp_i, exp_f = lax.optimization_barrier(exp_i), lax.optimization_barrier(exp_f)
    z = lax.optimization_barrier(jnp.tanh(z))
    c_BH, n_BH = exp_f * c_BH + exp_i * z, exp_f * n_BH + exp_i
    # A state that no time step has made, such as one that a decoder starts from, may hold any n.
    divisor = jnp.where(n_BH < 1, jnp.ones_like(n_BH), n_BH)
    o = gate(o)
    new = c_BH, n_BH, m_new, o * (c_BH / divisor)
    return _TimeStep(exp_i, exp_f, z, o, is_kept, divisor, new)


def _pointwise(z_BG: jax.Array, state: State, extra: Extra) -> State:
    return _time_step(z_BG, state).state


def _pointwise_fwd(z_BG: jax.Array, before: State) -> tuple[State, State, State]:
    """Returns the new state, derivatives, and residuals.

    Where m' is log sigmoid(f) + m, the factor of the old state is 1, and where m' is i, that of the
    new input. The other factor depends on the difference of the two alone: so the derivatives of c
    and n by log sigmoid(f) + m are those by i with the opposite sign. Where both are equal, m' is
    taken for log sigmoid(f) + m.

    The derivatives are those of the new c by i, of log sigmoid(f) by f, of c by z and of h by o.
    The residuals are the derivatives of the new n by i, of the new m by i, of the new c by the old
    one, and of h by the new c and n.
    """
    exp_i, exp_f, z, o, is_kept, divisor, new = _time_step(z_BG, before)
    _, f, _, _ = jnp.split(z_BG, 4, axis=1)
    ratio = new[0] / divisor
    h_by_c = o / divisor
    derivatives = (
        jnp.where(is_kept, exp_i * z, -exp_f * before[0]),
        jax.nn.sigmoid(-f),
        exp_i * (1 - z * z),
        2 * o * (1 - o) * ratio,  # z of o is halved
    )
    residuals = (
        jnp.where(is_kept, exp_i, -exp_f * before[1]),
        jnp.where(is_kept, jnp.zeros_like(z), jnp.ones_like(z)),
        exp_f,
        h_by_c,
        jnp.where(new[1] < 1, jnp.zeros_like(z), -h_by_c * ratio),
    )
    return new, derivatives, residuals


def _pointwise_bwd(
    derivatives_BG: jax.Array, residuals: State, dstate: State
) -> tuple[jax.Array, tuple[Any, ...]]:
    n_by_i, m_by_i, c_by_c, h_by_c, h_by_n = residuals
    dc_BH, dn_BH, dm_BH, dh_BH = dstate
    dc_BH, dn_BH = dc_BH + dh_BH * h_by_c, dn_BH + dh_BH * h_by_n
    c_by_i, log_by_f, c_by_z, h_by_o = jnp.split(derivatives_BG, 4, axis=1)
    di_BH = dc_BH * c_by_i + dn_BH * n_by_i + dm_BH * m_by_i
    dlog_BH = dm_BH - di_BH  # by log sigmoid(f) + m
    gradients = di_BH, dlog_BH * log_by_f, dc_BH * c_by_z, dh_BH * h_by_o
    return jnp.concatenate(gradients, axis=1), (dc_BH * c_by_c, dn_BH * c_by_c, dlog_BH, None)


def _activations(z_BG: jax.Array, before: State, after: State, extra: Extra) -> Activations:
    now = _time_step(z_BG, before)
    named = {"input factor": now.exp_i, "forget factor": now.exp_f, "output gate": now.o}
    # The share of c / n that is of the time steps before.
    return named | {"cell": after[0], "decay": now.exp_f * before[1] / after[1]}


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
        pointwise_fwd=_pointwise_fwd,
        pointwise_bwd=_pointwise_bwd,
        decay="decay",
        has_means=False,  # c and n of two states may have different scales m
        activations=_activations,
        recurrent_heads=heads,
    )


slstm_cell = slstm(heads=1, name="slstm")
slstm_heads_cell = slstm(heads=4, name="slstm_heads")
