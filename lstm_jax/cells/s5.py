"""The state-space layer S5, a cell that is linear in its state. Axes: T, B, H.

s5:  s' = lambda s + B x in continuous time, held over a time step of dt (zero-order hold):
     s = exp(lambda dt) s + (exp(lambda dt) - 1) / lambda * (B x),  h = 2 Re(C s) + D x
     lambda = -exp(r) + i omega,  dt = exp(log_dt)
     Smith, Warrington and Linderman, "Simplified state space layers for sequence modeling" (2023).
     lindermanlab/S5 was read beside it. One complex state a unit, as two real ones: of each pair
     of conjugate eigenvalues one is kept, hence the 2. dt starts log-uniform in [0.001, 0.1].

lambda starts as eigenvalues of the normal part of HiPPO-LegS, -1/2 + i omega. Theirs are computed
by LAPACK, whose last bits may depend on threads; here omega is the closed form that approximates
them, S4D-Inv of Gu et al., "On the parameterization and initialization of diagonal state space
models" (2022). Their real part may become positive in training; this one cannot. B and C start as
random as theirs, without the unitary matrix that theirs are multiplied with; B has twice its
variance. D is a matrix here, since inputs and units may differ in number; theirs is a vector.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from lstm_jax.cells.cell import Extra, State, Weight
from lstm_jax.cells.linear_cell import LinearCell
from lstm_jax.cells.ordered_matmul import broadcast_rows, matmul_rows


def _s5(z_TBG: jax.Array, extra: Extra) -> tuple[Any, Any]:
    re, im, _ = jnp.split(z_TBG, 3, axis=-1)
    dt, omega, damping = jnp.exp(extra["log_dt"]), extra["omega"], jnp.exp(extra["r"])
    shrunk, angle = jnp.expm1(-damping * dt), omega * dt
    a_re, a_im = (1 + shrunk) * jnp.cos(angle), (1 + shrunk) * jnp.sin(angle)
    # exp(lambda dt) - 1, without the cancellation of a small dt.
    grown_re = shrunk * jnp.cos(angle) - 2 * jnp.square(jnp.sin(angle / 2))
    inverse = 1 / (damping * damping + omega * omega)
    gain_re = (a_im * omega - grown_re * damping) * inverse
    gain_im = -(a_im * damping + grown_re * omega) * inverse
    g_re, g_im = (broadcast_rows(gain, z_TBG.shape[:2]) for gain in (gain_re, gain_im))
    return ((a_re, -a_im), (a_im, a_re)), (g_re * re - g_im * im, g_re * im + g_im * re)


def _s5_read_out(states: State, z_TBG: jax.Array, extra: Extra) -> jax.Array:
    (re, im), skip = states, jnp.split(z_TBG, 3, axis=-1)[2]
    return 2 * (matmul_rows(re, extra["c_re"]) - matmul_rows(im, extra["c_im"])) + skip


def _omega_init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Returns S4D-Inv: N / pi (N / (2 n + 1) - 1) for n = 0, ..., H - 1 and N = 2 H."""
    size, odd = 2 * shape[0], 2 * jnp.arange(shape[0], dtype=dtype) + 1
    return size / math.pi * (size / odd - 1)


def _log_dt_init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    return jax.random.uniform(key, shape, dtype, math.log(0.001), math.log(0.1))


def _read_init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Returns N(0, 1 / (2 H))."""
    return jax.random.normal(key, shape, dtype) / math.sqrt(2 * shape[0])


s5_cell = LinearCell(
    name="s5",
    columns=("r", "i", "d"),
    state=("r", "i", "h"),
    extra={
        "r": Weight(jax.nn.initializers.constant(math.log(0.5))),
        "omega": Weight(_omega_init),
        "log_dt": Weight(_log_dt_init),
        "c_re": Weight(_read_init, rank=2),
        "c_im": Weight(_read_init, rank=2),
    },
    # |exp(lambda dt)| is exp(-dt / 2) at the start.
    chrono_init={"log_dt": lambda tau_H: jnp.log(2 / tau_H)},
    coefficients=_s5,
    read_out=_s5_read_out,
)
