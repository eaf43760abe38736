"""The LSTM: Gers, Schmidhuber and Cummins, "Learning to forget" (2000), without peepholes.

    i, g, f, o = split([x, 1, h] @ [input kernel; bias; recurrent kernel])
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    h = sigmoid(o) * tanh(c)

Axes as in `passes.py`; here G = 4H. The gates lie along G in the order i, g, f, o, which
TensorFlow's `BasicLSTMCell` calls i, j, f, o. There is no hidden forget bias: a caller adds it.

Why it is faster than the formula alone (measured on CPU with `jax.profiler`):
- sigmoid(z) = tanh(z/2)/2 + 1/2. With the halves fused into the kernel one tanh does all gates.
- XLA's CPU backend would compute a tanh again in every consumer; `optimization_barrier` holds the
  gates, the new cell state and its tanh apart.
- The forward pass keeps the slopes of a row, not its gates: the backward scan only multiplies.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax.cells.cell import Activations, Block, Cell, Extra, State
from lstm_jax.cells.scan import run_unstacked

Carry = tuple[jax.Array, jax.Array]  # (c_BH, h_BH), in Flax's order


def lstm(
    x_TBI: jax.Array,
    input_kernel_IG: jax.Array,
    recurrent_kernel_HG: jax.Array,
    bias_G: jax.Array,
    carry: Carry | None = None,
    lengths_B: jax.Array | None = None,
    *,
    reverse: bool = False,
) -> tuple[jax.Array, Carry]:
    """Runs an LSTM over T rows: all outputs h_TBH and the final carry (c_BH, h_BH).

    Inputs are float32, bfloat16 or float16, or, if any is float64, all are taken as float64; state,
    outputs and sums are float32 (float64). No carry stands for zeros.

    With integer lengths_B the final carry is the one after that many rows (the initial one for
    none), and the outputs run on through the padding, as in `flax.linen.RNN`. `reverse` reads each
    sequence from its last row to its first, padding still at the end; the outputs are in the order
    of reading (`recurrence.flip` puts them back).

    Differentiable in reverse mode, to any order. Forward mode (`jax.jvp`) is a TypeError, as are
    integer inputs; a ValueError names the argument whose shape does not fit.
    """
    given = x_TBI, input_kernel_IG, recurrent_kernel_HG, bias_G, carry, lengths_B
    h_TBH, (c_BH, h_BH) = run_unstacked(lstm_cell, *given, reverse=reverse)
    return h_TBH, (c_BH, h_BH)


class _Gates(NamedTuple):
    i: jax.Array
    g: jax.Array
    f: jax.Array
    o: jax.Array
    tanh_c: jax.Array
    new: State


def _gates(z_BG: jax.Array, state: State) -> _Gates:
    """Returns the gates after their activations, the tanh of the new cell, and the new state."""
    u_BG = lax.optimization_barrier(jnp.tanh(z_BG))
    u_i, g, u_f, u_o = jnp.split(u_BG, 4, axis=1)
    i, f, o = (0.5 * u + 0.5 for u in (u_i, u_f, u_o))
    c_BH = lax.optimization_barrier(f * state[0] + i * g)
    tanh_c = lax.optimization_barrier(jnp.tanh(c_BH))
    return _Gates(i, g, f, o, tanh_c, (c_BH, o * tanh_c))


def _pointwise(z_BG: jax.Array, state: State, extra: Extra) -> State:
    return _gates(z_BG, state).new


def _activations(z_BG: jax.Array, before: State, after: State, extra: Extra) -> Activations:
    gates = _gates(z_BG, before)
    return {"input gate": gates.i, "forget gate": gates.f, "output gate": gates.o, "cell": after[0]}


def _pointwise_fwd(z_BG: jax.Array, state: State) -> tuple[State, State, State]:
    """Returns the new state; the slopes of c by the inputs of i, g, f and of h by that of o; the
    slopes of h by c and of c by the c before.
    """
    i, g, f, o, tanh_c, new = _gates(z_BG, state)
    slopes = (  # the inputs of i, f, o are halved, so their slopes are doubled
        2 * i * (1 - i) * g,
        i * (1 - g * g),
        2 * f * (1 - f) * state[0],
        2 * o * (1 - o) * tanh_c,
    )
    return new, slopes, (o * (1 - tanh_c * tanh_c), f)


def _pointwise_bwd(
    forward_BG: jax.Array, residuals: State, dstate: State
) -> tuple[jax.Array, tuple[Any, ...]]:
    (slope_BH, f_BH), (dc_BH, dh_BH) = residuals, dstate
    dc_BH = dc_BH + dh_BH * slope_BH
    s_i, s_g, s_f, s_o = jnp.split(forward_BG, 4, axis=1)
    dz_BG = jnp.concatenate([dc_BH * s_i, dc_BH * s_g, dc_BH * s_f, dh_BH * s_o], axis=1)
    return dz_BG, (dc_BH * f_BH, None)


lstm_cell = Cell(
    name="lstm",
    columns=("i", "g", "f", "o"),
    blocks=(Block("i", scale=0.5), Block("g"), Block("f", scale=0.5), Block("o", scale=0.5)),
    state=("c", "h"),
    pointwise=_pointwise,
    forget="f",
    activations=_activations,
    pointwise_fwd=_pointwise_fwd,
    pointwise_bwd=_pointwise_bwd,
)
