"""Zoneout: Krueger et al., "Zoneout: regularizing RNNs by randomly preserving hidden activations"
(2017).

In training each unit of each state keeps its value over a time step with probability p. In
evaluation the state is the expectation, new + p * (old - new). `with_zoneout` makes a cell that
does both, and `run_with_masks` runs it in training. A linear cell, h = a h + b, gets another a and
b; the two numbers of a complex unit have one mask.

Axes: T time steps, B batch, I input, H hidden, S states, G = blocks * H, K = I + 1 + the states
that the products read.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from flax.linen import initializers
from jax import lax

from lstm_jax.cells.cell import Cell, Extra, State, Weight
from lstm_jax.cells.linear_cell import LinearCell, run_linear
from lstm_jax.cells.ordered_matmul import affine_rows, broadcast_rows
from lstm_jax.cells.precision import operand, product
from lstm_jax.cells.scan import flip
from lstm_jax.cells.scan_vjp import freeze_after_end
from lstm_jax.cells.staged_cell import (
    PerColumn,
    Products,
    StagedCell,
    split_stages,
    staged_time_step,
)

KEEP = "zoneout"  # in `extra`: the probability p, float32 [H], or masks, bool


@cache  # cells are equal if they are one object: one cell has one cell with zoneout
def with_zoneout(cell: Cell) -> Cell:
    """Returns the cell with zoneout: with one more weight, `KEEP`, and no gradient by hand.

    Where the weight is the probability p, it is the cell of evaluation.
    """
    extra = {**cell.extra, KEEP: Weight(initializers.zeros)}
    if isinstance(cell, LinearCell):
        of_linear = cell.coefficients

        def coefficients(z_TBG: jax.Array, extra: Extra) -> tuple[Any, Any]:
            a, b = of_linear(z_TBG, extra)
            a, b = (a, b) if isinstance(b, tuple) else (((a,),), (b,))
            keep = extra[KEEP]
            a = tuple(
                tuple(_mix_rows(keep, float(i == j), a_ij) for j, a_ij in enumerate(row))
                for i, row in enumerate(a)
            )
            return a, tuple(_mix_rows(keep, 0.0, b_TBH) for b_TBH in b)

        return replace(cell, coefficients=coefficients, extra=extra)
    if isinstance(cell, StagedCell):
        of_staged = cell.formula

        def formula(x: PerColumn, products: Products, state: State, extra: Extra) -> State:
            return _mix(extra[KEEP], state, of_staged(x, products, state, extra))

        return replace(cell, formula=formula, extra=extra)
    of_cell = cell.pointwise
    assert of_cell is not None

    def pointwise(z_BG: jax.Array, state: State, extra: Extra) -> State:
        return _mix(extra[KEEP], state, of_cell(z_BG, state, extra))

    return replace(cell, pointwise=pointwise, pointwise_fwd=None, pointwise_bwd=None, extra=extra)


def draw_masks(
    cell: Cell, key: jax.Array, probability: jax.typing.ArrayLike, shape: tuple[int, ...]
) -> jax.Array:
    """Returns which units keep their states, bool [T,S,B,H], or [T,B,H] of a linear cell.

    `shape` is that of the outputs, (T, B, H).
    """
    if not isinstance(cell, LinearCell):
        shape = shape[0], len(cell.state), *shape[1:]
    return jax.random.uniform(key, shape) < probability


def run_with_masks(
    cell: Cell,
    kernel_KG: jax.Array,
    x_TBI: jax.Array,
    extra: Extra,
    masks: jax.Array,
    *,
    initial: State,
    lengths_B: jax.Array | None,
    reverse: bool,
    keep_outputs: bool,
    associative: bool,
) -> tuple[jax.Array | None, State]:
    """Runs a cell of `with_zoneout` with masks from `draw_masks`; see `scan.run`.

    It is a plain scan, but for linear cells: JAX derives its gradient.
    """
    if reverse:
        x_TBI = flip(x_TBI, lengths_B)
    if isinstance(cell, LinearCell):
        return run_linear(
            cell, kernel_KG, x_TBI, extra | {KEEP: masks}, initial, lengths_B,
            keep_outputs=keep_outputs, associative=associative,
        )  # fmt: skip
    num_rows = x_TBI.shape[2] + 1
    x_TBG, recurrent_RG = affine_rows(x_TBI, kernel_KG[:num_rows]), kernel_KG[num_rows:]
    extra_BH = {name: broadcast_rows(w_H, (1, x_TBI.shape[1]))[0] for name, w_H in extra.items()}
    if isinstance(cell, StagedCell):
        stages = split_stages(cell, recurrent_RG)
    else:
        recurrent_RG = operand(recurrent_RG)

    def new_state(x_BG: jax.Array, state: State, extra_BH: Extra) -> State:
        if isinstance(cell, StagedCell):
            return staged_time_step(cell, stages, x_BG, state, extra_BH)[0]
        assert cell.pointwise is not None
        if cell.read:
            read_BR = jnp.concatenate([state[index] for index in cell.read_indices], axis=1)
            x_BG = x_BG + product(read_BR, recurrent_RG)
        return cell.pointwise(x_BG, state, extra_BH)

    def time_step(carry: Any, inputs: Any) -> Any:
        (before, final), (t, x_BG, mask_SBH) = carry, inputs
        state = new_state(x_BG, before, extra_BH | {KEEP: mask_SBH})
        final = freeze_after_end(lengths_B, t, state, final)
        return (state, final), state[cell.output_index] if keep_outputs else None

    start = initial, None if lengths_B is None else initial
    inputs = jnp.arange(len(x_TBI), dtype=jnp.int32), x_TBG, masks
    (state, final), h_TBH = lax.scan(time_step, start, inputs)
    return h_TBH, state if final is None else final


def _mix(keep: jax.Array, old: State, new: State) -> State:
    """Returns the old or the new states by masks [S,B,H], or their mean by probabilities [B,H]."""
    keep_SBH = jnp.broadcast_to(keep, (len(new), *new[0].shape))
    return tuple(map(_mix_one, keep_SBH, old, new))


def _mix_one(keep: jax.Array, old: jax.Array, new: jax.Array) -> jax.Array:
    return jnp.where(keep, old, new) if keep.dtype == bool else new + keep * (old - new)


def _mix_rows(keep: jax.Array, old: float, new: jax.Array) -> jax.Array:
    """Returns a coefficient, [T,B,H] or [H], between `old` and `new`, by a mask [T,B,H] or by
    probabilities [H].
    """
    if keep.ndim > new.ndim:
        new = broadcast_rows(new, (keep.shape[0], keep.shape[1]))
    elif keep.ndim < new.ndim:
        keep = keep[None, None]
    return _mix_one(keep, jnp.full_like(new, old), new)
