"""Networks of coupled and of independent oscillators. Axes: B batch, G = H hidden.

cornn:     z = z + dt * (tanh(x @ W + z @ V + h @ U + b) - gamma * h - epsilon * z)
           h = h + dt * z
           Rusch and Mishra, "Coupled oscillatory recurrent neural network (coRNN)" (2021).
unicornn:  z = z - dt * sigmoid(c) * (tanh(x @ V + b + w * h) + alpha * h)
           h = h + dt * sigmoid(c) * z
           Rusch and Mishra, "UnICORNN: A recurrent model for learning very long time dependencies"
           (2021). w starts uniform in [0, 1], c in [-0.1, 0.1]. The products read x alone.

dt, gamma, epsilon and alpha are constants of a cell: those in the table are the papers', for pixels
of MNIST one by one. For others, put `mine = cornn(dt=0.1, gamma=1.0, epsilon=1.0)` into a file and
name it `--cell file.py:mine`.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax.cells.cell import Cell, Extra, State, Weight


def cornn(*, dt: float, gamma: float, epsilon: float, name: str = "cornn") -> Cell:
    """Returns a coRNN with the time step dt, the stiffness gamma and the damping epsilon."""

    def pointwise(z_BG: jax.Array, state: State, extra: Extra) -> State:
        z_BH, h_BH = state
        force = lax.optimization_barrier(jnp.tanh(z_BG)) - gamma * h_BH - epsilon * z_BH
        z_BH = z_BH + dt * force
        return z_BH, h_BH + dt * z_BH

    return Cell(
        name=name,
        columns=("n",),
        state=("z", "h"),
        read=("z", "h"),
        pointwise=pointwise,
    )


def unicornn(*, dt: float, alpha: float, name: str = "unicornn") -> Cell:
    """Returns a UnICORNN with the longest time step dt and the stiffness alpha."""

    def pointwise(z_BG: jax.Array, state: State, extra: Extra) -> State:
        z_BH, h_BH = state
        step = dt * jax.nn.sigmoid(extra["c"])
        n = lax.optimization_barrier(jnp.tanh(z_BG + extra["w"] * h_BH))
        z_BH = z_BH - step * (n + alpha * h_BH)
        return z_BH, h_BH + step * z_BH

    def uniform(low: float, high: float) -> Any:
        def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
            return jax.random.uniform(key, shape, dtype, low, high)

        return init

    def chrono_c(tau_H: jax.Array) -> jax.Array:
        """Returns c such that a unit turns by one radian in tau time steps: the period is 2 pi tau.

        Nothing decays here, so the period is what one can set. A unit is no faster than dt lets it.
        """
        share_H = jnp.minimum(1 / (dt * math.sqrt(alpha) * tau_H), 0.99)
        return jax.scipy.special.logit(share_H)

    return Cell(
        name=name,
        columns=("n",),
        state=("z", "h"),
        read=(),
        chrono_init={"c": chrono_c},
        extra={"w": Weight(uniform(0, 1)), "c": Weight(uniform(-0.1, 0.1))},
        pointwise=pointwise,
    )


cornn_cell = cornn(dt=0.042, gamma=2.7, epsilon=4.7)
unicornn_cell = unicornn(dt=0.19, alpha=30.65)
