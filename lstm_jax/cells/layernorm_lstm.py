"""The LSTM with layer normalisation: Ba, Kiros and Hinton, "Layer normalization" (2016).

    i, g, f, o = gain_h * norm(h @ U) + gain_x * norm(x @ W) + b, norm over all four at once
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    h = sigmoid(o) * tanh(gain_c * norm(c) + bias_c)

norm(v) is (v - mean) / sqrt(variance + 1e-6); see `norm.py`. Gains start at 1 and biases at 0, but
that of f at 1, as our LSTM's forget bias does by default; it stands behind the norm, so
`--forget-bias` does not reach it. The paper adds a bias to either product and a third one to their
sum; here there is their sum alone.

Axes: B batch, H hidden.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax.cells.cell import Activations, Block, Extra, State, Weight, minus_log
from lstm_jax.cells.norm import normalise
from lstm_jax.cells.staged_cell import PerColumn, Products, StagedCell

COLUMNS = ("i", "g", "f", "o")
zeros, ones = jax.nn.initializers.zeros, jax.nn.initializers.ones


def _activated(x_BG: jax.Array, projected_BG: jax.Array, extra: Extra) -> PerColumn:
    """Returns i, g, f and o after their activations.

    One tanh for all of them, and sums of one product each: every compiled program rounds alike.
    """

    def wide(name: str) -> jax.Array:
        return jnp.concatenate([extra[name + column] for column in COLUMNS], axis=1)

    of_x = wide("gain_x") * normalise("layer", x_BG) + wide("bias_")
    z_BG = wide("gain_h") * normalise("layer", projected_BG) + lax.optimization_barrier(of_x)
    i, g, f, o = jnp.split(z_BG, 4, axis=1)
    tanh_BG = jnp.tanh(jnp.concatenate([0.5 * i, g, 0.5 * f, 0.5 * o], axis=1))
    i, g, f, o = jnp.split(lax.optimization_barrier(tanh_BG), 4, axis=1)
    return 0.5 * i + 0.5, g, 0.5 * f + 0.5, 0.5 * o + 0.5


def _formula(x: PerColumn, products: Products, state: State, extra: Extra) -> State:
    x_BG, projected_BG = (jnp.concatenate(z, axis=1) for z in (x, products[0](state[1])))
    i, g, f, o = _activated(x_BG, projected_BG, extra)
    c_BH = lax.optimization_barrier(f * state[0] + i * g)
    scaled = extra["gain_c"] * normalise("layer", c_BH) + extra["bias_c"]
    return c_BH, o * lax.optimization_barrier(jnp.tanh(scaled))


def _activations(z_B2G: jax.Array, before: State, after: State, extra: Extra) -> Activations:
    x_BG, projected_BG = jnp.split(z_B2G, 2, axis=1)
    i, _, f, o = _activated(x_BG, projected_BG, extra)
    return {"input gate": i, "forget gate": f, "output gate": o, "cell": after[0]}


lstm_layernorm_cell = StagedCell(
    name="lstm_layernorm",
    columns=COLUMNS,
    stages=(COLUMNS,),
    blocks=tuple(Block(column, bias=False) for column in COLUMNS),
    state=("c", "h"),
    extra={f"gain_{source}{column}": Weight(ones) for source in "xh" for column in COLUMNS}
    | {f"bias_{column}": Weight(ones if column == "f" else zeros) for column in COLUMNS}
    | {"gain_c": Weight(ones), "bias_c": Weight(zeros)},
    chrono_init={"bias_f": jnp.log, "bias_i": minus_log},
    formula=_formula,
    decay="forget gate",
    activations=_activations,
)
