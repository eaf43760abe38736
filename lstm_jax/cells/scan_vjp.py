"""Forward and backward pass of the recurrence, by hand: `recur`.

Axes: T rows, B batch, I input, H hidden, R = num_read * H read back of the state, G = blocks * H,
of which D are of blocks that read state and X of those that take from x alone, K = I + 1 + R,
N = T * B.

Why it is written as it is (measured on CPU with `jax.profiler`):
- [x, 1, r] stays in the buffer from which all weight and bias gradients are one product with dz,
  the gradient by z, after the backward scan.
- The forward pass keeps z, or what a cell with a pair of its own keeps instead (its slopes), in a
  buffer of the same size; the backward scan overwrites it with dz, row by row, in place.
- Without a pair, the pointwise part is run again in the backward scan: cheaper than keeping all
  that its gradient needs.
- Blocks that take from x alone are products over all rows at once, and no zeros are multiplied.
- Gradients of the extra weights are products with ones: a plain sum may be ordered by the number
  of threads.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax.cells.cell import Cell, Extra, State
from lstm_jax.cells.matmul import sum_over_rows


class Residuals(NamedTuple):
    """What the backward pass needs of the forward pass, in the order of the rows."""

    kernel_KG: jax.Array
    extra: Extra
    lengths_B: jax.Array | None
    v_TBK: jax.Array  # [x, 1, r]
    forward_TBG: jax.Array  # z, or the slopes of a cell with a pair
    residuals: State  # the state before each row, or what a cell with a pair keeps; [T,B,H] each


def _pointwise_with_residuals(
    cell: Cell, z_BG: jax.Array, state: State, extra_BH: Extra
) -> tuple[State, State, State]:
    """Returns the new state, what fills [B,G] side by side, and the residuals that is saved."""
    if cell.pointwise_fwd is not None:
        return cell.pointwise_fwd(z_BG, state)
    return cell.pointwise(z_BG, state, extra_BH), (z_BG,), state


def _pointwise_vjp(
    cell: Cell, forward_BG: jax.Array, residuals: State, extra_BH: Extra, dstate: State
) -> tuple[jax.Array, tuple[Any, ...], Extra]:
    """Returns the gradients by z, by the state before (None: no direct one), by extra weights."""
    if cell.pointwise_bwd is not None:
        return *cell.pointwise_bwd(forward_BG, residuals, dstate), {}
    _, pull = jax.vjp(cell.pointwise, forward_BG, residuals, extra_BH)
    dz_BG, dbefore, dextra_BH = pull(dstate)
    return dz_BG, dbefore, dextra_BH


def _input_only_blocks(
    cell: Cell, kernel_KG: jax.Array, x_TBI: jax.Array
) -> tuple[jax.Array, jax.Array | None]:
    """Returns the kernel of the blocks that read state; for all rows at once, z of the others."""
    width = _width(cell, kernel_KG)
    if width == kernel_KG.shape[1]:
        return kernel_KG, None
    features = x_TBI.shape[2]
    x_TBX = x_TBI @ kernel_KG[:features, width:] + kernel_KG[features, width:][None, None]
    return kernel_KG[:, :width], x_TBX


def _width(cell: Cell, kernel_KG: jax.Array) -> int:
    """Returns D, the columns of the blocks that read state: they come first."""
    return kernel_KG.shape[1] // len(cell.blocks) * cell.num_reading


def _concat_blocks(z_BD: jax.Array, ahead_BX: jax.Array | None) -> jax.Array:
    return z_BD if ahead_BX is None else jnp.concatenate([z_BD, ahead_BX], axis=1)


def broadcast_to_batch(extra: Extra, batch: int) -> Extra:
    """Returns extra weights for each sequence, so that their gradients are, too."""
    return {name: jnp.broadcast_to(w_H[None], (batch, len(w_H))) for name, w_H in extra.items()}


def with_state(cell: Cell, x_BI: jax.Array, state: State) -> jax.Array:
    """Returns [x, 1, r]."""
    parts = (state[place] for place in cell.read_places)
    return jnp.concatenate([x_BI, jnp.ones_like(x_BI[:, :1]), *parts], axis=1)


def _write_row(buffer: jax.Array, value: jax.Array, t: jax.Array, column: int) -> jax.Array:
    at = t, jnp.int32(0), jnp.int32(column)
    return lax.dynamic_update_slice(buffer, value[None], at)


def _freeze_after_end(
    lengths_B: jax.Array | None, t: jax.Array, new: State, end: State | None
) -> State | None:
    """Returns the state at the end of each sequence so far; None where all are of full length."""
    if lengths_B is None or end is None:
        return None
    inside_B1 = (t < lengths_B)[:, None]
    return tuple(jnp.where(inside_B1, a, b) for a, b in zip(new, end, strict=True))


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def recur(
    cell: Cell,
    keep_outputs: bool,
    kernel_KG: jax.Array,
    x_TBI: jax.Array,
    extra: Extra,
    state: State,
    lengths_B: jax.Array | None,
) -> tuple[jax.Array | None, State]:
    """Returns all outputs h_TBH, or None, and the state at the end of each sequence."""
    extra_BH = broadcast_to_batch(extra, x_TBI.shape[1])
    kernel_KD, ahead_TBX = _input_only_blocks(cell, kernel_KG, x_TBI)

    def body(carry, row):
        state, end = carry
        t, x_BI, ahead_BX = row
        z_BG = _concat_blocks(with_state(cell, x_BI, state) @ kernel_KD, ahead_BX)
        new, _, _ = _pointwise_with_residuals(cell, z_BG, state, extra_BH)
        return (new, _freeze_after_end(lengths_B, t, new, end)), new[
            cell.output
        ] if keep_outputs else None

    start = state, None if lengths_B is None else state
    inputs = jnp.arange(len(x_TBI), dtype=jnp.int32), x_TBI, ahead_TBX
    (state, end), h_TBH = lax.scan(body, start, inputs)
    return h_TBH, state if end is None else end


def _recur_fwd(
    cell: Cell,
    keep_outputs: bool,
    kernel_KG: jax.Array,
    x_TBI: jax.Array,
    extra: Extra,
    state: State,
    lengths_B: jax.Array | None,
) -> tuple[tuple[jax.Array | None, State], Residuals]:
    (rows, batch, features), hidden = x_TBI.shape, state[0].shape[1]
    extra_BH = broadcast_to_batch(extra, batch)
    kernel_KD, ahead_TBX = _input_only_blocks(cell, kernel_KG, x_TBI)

    def body(carry, row):
        state, end, v_TBK, forward_TBG = carry
        t, ahead_BX = row
        for i, place in enumerate(cell.read_places):
            v_TBK = _write_row(v_TBK, state[place], t, features + 1 + i * hidden)
        v_BK = lax.dynamic_index_in_dim(v_TBK, t, keepdims=False)
        new, slopes, residuals = _pointwise_with_residuals(
            cell, _concat_blocks(v_BK @ kernel_KD, ahead_BX), state, extra_BH
        )
        column = 0
        for slope_BH in slopes:
            forward_TBG = _write_row(forward_TBG, slope_BH, t, column)
            column += slope_BH.shape[1]
        end = _freeze_after_end(lengths_B, t, new, end)
        return (new, end, v_TBK, forward_TBG), (
            residuals,
            new[cell.output] if keep_outputs else None,
        )

    r_TBR = jnp.zeros_like(x_TBI, shape=(rows, batch, cell.num_read * hidden))
    v_TBK = jnp.concatenate([x_TBI, jnp.ones_like(x_TBI[:, :, :1]), r_TBR], axis=2)
    forward_TBG = jnp.zeros_like(x_TBI, shape=(rows, batch, kernel_KG.shape[1]))
    start = state, None if lengths_B is None else state, v_TBK, forward_TBG
    inputs = jnp.arange(rows, dtype=jnp.int32), ahead_TBX
    (state, end, v_TBK, forward_TBG), (residuals, h_TBH) = lax.scan(body, start, inputs)
    saved = Residuals(kernel_KG, extra, lengths_B, v_TBK, forward_TBG, residuals)
    return (h_TBH, state if end is None else end), saved


def _recur_bwd(
    cell: Cell, keep_outputs: bool, saved: Residuals, cotangents: tuple[jax.Array | None, State]
) -> tuple[jax.Array, jax.Array, Extra, State, None]:
    kernel_KG, extra, lengths_B, v_TBK, forward_TBG, residuals = saved
    dh_TBH, dend = cotangents
    rows, batch, _ = v_TBK.shape
    hidden = dend[0].shape[1]
    features = kernel_KG.shape[0] - 1 - cell.num_read * hidden
    width = _width(cell, kernel_KG)
    recurrent_DR = kernel_KG[features + 1 :, :width].T  # once, not in every row
    extra_BH, output = broadcast_to_batch(extra, batch), cell.output

    def body(carry, row):
        dstate, dsum, buffer_TBG = carry
        t, residuals, dh_BH = row
        # The barrier makes this a copy, read before dz is written over it.
        forward_BG = lax.optimization_barrier(
            lax.dynamic_index_in_dim(buffer_TBG, t, keepdims=False)
        )
        if keep_outputs:
            dstate = (*dstate[:output], dstate[output] + dh_BH, *dstate[output + 1 :])
        dstate = _add_end(lengths_B, t, dstate, dend)
        dz_BG, dbefore, dextra_BH = _pointwise_vjp(cell, forward_BG, residuals, extra_BH, dstate)
        buffer_TBG = _write_row(buffer_TBG, dz_BG, t, 0)
        dread = jnp.split(dz_BG[:, :width] @ recurrent_DR, cell.num_read, axis=1)
        dnew = list(dbefore)
        for place, d_BH in zip(cell.read_places, dread, strict=True):
            dnew[place] = d_BH if dnew[place] is None else dnew[place] + d_BH
        dsum = {name: dsum[name] + d_BH for name, d_BH in dextra_BH.items()}
        return (tuple(dnew), dsum, buffer_TBG), None

    start = dend if lengths_B is None else tuple(jnp.zeros_like(d) for d in dend)
    zeros = {name: jnp.zeros_like(dend[0]) for name in extra}
    inputs = jnp.arange(rows, dtype=jnp.int32), residuals, dh_TBH
    (dstate, dsum, dz_TBG), _ = lax.scan(body, (start, zeros, forward_TBG), inputs, reverse=True)
    v_NK, dz_NG = (a.reshape(rows * batch, -1) for a in (v_TBK, dz_TBG))
    dkernel_KG = _kernel_gradient(v_NK, dz_NG, features, width)
    dx_TBI = (dz_NG @ kernel_KG[:features].T).reshape(rows, batch, features)  # dropped if unused
    ones_8B = lax.optimization_barrier(jnp.ones((8, batch), dz_NG.dtype))
    dextra = {name: (ones_8B @ d_BH)[0] for name, d_BH in dsum.items()}
    return dkernel_KG, dx_TBI, dextra, _add_end(lengths_B, jnp.int32(-1), dstate, dend), None


def _add_end(lengths_B: jax.Array | None, t: jax.Array, dstate: State, dend: State) -> State:
    """Returns the cotangents with those of the final state, of the sequences that end at row t."""
    if lengths_B is None:
        return dstate
    here_B1 = (lengths_B == t + 1)[:, None]
    pairs = zip(dstate, dend, strict=True)
    return tuple(d_BH + jnp.where(here_B1, end_BH, 0) for d_BH, end_BH in pairs)


def _kernel_gradient(v_NK: jax.Array, dz_NG: jax.Array, features: int, width: int) -> jax.Array:
    dkernel_KD = sum_over_rows(v_NK, dz_NG[:, :width])
    if width == dz_NG.shape[1]:
        return dkernel_KD
    dinput = sum_over_rows(v_NK[:, : features + 1], dz_NG[:, width:])
    below = ((0, v_NK.shape[1] - features - 1), (0, 0))  # these blocks read no state
    return jnp.concatenate([dkernel_KD, jnp.pad(dinput, below)], axis=1)


recur.defvjp(_recur_fwd, _recur_bwd)
