"""The LSTM: Gers, Schmidhuber and Cummins, "Learning to forget" (2000), without peepholes.

    i, g, f, o = split([x, 1, h] @ [input kernel; bias; recurrent kernel])
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    h = sigmoid(o) * tanh(c)

Axes: T time steps, B batch, I input, H hidden, G = 4H. The gates lie along G in the order i, g, f,
o, which TensorFlow's `BasicLSTMCell` calls i, j, f, o. The cell itself adds no forget bias: the
caller adds it to the bias.

Reasons for its form, measured on CPU with `jax.profiler`:
- sigmoid(z) = tanh(z/2)/2 + 1/2. With the halves multiplied into the kernel, one tanh computes all
  gates.
- XLA's CPU backend would compute a tanh again in every consumer. `optimization_barrier` keeps the
  gates, the new c and its tanh.
- The forward pass keeps derivatives, not gates: the backward scan only multiplies.
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
    """Runs an LSTM over T time steps: returns all outputs [T,B,H] and the final carry (c, h),
    [B,H] each.

    x_TBI, kernels and bias may be float32, bfloat16 or float16; they are converted to float32, or,
    where any is float64, to float64. Outputs and carry have that dtype.

    carry: (c, h) before the first time step, [B,H] each; None stands for zeros.
    lengths_B: integers, the time steps of each sequence. The final carry is then the one after so
        many time steps (the initial one for 0). The outputs continue through the padding, as in
        `flax.linen.RNN`. None: all T.
    reverse: reads each sequence from its last time step to its first; padding stays at the end. The
        outputs are in the order of reading (`lstm_jax.cells.scan.flip` puts them back).

    The function is differentiable in reverse mode, to any order. Raises ValueError with the name of
    an argument whose shape does not fit, and TypeError for integer inputs and for forward mode
    (`jax.jvp`).
    """
    arguments = x_TBI, input_kernel_IG, recurrent_kernel_HG, bias_G, carry, lengths_B
    h_TBH, (c_BH, h_BH) = run_unstacked(lstm_cell, *arguments, reverse=reverse)
    return h_TBH, (c_BH, h_BH)


class _TimeStep(NamedTuple):
    """All values of one time step, [B,H] each: gates after their activations and the new state."""

    i: jax.Array
    g: jax.Array
    f: jax.Array
    o: jax.Array
    tanh_c: jax.Array
    state: State


def _time_step(z_BG: jax.Array, state: State) -> _TimeStep:
    tanh_BG = lax.optimization_barrier(jnp.tanh(z_BG))
    tanh_i, g, tanh_f, tanh_o = jnp.split(tanh_BG, 4, axis=1)
    i, f, o = (0.5 * half + 0.5 for half in (tanh_i, tanh_f, tanh_o))
    c_BH = lax.optimization_barrier(f * state[0] + i * g)
    tanh_c = lax.optimization_barrier(jnp.tanh(c_BH))
    return _TimeStep(i, g, f, o, tanh_c, (c_BH, o * tanh_c))


def _pointwise(z_BG: jax.Array, state: State, extra: Extra) -> State:
    return _time_step(z_BG, state).state


def _activations(z_BG: jax.Array, before: State, after: State, extra: Extra) -> Activations:
    now = _time_step(z_BG, before)
    return {"input gate": now.i, "forget gate": now.f, "output gate": now.o, "cell": after[0]}


def _pointwise_fwd(z_BG: jax.Array, state: State) -> tuple[State, State, State]:
    """Returns the new state, derivatives by z, and residuals.

    The derivatives are those of the new c by z of i, g and f, and of h by z of o. The residuals are
    the derivatives of h by the new c, and of the new c by the old one.
    """
    i, g, f, o, tanh_c, new = _time_step(z_BG, state)
    derivatives = (  # z of i, f, o is halved, so these derivatives are doubled
        2 * i * (1 - i) * g,
        i * (1 - g * g),
        2 * f * (1 - f) * state[0],
        2 * o * (1 - o) * tanh_c,
    )
    return new, derivatives, (o * (1 - tanh_c * tanh_c), f)


def _pointwise_bwd(
    derivatives_BG: jax.Array, residuals: State, dstate: State
) -> tuple[jax.Array, tuple[Any, ...]]:
    (h_by_c, f), (dc_BH, dh_BH) = residuals, dstate
    dc_BH = dc_BH + dh_BH * h_by_c
    c_by_i, c_by_g, c_by_f, h_by_o = jnp.split(derivatives_BG, 4, axis=1)
    gradients = dc_BH * c_by_i, dc_BH * c_by_g, dc_BH * c_by_f, dh_BH * h_by_o
    return jnp.concatenate(gradients, axis=1), (dc_BH * f, None)


lstm_cell = Cell(
    name="lstm",
    columns=("i", "g", "f", "o"),
    blocks=(Block("i", scale=0.5), Block("g"), Block("f", scale=0.5), Block("o", scale=0.5)),
    state=("c", "h"),
    pointwise=_pointwise,
    forget="f",
    decay="forget gate",
    activations=_activations,
    pointwise_fwd=_pointwise_fwd,
    pointwise_bwd=_pointwise_bwd,
)
