"""Cells that are linear in their state and the same at all time steps. Axes: T, B, H.

lru:     s = lambda * s + gamma * (B x),  h = Re(C s) + D x,  lambda = exp(-exp(nu) + i exp(theta))
         Orvieto et al., "Resurrecting recurrent neural networks for long sequences" (2023). One
         complex state a unit, as two real ones. nu and theta start such that lambda is uniform by
         area on the disc of radius 0.999, with phases up to 2 pi. gamma is exp(g) sqrt(1 -
         |lambda|^2), with g at zero: the paper's start. The paper learns log gamma itself.
linoss:  the oscillators y'' = -A y + B x, implicit in time (LinOSS-IM):
         z = z + dt * (-A * y + B x),  y = y + dt * z, both at the new time step
         h = C y + D x,  A = relu(a),  dt = sigmoid(s)
         Rusch and Rus, "Oscillatory state-space models" (2025). a and s start uniform in [0, 1].
         B and C are real, as in the paper; the authors' code takes complex ones.

D is a matrix here, since inputs and units may differ in number; theirs is a vector. No BatchNorm
belongs to these cells: with it an example would depend on its batch.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from lstm_jax.cells.cell import Extra, State, Weight, minus_log
from lstm_jax.cells.linear_cell import LinearCell
from lstm_jax.cells.ordered_matmul import broadcast_rows, matmul_rows

LONGEST = 0.999  # the largest |lambda| at the start


def _lru(z_TBG: jax.Array, extra: Extra) -> tuple[Any, Any]:
    re, im, _ = jnp.split(z_TBG, 3, axis=-1)
    decay, phase = -jnp.exp(extra["nu"]), jnp.exp(extra["theta"])
    a_re, a_im = jnp.exp(decay) * jnp.cos(phase), jnp.exp(decay) * jnp.sin(phase)
    gamma_H = jnp.exp(extra["gamma"]) * jnp.sqrt(-jnp.expm1(2 * decay))
    gamma_TBH = broadcast_rows(gamma_H, z_TBG.shape[:2])
    return ((a_re, -a_im), (a_im, a_re)), (gamma_TBH * re, gamma_TBH * im)


def _lru_read_out(states: State, z_TBG: jax.Array, extra: Extra) -> jax.Array:
    (re, im), skip = states, jnp.split(z_TBG, 3, axis=-1)[2]
    return matmul_rows(re, extra["c_re"]) - matmul_rows(im, extra["c_im"]) + skip


def _nu_init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    square = jax.random.uniform(key, shape, dtype, 1e-6, LONGEST**2)  # |lambda|^2
    return jnp.log(-0.5 * jnp.log(square))


def _theta_init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    return jnp.log(2 * math.pi * jax.random.uniform(key, shape, dtype, 1e-6, 1))


def _read_init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Returns N(0, 1 / H)."""
    return jax.random.normal(key, shape, dtype) / math.sqrt(shape[0])


lru_cell = LinearCell(
    name="lru",
    columns=("r", "i", "d"),
    state=("r", "i", "h"),
    extra={
        "nu": Weight(_nu_init),
        "theta": Weight(_theta_init),
        "gamma": Weight(jax.nn.initializers.zeros),
        "c_re": Weight(_read_init, rank=2),
        "c_im": Weight(_read_init, rank=2),
    },
    chrono_init={"nu": minus_log},  # |lambda| is exp(-1 / tau)
    coefficients=_lru,
    read_out=_lru_read_out,
)


def _linoss(z_TBG: jax.Array, extra: Extra) -> tuple[Any, Any]:
    force, _ = jnp.split(z_TBG, 2, axis=-1)
    stiffness, dt = jax.nn.relu(extra["a"]), jax.nn.sigmoid(extra["s"])
    # The paper's matrix with S = 1 / (1 + dt^2 A): its 1 - dt^2 A S is S.
    keep = 1 / (1 + dt * dt * stiffness)
    step = dt * keep
    b_z = broadcast_rows(step, z_TBG.shape[:2]) * force
    b_y = broadcast_rows(step * dt, z_TBG.shape[:2]) * force
    return ((keep, -step * stiffness), (step, keep)), (b_z, b_y)


def _linoss_read_out(states: State, z_TBG: jax.Array, extra: Extra) -> jax.Array:
    return matmul_rows(states[1], extra["c"]) + jnp.split(z_TBG, 2, axis=-1)[1]


linoss_cell = LinearCell(
    name="linoss",
    columns=("b", "d"),
    state=("z", "y", "h"),
    extra={
        "a": Weight(jax.nn.initializers.uniform(1.0)),
        "s": Weight(jax.nn.initializers.uniform(1.0)),
        "c": Weight(_read_init, rank=2),
    },
    # |lambda|^2 is 1 / (1 + dt^2 A). dt is 1/2, and A such that |lambda| is exp(-1 / tau).
    chrono_init={"s": jnp.zeros_like, "a": lambda tau_H: 4 * jnp.expm1(2 / tau_H)},
    coefficients=_linoss,
    read_out=_linoss_read_out,
)
