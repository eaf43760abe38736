"""Variants of the LSTM: Greff et al., "LSTM: A Search Space Odyssey" (2015), section 3.

Each variant changes one thing of our LSTM, which has no peepholes (the paper's NP). The paper's own
variants start from its "vanilla", our `lstm_peephole`.

    lstm_nig, lstm_nfg, lstm_nog   no input, forget, output gate: the gate is 1
    lstm_niaf, lstm_noaf           no input, output activation function: g, c instead of its tanh
    lstm_cifg                      coupled gates: i = 1 - f (the paper learns i, which is the same)
    lstm_peephole                  i and f also read the old c, o the new c, by one weight a unit;
                                   Gers and Schmidhuber, "Recurrent nets that time and count" (2000)
    lstm_fgr                       full gate recurrence: i, f, o also read i, f, o of the time step
                                   before

Axes: B batch, H hidden, G = blocks * H. Columns have the LSTM's order i, g, f, o.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax.cells.cell import Activations, Block, Cell, Extra, State, Weight, gate

Function = Callable[[jax.Array], jax.Array]
GATE_NAMES = {"i": "input gate", "f": "forget gate", "o": "output gate"}


def _tanh(array: jax.Array) -> jax.Array:
    # The barrier keeps XLA from computing the tanh again in every consumer.
    return lax.optimization_barrier(jnp.tanh(array))


def _identity(array: jax.Array) -> jax.Array:
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
    """Returns an LSTM with the gates that are among its columns; any other gate is 1."""

    def activate(z_BG: jax.Array) -> dict[str, jax.Array]:
        z = dict(zip(columns, jnp.split(z_BG, len(columns), axis=1), strict=True))
        gates = {column: gate(z[column]) for column in columns if column != "g"}
        if coupled:
            gates["i"] = 1 - gates["f"]
        return gates | {"g": input_function(z["g"])}

    def pointwise(z_BG: jax.Array, state: State, extra: Extra) -> State:
        gates = activate(z_BG)
        c = gates.get("f", 1.0) * state[0] + gates.get("i", 1.0) * gates["g"]
        return c, gates.get("o", 1.0) * output_function(c)

    def activations(z_BG: jax.Array, before: State, after: State, extra: Extra) -> Activations:
        gates = activate(z_BG)
        named = {GATE_NAMES[column]: gates[column] for column in GATE_NAMES if column in gates}
        return named | {"cell": after[0]}

    return Cell(
        name=name,
        columns=tuple(columns),
        blocks=_blocks(columns),
        state=("c", "h"),
        pointwise=pointwise,
        forget="f" if "f" in columns else None,
        decay="forget gate" if "f" in columns else None,
        activations=activations,
    )


nig_cell = _variant("lstm_nig", "gfo")
nfg_cell = _variant("lstm_nfg", "igo")
nog_cell = _variant("lstm_nog", "igf")
niaf_cell = _variant("lstm_niaf", input_function=_identity)
noaf_cell = _variant("lstm_noaf", output_function=_identity)
cifg_cell = _variant("lstm_cifg", "gfo", coupled=True)


# z of the gates is halved, so the terms of the peepholes are halved as well.
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
    extra={name: Weight(jax.nn.initializers.zeros) for name in ("p_i", "p_f", "p_o")},
    pointwise=_peephole,
    forget="f",
    decay="forget gate",
    activations=_peephole_activations,
)


def _full_gate(z_BG: jax.Array, state: State, extra: Extra) -> State:
    i, g, f, o = jnp.split(z_BG, 4, axis=1)
    i, f, o = gate(i), gate(f), gate(o)
    c = f * state[0] + i * _tanh(g)
    return c, o * _tanh(c), i, f, o


def _full_gate_activations(
    z_BG: jax.Array, before: State, after: State, extra: Extra
) -> Activations:
    c, _, i, f, o = after
    return {"input gate": i, "forget gate": f, "output gate": o, "cell": c}


fgr_cell = Cell(
    name="lstm_fgr",
    columns=tuple("igfo"),
    blocks=tuple(Block(c, "xh") if c == "g" else Block(c, "xhifo", 0.5) for c in "igfo"),
    state=("c", "h", "i", "f", "o"),
    read=("h", "i", "f", "o"),
    pointwise=_full_gate,
    forget="f",
    decay="forget gate",
    activations=_full_gate_activations,
)
