"""The recurrence of all cells: pure functions on arrays, with exact gradients.

Axes: T rows (steps), B batch, I input, H hidden, R = num_read * H read back of the state,
W = columns * H, G = blocks * H, K = I + 1 + R.

A row is z = [x, 1, r] @ [input kernel; bias; recurrent kernel] and the cell's own pointwise part,
state = pointwise(z, state), where r is what the cell reads back of its state, as a rule h.
How both passes are computed, and why so, stands in `passes.py`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax.cells.arguments import (
    expect_floats,
    expect_lengths,
    expect_rows,
    expect_shape,
    expect_state,
    of_one_dtype,
    vary_alike,
)
from lstm_jax.cells.cell import Activations, Cell, Extra, State
from lstm_jax.cells.scan_vjp import broadcast_to_batch, recur, with_state

FORWARD_MODE = (
    "the recurrence is a custom_vjp function, with gradients in reverse mode alone: take jax.grad, "
    "jax.vjp or jax.jacrev instead of jax.jvp, jax.linearize or jax.jacfwd"
)


def run(
    cell: Cell,
    kernel_KG: jax.Array,
    x_TBI: jax.Array,
    extra: Extra | None = None,
    *,
    initial: State | None = None,
    lengths_B: jax.Array | None = None,
    reverse: bool = False,
    keep_outputs: bool = True,
) -> tuple[Any, State]:
    """Runs a cell over T rows: returns all outputs h_TBH, if kept, and the final state.

    The kernel is of `stack_kernels`. Inputs are float32, bfloat16 or float16, or, if any is
    float64, all are taken as float64; state, outputs and sums are float32 (float64). No initial
    state stands for zeros.

    With integer lengths_B the final state is the one after that many rows (the initial one for
    none), and the outputs run on through the padding, as in `flax.linen.RNN`. `reverse` reads each
    sequence from its last row to its first, padding still at the end; the outputs are in the order
    of reading (`flip` puts them back).

    Differentiable in reverse mode, to any order. Forward mode (`jax.jvp`) is a TypeError, as are
    integer inputs; a ValueError names the argument whose shape does not fit.
    """
    expect_rows(x_TBI)
    (rows, batch, features), hidden = x_TBI.shape, kernel_KG.shape[-1] // len(cell.blocks)
    shape = features + 1 + cell.num_read * hidden, len(cell.blocks) * hidden
    expect_shape("kernel_KG", kernel_KG, shape, x_TBI=x_TBI)
    extra = {} if extra is None else extra
    if set(extra) != set(cell.extra):
        raise ValueError(f"extra has {sorted(extra)}; the cell {cell.name} has {cell.extra}")
    for name, array in extra.items():
        expect_shape(f"extra {name}", array, (hidden,), kernel_KG=kernel_KG)
    expect_floats(x_TBI=x_TBI, kernel_KG=kernel_KG, **extra)
    expect_state(cell.state, initial, hidden, x_TBI, kernel_KG=kernel_KG)
    expect_lengths(lengths_B, x_TBI)
    if initial is None:
        initial = (jnp.zeros((batch, hidden), jnp.float32),) * len(cell.state)
    given = vary_alike((of_one_dtype((kernel_KG, x_TBI, extra, tuple(initial))), lengths_B))
    (kernel_KG, x_TBI, extra, initial), lengths_B = given
    if lengths_B is not None:
        lengths_B = jnp.clip(jnp.asarray(lengths_B, jnp.int32), 0, rows)
    if reverse:
        x_TBI = flip(x_TBI, lengths_B)
    try:
        return recur(cell, keep_outputs, kernel_KG, x_TBI, extra, initial, lengths_B)
    except TypeError as error:
        if "forward-mode" not in str(error):
            raise
        raise TypeError(FORWARD_MODE) from None


def run_unstacked(
    cell: Cell,
    x_TBI: jax.Array,
    input_kernel_IG: jax.Array,
    recurrent_kernel_HG: jax.Array,
    bias_G: jax.Array,
    carry: State | None = None,
    lengths_B: jax.Array | None = None,
    *,
    reverse: bool = False,
    keep_outputs: bool = True,
) -> tuple[Any, State]:
    """Runs a cell that has no extra weights as `run` does, its kernels given one by one.

    Input kernel [I,W], recurrent kernel [R,W], bias [G].
    """
    expect_rows(x_TBI)
    hidden = recurrent_kernel_HG.shape[0] // cell.num_read
    width = len(cell.columns) * hidden
    expect_shape("recurrent_kernel_HG", recurrent_kernel_HG, (cell.num_read * hidden, width))
    known = {"x_TBI": x_TBI, "recurrent_kernel_HG": recurrent_kernel_HG}
    expect_shape("input_kernel_IG", input_kernel_IG, (x_TBI.shape[2], width), **known)
    expect_shape("bias_G", bias_G, (len(cell.blocks) * hidden,), **known)
    expect_floats(**known, input_kernel_IG=input_kernel_IG, bias_G=bias_G)
    expect_state(cell.state, carry, hidden, **known)
    given = x_TBI, input_kernel_IG, recurrent_kernel_HG, bias_G, carry
    x_TBI, *kernels, carry = of_one_dtype(given)
    return run(
        cell,
        stack_kernels(cell, *kernels),
        x_TBI,
        initial=carry,
        lengths_B=lengths_B,
        reverse=reverse,
        keep_outputs=keep_outputs,
    )


def last(
    cell: Cell,
    kernel_KG: jax.Array,
    x_TBI: jax.Array,
    extra: Extra | None = None,
    lengths_B: jax.Array | None = None,
) -> jax.Array:
    """Returns the last output h_BH of each sequence, from zeros; no other output is kept."""
    _, end = run(cell, kernel_KG, x_TBI, extra, lengths_B=lengths_B, keep_outputs=False)
    return end[cell.output]


def trace(
    cell: Cell,
    kernel_KG: jax.Array,
    x_TBI: jax.Array,
    extra: Extra | None = None,
    perturbation_TBH: jax.Array | None = None,
) -> Activations:
    """Returns what may be looked at in each row, [T,B,H] each, "h" among it: not to train with.

    perturbation_TBH is added to the output of each row, before the next row sees it: the gradient by it,
    at zero, is the gradient by the outputs themselves.
    """
    rows, batch, _ = x_TBI.shape
    hidden = kernel_KG.shape[1] // len(cell.blocks)
    if perturbation_TBH is None:
        perturbation_TBH = jnp.zeros((rows, batch, hidden), kernel_KG.dtype)
    extra_BH = broadcast_to_batch(extra or {}, batch)
    output = cell.output

    def body(state: State, row: tuple[jax.Array, jax.Array]) -> tuple[State, Activations]:
        x_BI, perturbation_BH = row
        z_BG = with_state(cell, x_BI, state) @ kernel_KG
        new = cell.pointwise(z_BG, state, extra_BH)
        activations = (
            {} if cell.activations is None else cell.activations(z_BG, state, new, extra_BH)
        )
        h_BH = new[output] + perturbation_BH
        return (*new[:output], h_BH, *new[output + 1 :]), activations | {"h": h_BH}

    zeros = (jnp.zeros_like(perturbation_TBH[0]),) * len(cell.state)
    _, activations = lax.scan(body, zeros, (x_TBI, perturbation_TBH))
    return activations


def stack_kernels(
    cell: Cell, input_kernel_IW: jax.Array, recurrent_kernel_RW: jax.Array, bias_G: jax.Array
) -> jax.Array:
    """Returns [input; bias; recurrent] as kernel_KG, its blocks side by side and scaled.

    A block has zeros in the rows of a source that it does not take from.
    """
    parts = jnp.split(recurrent_kernel_RW, cell.num_read)
    recurrent = [
        columns_to_blocks(cell, name, part) for name, part in zip(cell.read, parts, strict=True)
    ]
    kernel_KG = jnp.concatenate(
        [columns_to_blocks(cell, "x", input_kernel_IW), bias_G[None], *recurrent]
    )
    scales = [block.scale for block in cell.blocks]
    if scales == [1.0] * len(scales):
        return kernel_KG
    scale_G = jnp.repeat(jnp.array(scales, kernel_KG.dtype), len(parts[0]))
    return kernel_KG * scale_G[None]


def columns_to_blocks(cell: Cell, source: str, kernel: jax.Array) -> jax.Array:
    """Returns the weights of one source, [..., W] or [W], by blocks, [..., G] or [G].

    A block that does not take from the source has zeros.
    """
    names = tuple(block.column if source in block.takes else None for block in cell.blocks)
    if names == cell.columns:
        return kernel
    columns = dict(zip(cell.columns, jnp.split(kernel, len(cell.columns), axis=-1), strict=True))
    zeros = jnp.zeros_like(columns[cell.columns[0]])
    return jnp.concatenate([zeros if name is None else columns[name] for name in names], axis=-1)


def flip(x_TBI: jax.Array, lengths_B: jax.Array | None = None) -> jax.Array:
    """Returns each sequence backwards, its padding still at the end."""
    if lengths_B is None:
        return jnp.flip(x_TBI, axis=0)
    rows_T1 = jnp.arange(len(x_TBI) - 1, -1, -1, dtype=jnp.int32)[:, None]
    rows_TB = (rows_T1 + lengths_B.astype(jnp.int32)[None]) % len(x_TBI)
    return jnp.take_along_axis(x_TBI, rows_TB[:, :, None], axis=0)
