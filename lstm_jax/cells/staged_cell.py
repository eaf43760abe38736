"""Cells whose formula takes its products with the state itself, one after the other if need be.

In most cells all products of a time step read the old state, so that one product gives all
pre-activations (`scan_vjp.py`). A reset gate before the product, and the second half of a LEM, read
what the same time step has made: they wait for the product before. `StagedCell` is such a cell, and
this file runs it.

The products over x are taken for all time steps at once. The forward pass keeps the state before
each time step and its products with the state; the backward pass computes the formula again, but
for the products. The gradients of all kernels are ordered products after the scan.

Axes: T time steps, B batch, I input, H hidden, G = columns * H, D the columns of one stage * H.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax.cells.cell import Activations, Cell, Extra, State
from lstm_jax.cells.ordered_matmul import affine_rows, sum_over_rows
from lstm_jax.cells.precision import operand, product
from lstm_jax.cells.scan_vjp import add_final, broadcast_to_batch, freeze_after_end

PerColumn = tuple[jax.Array, ...]  # [B,H] each
Products = tuple[Callable[[jax.Array], PerColumn], ...]
# The products with the state: [B,D] each, one for each stage.
Stages = tuple[jax.Array, ...]
Arguments = tuple[jax.Array, jax.Array, Extra, jax.Array | None, State, Stages]


@dataclass(frozen=True, eq=False)
class StagedCell(Cell):
    """A cell whose formula asks for its products.

    `formula(x, products, state, extra)` returns the new state. x are the pre-activations of the
    input alone, with the bias: [B,H] for each column. `products` has a function for each of
    `stages`: it takes any v_BH and returns v @ U for each column of the stage, where U [H,H] is the
    recurrent kernel of the column. The formula calls each of them once.

    `activations` gets all x side by side and then all products, [B,2G], in place of z_BG.
    """

    _: KW_ONLY
    stages: tuple[tuple[str, ...], ...]  # all columns, in their order
    formula: Callable[[PerColumn, Products, State, Extra], State]

    def __post_init__(self) -> None:
        super().__post_init__()
        staged = tuple(column for stage in self.stages for column in stage)
        blocks = tuple((block.column, block.sources) for block in self.blocks)
        for condition, problem in (
            (self.pointwise is None, "a staged cell has a formula, and no pointwise one"),
            (staged == self.columns, f"stages of {staged}, columns {self.columns}"),
            (self.read == ("h",), f"a staged cell has one kernel for each column, not {self.read}"),
            (
                blocks == tuple((column, "xh") for column in self.columns),
                f"a staged cell has one block for each column, which reads x and h; got {blocks}",
            ),
        ):
            if not condition:
                raise ValueError(f"cell {self.name}: {problem}")


def run_staged(
    cell: StagedCell,
    kernel_KG: jax.Array,
    x_TBI: jax.Array,
    extra: Extra,
    initial: State,
    lengths_B: jax.Array | None,
    *,
    keep_outputs: bool,
) -> tuple[jax.Array | None, State]:
    """Runs a staged cell over T time steps; see `scan.run`, which has checked the arguments."""
    num_rows = x_TBI.shape[2] + 1
    x_TBG = affine_rows(x_TBI, kernel_KG[:num_rows])
    result: tuple[jax.Array | None, State] = _scan(
        cell, keep_outputs, x_TBG, kernel_KG[num_rows:], extra, initial, lengths_B
    )
    return result


def trace_staged(
    cell: StagedCell,
    kernel_KG: jax.Array,
    x_TBI: jax.Array,
    extra: Extra,
    perturbation_TBH: jax.Array,
) -> Activations:
    """Returns the activations at all time steps, with the outputs as "h"; see `scan.trace`."""
    num_rows = x_TBI.shape[2] + 1
    kernels, output = split_stages(cell, kernel_KG[num_rows:]), cell.output_index
    extra_BH = broadcast_to_batch(extra, x_TBI.shape[1])

    def time_step(before: State, inputs: Any) -> tuple[State, Activations]:
        x_BG, perturbation_BH = inputs
        state, projected = staged_time_step(cell, kernels, x_BG, before, extra_BH)
        activations = {}
        if cell.activations is not None:
            z_B2G = jnp.concatenate([x_BG, *projected], axis=1)
            activations = cell.activations(z_B2G, before, state, extra_BH)
        h_BH = state[output] + perturbation_BH
        return (*state[:output], h_BH, *state[output + 1 :]), activations | {"h": h_BH}

    zeros = (jnp.zeros_like(perturbation_TBH[0]),) * len(cell.state)
    inputs = affine_rows(x_TBI, kernel_KG[:num_rows]), perturbation_TBH
    _, activations = lax.scan(time_step, zeros, inputs)
    return activations


def split_stages(cell: StagedCell, recurrent_HG: jax.Array) -> Stages:
    """Returns the recurrent kernel of each stage, [H,D], as an operand of products."""
    widths = [len(stage) * recurrent_HG.shape[0] for stage in cell.stages]
    starts = [sum(widths[:index]) for index in range(len(widths))]
    pairs = zip(starts, widths, strict=True)
    return tuple(operand(recurrent_HG[:, start : start + width]) for start, width in pairs)


def staged_time_step(
    cell: StagedCell, kernels: Stages, x_BG: jax.Array, before: State, extra_BH: Extra
) -> tuple[State, Stages]:
    """Returns the new state, and the products with the state."""
    return _call_formula(cell, lambda v, index: product(v, kernels[index]), x_BG, before, extra_BH)


def _call_formula(
    cell: StagedCell,
    multiply: Callable[[jax.Array, int], jax.Array],
    x_BG: jax.Array,
    before: State,
    extra_BH: Extra,
) -> tuple[State, Stages]:
    """Returns the new state, and what `multiply(v_BH, stage)` has returned for each stage.

    Raises ValueError where the formula does not call each product once.
    """
    projected: list[jax.Array | None] = [None] * len(cell.stages)

    def stage(index: int) -> Callable[[jax.Array], PerColumn]:
        def call(v_BH: jax.Array) -> PerColumn:
            if projected[index] is not None:
                raise ValueError(f"cell {cell.name}: its formula calls product {index} twice")
            projected_BD = projected[index] = multiply(v_BH, index)
            return tuple(jnp.split(projected_BD, len(cell.stages[index]), axis=1))

        return call

    x = tuple(jnp.split(x_BG, len(cell.columns), axis=1))
    state = cell.formula(x, tuple(map(stage, range(len(projected)))), before, extra_BH)
    called = tuple(projected_BD for projected_BD in projected if projected_BD is not None)
    if len(called) < len(projected):
        raise ValueError(f"cell {cell.name}: its formula does not call all of its products")
    return state, called


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _scan(
    cell: StagedCell,
    keep_outputs: bool,
    x_TBG: jax.Array,
    recurrent_HG: jax.Array,
    extra: Extra,
    initial: State,
    lengths_B: jax.Array | None,
) -> tuple[jax.Array | None, State]:
    """Returns all outputs h_TBH, or None, and the final state of each sequence, [B,H] each."""
    result, _ = _forward(cell, keep_outputs, False, x_TBG, recurrent_HG, extra, initial, lengths_B)
    return result


def _forward(
    cell: StagedCell,
    keep_outputs: bool,
    keep_states: bool,
    x_TBG: jax.Array,
    recurrent_HG: jax.Array,
    extra: Extra,
    initial: State,
    lengths_B: jax.Array | None,
) -> tuple[tuple[jax.Array | None, State], tuple[State, Stages] | None]:
    """Returns outputs and the final state; the state before each time step, and its products."""
    extra_BH, kernels = broadcast_to_batch(extra, x_TBG.shape[1]), split_stages(cell, recurrent_HG)

    def time_step(carry: Any, inputs: Any) -> Any:
        (before, final), (t, x_BG) = carry, inputs
        state, projected = staged_time_step(cell, kernels, x_BG, before, extra_BH)
        final = freeze_after_end(lengths_B, t, state, final)
        kept = (before, projected) if keep_states else None
        return (state, final), (kept, state[cell.output_index] if keep_outputs else None)

    start = initial, None if lengths_B is None else initial
    inputs = jnp.arange(x_TBG.shape[0], dtype=jnp.int32), x_TBG
    (state, final), (kept, h_TBH) = lax.scan(time_step, start, inputs)
    return (h_TBH, state if final is None else final), kept


def _scan_fwd(
    cell: StagedCell,
    keep_outputs: bool,
    x_TBG: jax.Array,
    recurrent_HG: jax.Array,
    extra: Extra,
    initial: State,
    lengths_B: jax.Array | None,
) -> tuple[tuple[jax.Array | None, State], Arguments]:
    result, kept = _forward(
        cell, keep_outputs, True, x_TBG, recurrent_HG, extra, initial, lengths_B
    )
    assert kept is not None
    return result, (x_TBG, recurrent_HG, extra, lengths_B, *kept)


@jax.custom_vjp
def _recall(v_BH: jax.Array, projected_BD: jax.Array, kernel_DH: jax.Array) -> jax.Array:
    """Returns a product of v that was made before, with the gradients of making it now.

    The gradient by `projected_BD` is that by the product.
    """
    return projected_BD


def _recall_fwd(
    v_BH: jax.Array, projected_BD: jax.Array, kernel_DH: jax.Array
) -> tuple[jax.Array, jax.Array]:
    return projected_BD, kernel_DH


def _recall_bwd(kernel_DH: jax.Array, d_BD: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    return product(d_BD, kernel_DH), d_BD, jnp.zeros_like(kernel_DH)


_recall.defvjp(_recall_fwd, _recall_bwd)


def _scan_bwd(
    cell: StagedCell, keep_outputs: bool, arguments: Arguments, cotangents: tuple[Any, State]
) -> tuple[jax.Array, jax.Array, Extra, State, None]:
    x_TBG, recurrent_HG, extra, lengths_B, states, projected = arguments
    dh_TBH, dfinal = cotangents
    batch, hidden = dfinal[0].shape
    extra_BH, output = broadcast_to_batch(extra, batch), cell.output_index
    transposed = [kernel_HD.T for kernel_HD in split_stages(cell, recurrent_HG)]

    def time_step(carry: Any, inputs: Any) -> Any:
        (dstate, dextra_sum), (t, x_BG, before, projected, dh_BH) = carry, inputs
        if keep_outputs:
            dstate = (*dstate[:output], dstate[output] + dh_BH, *dstate[output + 1 :])
        dstate = add_final(lengths_B, t, dstate, dfinal)

        def recompute(x_BG: jax.Array, projected: Stages, before: State, extra_BH: Extra) -> Any:
            multiplied = [projected[0][:, :hidden]] * len(projected)

            def recall(v_BH: jax.Array, index: int) -> jax.Array:
                multiplied[index] = v_BH
                return _recall(v_BH, projected[index], transposed[index])

            state, _ = _call_formula(cell, recall, x_BG, before, extra_BH)
            return state, tuple(multiplied)

        _, vjp, multiplied = jax.vjp(recompute, x_BG, projected, before, extra_BH, has_aux=True)
        dx_BG, dprojected, dstate, dextra_BH = vjp(dstate)
        dextra_sum = {name: dextra_sum[name] + d_BH for name, d_BH in dextra_BH.items()}
        return (dstate, dextra_sum), (dx_BG, multiplied, dprojected)

    dstate = dfinal if lengths_B is None else tuple(jnp.zeros_like(d) for d in dfinal)
    start = dstate, {name: jnp.zeros_like(dfinal[0]) for name in extra}
    inputs = jnp.arange(len(x_TBG), dtype=jnp.int32), x_TBG, states, projected, dh_TBH
    (dstate, dextra_sum), rows = lax.scan(time_step, start, inputs, reverse=True)
    dx_TBG, multiplied, dprojected = rows
    drecurrent = [
        sum_over_rows(v_TBH.reshape(-1, hidden), d_TBD.reshape(-1, d_TBD.shape[2]))
        for v_TBH, d_TBD in zip(multiplied, dprojected, strict=True)
    ]
    ones_8B = lax.optimization_barrier(jnp.ones((8, batch), x_TBG.dtype))
    dextra = {name: (ones_8B @ d_BH)[0] for name, d_BH in dextra_sum.items()}
    dinitial = add_final(lengths_B, jnp.int32(-1), dstate, dfinal)
    return dx_TBG, jnp.concatenate(drecurrent, axis=1), dextra, dinitial, None


_scan.defvjp(_scan_fwd, _scan_bwd)
