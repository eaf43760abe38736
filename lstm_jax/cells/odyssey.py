"""Variants of the LSTM: Greff et al., "LSTM: A Search Space Odyssey" (2015), section 3.

Each changes one thing of our LSTM, which has no peepholes (the paper's NP; the paper's variants
start from `lstm_peephole`, its "vanilla"):

    lstm_nig, lstm_nfg, lstm_nog   no input, forget, output gate: it is 1
    lstm_niaf, lstm_noaf           no input, output activation function: g, c instead of tanh of it
    lstm_cifg                      coupled gates: i = 1 - f (the paper learns i, which is the same)
    lstm_peephole                  i and f see the cell before, o the new one, by weights per unit;
                                   Gers and Schmidhuber, "Recurrent nets that time and count" (2000)
    lstm_fgr                       full gate recurrence: i, f, o also read the three gates before

Axes as in `passes.py`. Columns keep the LSTM's order i, g, f, o.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax.cells.cell import Activations, Block, Cell, Extra, State, gate

Function = Callable[[jax.Array], jax.Array]
NAMES = {"i": "input gate", "f": "forget gate", "o": "output gate"}


def _tanh(array: jax.Array) -> jax.Array:
    return lax.optimization_barrier(jnp.tanh(array))  # not again in every consumer


def _same(array: jax.Array) -> jax.Array:
    return array


def _blocks(columns: str) -> tuple[Block, ...]:
    return tuple(Block(column, scale=1.0 if column == "g" else 0.5) for column in columns)


def _variant(
    name: str,
    columns: str = "igfo",
    coupled: bool = False,
    input_function: Function = _tanh,
    output_function: Function = _tanh,
) -> Cell:
    """Returns the LSTM whose gates are those among its columns; a gate that is not there is 1."""

    def gates(z_BG: jax.Array) -> dict[str, jax.Array]:
        z = dict(zip(columns, jnp.split(z_BG, len(columns), axis=1), strict=True))
        found = {column: gate(z[column]) for column in columns if column != "g"}
        if coupled:
            found["i"] = 1 - found["f"]
        return found | {"g": input_function(z["g"])}

    def pointwise(z_BG: jax.Array, state: State, extra: Extra) -> State:
        u = gates(z_BG)
        c = u.get("f", 1.0) * state[0] + u.get("i", 1.0) * u["g"]
        return c, u.get("o", 1.0) * output_function(c)

    def activations(z_BG: jax.Array, before: State, after: State, extra: Extra) -> Activations:
        u = gates(z_BG)
        return {NAMES[column]: u[column] for column in NAMES if column in u} | {"cell": after[0]}

    return Cell(
        name=name,
        columns=tuple(columns),
        blocks=_blocks(columns),
        state=("c", "h"),
        pointwise=pointwise,
        forget="f" if "f" in columns else None,
        activations=activations,
    )


nig_cell = _variant("lstm_nig", "gfo")
nfg_cell = _variant("lstm_nfg", "igo")
nog_cell = _variant("lstm_nog", "igf")
niaf_cell = _variant("lstm_niaf", input_function=_same)
noaf_cell = _variant("lstm_noaf", output_function=_same)
cifg_cell = _variant("lstm_cifg", "gfo", coupled=True)


# The inputs of the gates are halved, so what the peepholes add is halved as well.
def _peephole(z_BG: jax.Array, state: State, extra: Extra) -> State:
    i, g, f, o = jnp.split(z_BG, 4, axis=1)
    half = 0.5 * state[0]
    c = gate(f + extra["p_f"] * half) * state[0] + gate(i + extra["p_i"] * half) * _tanh(g)
    return c, gate(o + extra["p_o"] * 0.5 * c) * _tanh(c)


def _peephole_activations(
    z_BG: jax.Array, before: State, after: State, extra: Extra
) -> Activations:
    i, _, f, o = jnp.split(z_BG, 4, axis=1)
    half, (c, _) = 0.5 * before[0], after
    return {
        "input gate": gate(i + extra["p_i"] * half),
        "forget gate": gate(f + extra["p_f"] * half),
        "output gate": gate(o + extra["p_o"] * 0.5 * c),
        "cell": c,
    }


peephole_cell = Cell(
    name="lstm_peephole",
    columns=tuple("igfo"),
    blocks=_blocks("igfo"),
    state=("c", "h"),
    extra=("p_i", "p_f", "p_o"),
    pointwise=_peephole,
    forget="f",
    activations=_peephole_activations,
)


def _full(z_BG: jax.Array, state: State, extra: Extra) -> State:
    i, g, f, o = jnp.split(z_BG, 4, axis=1)
    i, f, o = gate(i), gate(f), gate(o)
    c = f * state[0] + i * _tanh(g)
    return c, o * _tanh(c), i, f, o


def _full_activations(z_BG: jax.Array, before: State, after: State, extra: Extra) -> Activations:
    c, _, i, f, o = after
    return {"input gate": i, "forget gate": f, "output gate": o, "cell": c}


fgr_cell = Cell(
    name="lstm_fgr",
    columns=tuple("igfo"),
    blocks=tuple(Block(c, "xh") if c == "g" else Block(c, "xhifo", 0.5) for c in "igfo"),
    state=("c", "h", "i", "f", "o"),
    read=("h", "i", "f", "o"),
    pointwise=_full,
    forget="f",
    activations=_full_activations,
)
