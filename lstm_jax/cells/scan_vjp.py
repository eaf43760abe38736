"""The recurrence of cells whose products read a state, with a backward pass by hand: `recur`.

Axes: T time steps, B batch, N = T * B, I input, H hidden, R = num_read * H states that the products
read, K = I + 1 + R, G = blocks * H. Of G, D belong to blocks that read a state and X to blocks that
read only the input.

Reasons for its form, measured on CPU with `jax.profiler`:
- [x, 1, r] stays in one buffer. After the backward scan all gradients of weights and biases are one
  product of it with dz, the gradient by z.
- The forward pass keeps z in a buffer of the same size, or the derivatives, where the cell has a
  gradient by hand. The backward scan overwrites the buffer with dz, time step by time step.
- Without a gradient by hand, the backward scan computes the pointwise formula again: it is cheaper
  than keeping all that its gradient needs.
- Blocks that read only the input are products over all time steps at once. No zeros are multiplied.
- Gradients of the extra weights are products with ones: the order of a plain sum may depend on the
  number of threads.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax.cells.argument_checks import expect_new_state
from lstm_jax.cells.cell import Cell, Extra, State
from lstm_jax.cells.ordered_matmul import sum_over_rows
from lstm_jax.cells.precision import operand, product


class Residuals(NamedTuple):
    """Arrays of the forward pass that the backward pass needs."""

    kernel_KG: jax.Array
    extra: Extra
    lengths_B: jax.Array | None
    xr_TBK: jax.Array  # [x, 1, r]
    derivatives_or_z_TBG: jax.Array  # derivatives for a cell with a gradient by hand, else z
    pointwise: State  # its residuals, or the state before each time step; [T,B,H] each


def _pointwise_with_residuals(
    cell: Cell, z_BG: jax.Array, state: State, extra_BH: Extra
) -> tuple[State, State, State]:
    """Returns the new state, derivatives or z, and residuals; see `Cell.pointwise_fwd`."""
    if cell.pointwise_fwd is not None:
        return cell.pointwise_fwd(z_BG, state)
    assert cell.pointwise is not None, "a linear cell has a scan of its own"
    new = cell.pointwise(z_BG, state, extra_BH)
    expect_new_state(cell.name, new, state)
    return new, (z_BG,), state


def pointwise_vjp(
    cell: Cell, derivatives_or_z_BG: jax.Array, residuals: State, extra_BH: Extra, dstate: State
) -> tuple[jax.Array, tuple[Any, ...], Extra]:
    """Returns the gradients by z, by the state before (see `Cell.pointwise_bwd`), by `extra`."""
    if cell.pointwise_bwd is not None:
        return *cell.pointwise_bwd(derivatives_or_z_BG, residuals, dstate), {}
    assert cell.pointwise is not None, "a linear cell has a scan of its own"
    _, vjp = jax.vjp(cell.pointwise, derivatives_or_z_BG, residuals, extra_BH)
    dz_BG, dbefore, dextra_BH = vjp(dstate)
    return dz_BG, dbefore, dextra_BH


def _input_only_blocks(
    cell: Cell, kernel_KG: jax.Array, x_TBI: jax.Array
) -> tuple[jax.Array, jax.Array | None]:
    """Returns the kernel of the blocks that read a state, and z of the others, [T,B,X] or None."""
    num_inputs, start = x_TBI.shape[2], _num_state_columns(cell, kernel_KG)
    if start == kernel_KG.shape[1]:
        return kernel_KG, None
    kernel_IX = kernel_KG[:num_inputs, start:]
    z_TBX = product(x_TBI, kernel_IX) + kernel_KG[num_inputs, start:][None, None]
    return kernel_KG[:, :start], z_TBX


def _num_state_columns(cell: Cell, kernel_KG: jax.Array) -> int:
    return kernel_KG.shape[1] // len(cell.blocks) * cell.num_state_blocks


def _concat_blocks(z_BD: jax.Array, z_BX: jax.Array | None) -> jax.Array:
    return z_BD if z_BX is None else jnp.concatenate([z_BD, z_BX], axis=1)


def broadcast_to_batch(extra: Extra, batch: int) -> Extra:
    """Returns the extra weights for each sequence, [B,H] each, so that their gradients are too."""
    return {name: jnp.broadcast_to(w_H[None], (batch, len(w_H))) for name, w_H in extra.items()}


def append_state(cell: Cell, x_BI: jax.Array, state: State) -> jax.Array:
    """Returns [x, 1, r], [B,K]."""
    read = (state[index] for index in cell.read_indices)
    return jnp.concatenate([x_BI, jnp.ones_like(x_BI[:, :1]), *read], axis=1)


def _write_row(buffer: jax.Array, value: jax.Array, t: jax.Array, column: int) -> jax.Array:
    start = t, jnp.int32(0), jnp.int32(column)
    return lax.dynamic_update_slice(buffer, value[None], start)


def freeze_after_end(
    lengths_B: jax.Array | None, t: jax.Array, new: State, final: State | None
) -> State | None:
    """Returns the last state so far inside each sequence; None where all have full length."""
    if lengths_B is None or final is None:
        return None
    inside_B1 = (t < lengths_B)[:, None]
    return tuple(jnp.where(inside_B1, a, b) for a, b in zip(new, final, strict=True))


def add_final(lengths_B: jax.Array | None, t: jax.Array, dstate: State, dfinal: State) -> State:
    """Adds the cotangents of the final state to the sequences that end at time step t."""
    if lengths_B is None:
        return dstate
    ends_B1 = (lengths_B == t + 1)[:, None]
    pairs = zip(dstate, dfinal, strict=True)
    return tuple(d_BH + jnp.where(ends_B1, dfinal_BH, 0) for d_BH, dfinal_BH in pairs)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def recur(
    cell: Cell,
    keep_outputs: bool,
    kernel_KG: jax.Array,
    x_TBI: jax.Array,
    extra: Extra,
    initial: State,
    lengths_B: jax.Array | None,
) -> tuple[jax.Array | None, State]:
    """Returns all outputs h_TBH, or None, and the final state of each sequence, [B,H] each.

    All arrays have one dtype; lengths_B is int32, from 0 to T.
    """
    extra_BH = broadcast_to_batch(extra, x_TBI.shape[1])
    kernel_KD, z_TBX = _input_only_blocks(cell, kernel_KG, x_TBI)
    kernel_KD = operand(kernel_KD)

    def time_step(carry, inputs):
        state, final = carry
        t, x_BI, z_BX = inputs
        z_BG = _concat_blocks(product(append_state(cell, x_BI, state), kernel_KD), z_BX)
        state, _, _ = _pointwise_with_residuals(cell, z_BG, state, extra_BH)
        final = freeze_after_end(lengths_B, t, state, final)
        return (state, final), state[cell.output_index] if keep_outputs else None

    start = initial, None if lengths_B is None else initial
    inputs = jnp.arange(x_TBI.shape[0], dtype=jnp.int32), x_TBI, z_TBX
    (state, final), h_TBH = lax.scan(time_step, start, inputs)
    return h_TBH, state if final is None else final


def _recur_fwd(
    cell: Cell,
    keep_outputs: bool,
    kernel_KG: jax.Array,
    x_TBI: jax.Array,
    extra: Extra,
    initial: State,
    lengths_B: jax.Array | None,
) -> tuple[tuple[jax.Array | None, State], Residuals]:
    (num_steps, batch, num_inputs), hidden = x_TBI.shape, initial[0].shape[1]
    extra_BH = broadcast_to_batch(extra, batch)
    kernel_KD, z_TBX = _input_only_blocks(cell, kernel_KG, x_TBI)
    kernel_KD = operand(kernel_KD)

    def time_step(carry, inputs):
        state, final, xr_TBK, buffer_TBG = carry
        t, z_BX = inputs
        for i, index in enumerate(cell.read_indices):
            xr_TBK = _write_row(xr_TBK, state[index], t, num_inputs + 1 + i * hidden)
        xr_BK = lax.dynamic_index_in_dim(xr_TBK, t, keepdims=False)
        z_BG = _concat_blocks(product(xr_BK, kernel_KD), z_BX)
        state, derivatives, residuals = _pointwise_with_residuals(cell, z_BG, state, extra_BH)
        column = 0
        for derivative_BH in derivatives:
            buffer_TBG = _write_row(buffer_TBG, derivative_BH, t, column)
            column += derivative_BH.shape[1]
        final = freeze_after_end(lengths_B, t, state, final)
        output = state[cell.output_index] if keep_outputs else None
        return (state, final, xr_TBK, buffer_TBG), (residuals, output)

    r_TBR = jnp.zeros_like(x_TBI, shape=(num_steps, batch, cell.num_read * hidden))
    xr_TBK = jnp.concatenate([x_TBI, jnp.ones_like(x_TBI[:, :, :1]), r_TBR], axis=2)
    buffer_TBG = jnp.zeros_like(x_TBI, shape=(num_steps, batch, kernel_KG.shape[1]))
    start = initial, None if lengths_B is None else initial, xr_TBK, buffer_TBG
    inputs = jnp.arange(num_steps, dtype=jnp.int32), z_TBX
    (state, final, xr_TBK, buffer_TBG), (pointwise, h_TBH) = lax.scan(time_step, start, inputs)
    residuals = Residuals(kernel_KG, extra, lengths_B, xr_TBK, buffer_TBG, pointwise)
    return (h_TBH, state if final is None else final), residuals


def _recur_bwd(
    cell: Cell, keep_outputs: bool, residuals: Residuals, cotangents: tuple[Any, State]
) -> tuple[jax.Array, jax.Array, Extra, State, None]:
    kernel_KG, extra, lengths_B, xr_TBK, derivatives_or_z_TBG, pointwise = residuals
    dh_TBH, dfinal = cotangents
    num_steps, batch, _ = xr_TBK.shape
    hidden = dfinal[0].shape[1]
    num_inputs = kernel_KG.shape[0] - 1 - cell.num_read * hidden
    num_state_columns = _num_state_columns(cell, kernel_KG)
    recurrent_DR = operand(kernel_KG[num_inputs + 1 :, :num_state_columns].T)  # once
    extra_BH, output = broadcast_to_batch(extra, batch), cell.output_index

    def time_step(carry, inputs):
        dstate, dextra_sum, buffer_TBG = carry
        t, pointwise_residuals, dh_BH = inputs
        # The barrier makes this a copy, read before dz is written over it.
        derivatives_or_z_BG = lax.optimization_barrier(
            lax.dynamic_index_in_dim(buffer_TBG, t, keepdims=False)
        )
        if keep_outputs:
            dstate = (*dstate[:output], dstate[output] + dh_BH, *dstate[output + 1 :])
        dz_BG, dbefore, dextra_BH = pointwise_vjp(
            cell,
            derivatives_or_z_BG,
            pointwise_residuals,
            extra_BH,
            add_final(lengths_B, t, dstate, dfinal),
        )
        buffer_TBG = _write_row(buffer_TBG, dz_BG, t, 0)
        dread_BR = product(dz_BG[:, :num_state_columns], recurrent_DR)
        dstate = list(dbefore)
        dread = jnp.split(dread_BR, cell.num_read, axis=1)
        for index, d_BH in zip(cell.read_indices, dread, strict=True):
            dstate[index] = d_BH if dstate[index] is None else dstate[index] + d_BH
        dextra_sum = {name: dextra_sum[name] + d_BH for name, d_BH in dextra_BH.items()}
        return (tuple(dstate), dextra_sum, buffer_TBG), None

    dstate = dfinal if lengths_B is None else tuple(jnp.zeros_like(d) for d in dfinal)
    start = dstate, {name: jnp.zeros_like(dfinal[0]) for name in extra}, derivatives_or_z_TBG
    inputs = jnp.arange(num_steps, dtype=jnp.int32), pointwise, dh_TBH
    (dstate, dextra_sum, dz_TBG), _ = lax.scan(time_step, start, inputs, reverse=True)
    xr_NK, dz_NG = (a.reshape(num_steps * batch, -1) for a in (xr_TBK, dz_TBG))
    dkernel_KG = sum_over_rows(xr_NK, dz_NG[:, :num_state_columns])
    if num_state_columns < dz_NG.shape[1]:
        dinput = sum_over_rows(xr_NK[:, : num_inputs + 1], dz_NG[:, num_state_columns:])
        no_state = ((0, xr_NK.shape[1] - num_inputs - 1), (0, 0))  # these blocks read no state
        dkernel_KG = jnp.concatenate([dkernel_KG, jnp.pad(dinput, no_state)], axis=1)
    dx_NI = product(dz_NG, kernel_KG[:num_inputs].T)  # XLA drops it where nobody uses it
    dx_TBI = dx_NI.reshape(num_steps, batch, num_inputs)
    ones_8B = lax.optimization_barrier(jnp.ones((8, batch), dz_NG.dtype))
    dextra = {name: (ones_8B @ d_BH)[0] for name, d_BH in dextra_sum.items()}
    return dkernel_KG, dx_TBI, dextra, add_final(lengths_B, jnp.int32(-1), dstate, dfinal), None


recur.defvjp(_recur_fwd, _recur_bwd)
