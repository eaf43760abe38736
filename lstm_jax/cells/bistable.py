"""The bistable recurrent cells: Vecoven, Ernst and Drion, "A bio-inspired bistable recurrent cell
allows for long-lasting memory" (2021).

    a = 1 + tanh(x @ Wa + A(h) + ba)
    c = sigmoid(x @ Wc + C(h) + bc)
    h = c * h + (1 - c) * tanh(x @ Wh + a * h + bh)

brc:   A(h) = wa * h and C(h) = wc * h, with one weight a unit, 1 at the start. The products read x
       alone.
nbrc:  A(h) = h @ Ua and C(h) = h @ Uc.

Where a > 1 a unit has two stable states, and keeps one of them without input. The paper has no bh;
ours starts at zero.

Axes: B batch, H hidden, G = blocks * H.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax.cells.cell import Activations, Block, Cell, Extra, State, Weight, gate


def _time_step(a: jax.Array, c: jax.Array, n: jax.Array, h_BH: jax.Array) -> jax.Array:
    """Returns the new h from the pre-activations; that of c is halved.

    Each sum has one product, so that every compiled program rounds it alike.
    """
    a = lax.optimization_barrier(jnp.tanh(a))
    n = lax.optimization_barrier(jnp.tanh(n + h_BH + a * h_BH))
    return n + gate(c) * (h_BH - n)


def _brc(z_BG: jax.Array, state: State, extra: Extra) -> State:
    a, c, n = jnp.split(z_BG, 3, axis=1)
    (h_BH,) = state
    return (_time_step(a + extra["w_a"] * h_BH, c + 0.5 * extra["w_c"] * h_BH, n, h_BH),)


def _nbrc(z_BG: jax.Array, state: State, extra: Extra) -> State:
    a, c, n = jnp.split(z_BG, 3, axis=1)
    return (_time_step(a, c, n, state[0]),)


def _brc_activations(z_BG: jax.Array, before: State, after: State, extra: Extra) -> Activations:
    a, c, _ = jnp.split(z_BG, 3, axis=1)
    (h_BH,) = before
    feedback = 1 + jnp.tanh(a + extra["w_a"] * h_BH)
    return {"update gate": gate(c + 0.5 * extra["w_c"] * h_BH), "feedback": feedback}


def _nbrc_activations(z_BG: jax.Array, before: State, after: State, extra: Extra) -> Activations:
    a, c, _ = jnp.split(z_BG, 3, axis=1)
    return {"update gate": gate(c), "feedback": 1 + jnp.tanh(a)}


brc_cell = Cell(
    name="brc",
    columns=("a", "c", "n"),
    blocks=(Block("a", "x"), Block("c", "x", scale=0.5), Block("n", "x")),
    read=(),
    extra={name: Weight(jax.nn.initializers.ones) for name in ("w_a", "w_c")},
    keeps="c",
    pointwise=_brc,
    decay="update gate",
    activations=_brc_activations,
)
nbrc_cell = Cell(
    name="nbrc",
    columns=("a", "c", "n"),
    blocks=(Block("a"), Block("c", scale=0.5), Block("n", "x")),
    keeps="c",
    pointwise=_nbrc,
    decay="update gate",
    activations=_nbrc_activations,
)
