"""The recurrence of cells whose products read x alone: `scan_pointwise`.

All pre-activations are one product over all time steps, so the loop has no product. The forward
pass keeps the state before each time step; the backward pass computes the pointwise formula again.

Axes: T time steps, B batch, H hidden, G = blocks * H.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax.cells.cell import Cell, Extra, State
from lstm_jax.cells.scan_vjp import (
    add_final,
    broadcast_to_batch,
    freeze_after_end,
    pointwise_vjp,
)

Arguments = tuple[jax.Array, Extra, jax.Array | None, State]


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def scan_pointwise(
    cell: Cell,
    keep_outputs: bool,
    z_TBG: jax.Array,
    extra: Extra,
    initial: State,
    lengths_B: jax.Array | None,
) -> tuple[jax.Array | None, State]:
    """Returns all outputs h_TBH, or None, and the final state of each sequence, [B,H] each.

    z_TBG: the pre-activations, bias included. All arrays have one dtype; lengths_B is int32, from
    0 to T.
    """
    (h_TBH, final), _ = _scan(cell, keep_outputs, False, z_TBG, extra, initial, lengths_B)
    return h_TBH, final


def _scan(
    cell: Cell,
    keep_outputs: bool,
    keep_states: bool,
    z_TBG: jax.Array,
    extra: Extra,
    initial: State,
    lengths_B: jax.Array | None,
) -> tuple[tuple[jax.Array | None, State], State | None]:
    """Returns outputs and the final state, and the state before each time step or None."""
    assert cell.pointwise is not None, "a linear cell has a scan of its own"
    pointwise, extra_BH = cell.pointwise, broadcast_to_batch(extra, z_TBG.shape[1])

    def time_step(carry: Any, inputs: Any) -> Any:
        (before, final), (t, blocks) = carry, inputs
        state = pointwise(jnp.concatenate(blocks, axis=1), before, extra_BH)
        final = freeze_after_end(lengths_B, t, state, final)
        kept = before if keep_states else None
        return (state, final), (kept, state[cell.output_index] if keep_outputs else None)

    start = initial, None if lengths_B is None else initial
    inputs = jnp.arange(z_TBG.shape[0], dtype=jnp.int32), _split(cell, z_TBG)
    (state, final), (states, h_TBH) = lax.scan(time_step, start, inputs)
    return (h_TBH, state if final is None else final), states


def _split(cell: Cell, z_TBG: jax.Array) -> list[jax.Array]:
    """Returns the blocks of z_TBG, [T,B,H] each.

    XLA's CPU backend removes the concatenation inside the loop against the formula's own split.
    With slices of z_TBG instead, the forward scan of ParaGRU took about four times as long,
    probably because XLA used no vector instructions there.
    """
    return lax.optimization_barrier(jnp.split(z_TBG, len(cell.blocks), axis=2))


def _scan_fwd(
    cell: Cell,
    keep_outputs: bool,
    z_TBG: jax.Array,
    extra: Extra,
    initial: State,
    lengths_B: jax.Array | None,
) -> tuple[tuple[jax.Array | None, State], Arguments]:
    result, states = _scan(cell, keep_outputs, True, z_TBG, extra, initial, lengths_B)
    assert states is not None
    return result, (z_TBG, extra, lengths_B, states)


def _scan_bwd(
    cell: Cell, keep_outputs: bool, residuals: Arguments, cotangents: tuple[Any, State]
) -> tuple[jax.Array, Extra, State, None]:
    (z_TBG, extra, lengths_B, states), (dh_TBH, dfinal) = residuals, cotangents
    num_steps, batch, _ = z_TBG.shape
    extra_BH, output = broadcast_to_batch(extra, batch), cell.output_index

    def time_step(carry: Any, inputs: Any) -> Any:
        (dstate, dextra_sum), (t, blocks, before, dh_BH) = carry, inputs
        if keep_outputs:
            dstate = (*dstate[:output], dstate[output] + dh_BH, *dstate[output + 1 :])
        dstate = add_final(lengths_B, t, dstate, dfinal)
        z_BG = jnp.concatenate(blocks, axis=1)
        dz_BG, dstate, dextra_BH = pointwise_vjp(cell, z_BG, before, extra_BH, dstate)
        dextra_sum = {name: dextra_sum[name] + d_BH for name, d_BH in dextra_BH.items()}
        return (dstate, dextra_sum), jnp.split(dz_BG, len(blocks), axis=1)

    dstate = dfinal if lengths_B is None else tuple(jnp.zeros_like(d) for d in dfinal)
    start = dstate, {name: jnp.zeros_like(dfinal[0]) for name in extra}
    inputs = jnp.arange(num_steps, dtype=jnp.int32), _split(cell, z_TBG), states, dh_TBH
    (dstate, dextra_sum), dblocks = lax.scan(time_step, start, inputs, reverse=True)
    ones_8B = lax.optimization_barrier(jnp.ones((8, batch), z_TBG.dtype))
    dextra = {name: (ones_8B @ d_BH)[0] for name, d_BH in dextra_sum.items()}
    dz_TBG = jnp.concatenate(dblocks, axis=2)
    return dz_TBG, dextra, add_final(lengths_B, jnp.int32(-1), dstate, dfinal), None


scan_pointwise.defvjp(_scan_fwd, _scan_bwd)
