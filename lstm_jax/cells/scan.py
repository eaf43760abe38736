"""The recurrence of all cells: pure functions of arrays, with exact gradients.

At each time step z = [x, 1, r] @ [input kernel; bias; recurrent kernel] and then
state = pointwise(z, state), with the cell's own pointwise formula. r is the part of the
old state that the matrix product reads; for most cells it is h. `scan_vjp.py` holds both passes and
the reasons for their form. Where the products read no state, they are taken for all time steps at
once: `pointwise_scan.py`, and `linear_cell.py` for cells that are linear in their state; on long
sequences in chunks (`chunks.py`). `staged_cell.py` runs cells whose products wait for each other.

Axes: T time steps, B batch, I input, H hidden, R = num_read * H, K = I + 1 + R, W = columns * H
(the parameters), G = blocks * H (the pre-activations).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax.cells.argument_checks import (
    expect_floats,
    expect_lengths,
    expect_shape,
    expect_state,
    expect_time_steps,
    promote_floats,
    vary_alike,
)
from lstm_jax.cells.cell import Activations, Cell, Extra, State
from lstm_jax.cells.chunks import scan_chunks
from lstm_jax.cells.linear_cell import LinearCell, run_linear, trace_linear
from lstm_jax.cells.ordered_matmul import affine_rows
from lstm_jax.cells.pointwise_scan import scan_pointwise
from lstm_jax.cells.precision import product
from lstm_jax.cells.scan_vjp import append_state, broadcast_to_batch, recur
from lstm_jax.cells.staged_cell import StagedCell, run_staged, trace_staged

CHUNK_STEPS = 56  # time steps of a chunk, of a cell whose products read x alone
FORWARD_MODE = (
    "the recurrence is a custom_vjp function, with gradients in reverse mode alone: take jax.grad, "
    "jax.vjp or jax.jacrev instead of jax.jvp, jax.linearize or jax.jacfwd, or the jvp in "
    "docs/recurrence.md"
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
    associative: bool = False,
) -> tuple[Any, State]:
    """Runs a cell over T time steps: returns all outputs [T,B,H] and the final state, [B,H] each.

    Without `keep_outputs` the outputs are None, which saves their memory.

    kernel_KG: from `stack_kernels`.
    x_TBI: the inputs. All arrays may be float32, bfloat16 or float16; they are converted to
        float32, or, where any is float64, to float64. Outputs and states have that dtype.
    extra: the weights that `cell.extra` names, [H] each, or [H,H] of a linear cell's read-out.
    initial: the state before the first time step, [B,H] each; None stands for zeros.
    lengths_B: integers, the time steps of each sequence. The final state is then the one after so
        many time steps (the initial one for 0). The outputs continue through the padding, as in
        `flax.linen.RNN`. None: all T.
    reverse: reads each sequence from its last time step to its first; padding stays at the end. The
        outputs are in the order of reading (`flip` puts them back).
    associative: computes all time steps of a linear cell together, for GPUs and TPUs. It gives
        other bits. Of no effect on other cells, which have no such form.

    The function is differentiable in reverse mode, to any order. Raises ValueError with the name of
    an argument whose shape does not fit, and TypeError for integer inputs and for forward mode
    (`jax.jvp`).
    """
    expect_time_steps(x_TBI)
    (num_steps, batch, num_inputs), hidden = x_TBI.shape, kernel_KG.shape[-1] // len(cell.blocks)
    shape = num_inputs + 1 + cell.num_read * hidden, len(cell.blocks) * hidden
    expect_shape("kernel_KG", kernel_KG, shape, x_TBI=x_TBI)
    extra = {} if extra is None else extra
    if set(extra) != set(cell.extra):
        raise ValueError(f"extra has {sorted(extra)}; the cell {cell.name} has {[*cell.extra]}")
    for name, array in extra.items():
        expect_shape(f"extra {name}", array, cell.extra[name].shape(hidden), kernel_KG=kernel_KG)
    expect_floats(x_TBI=x_TBI, kernel_KG=kernel_KG, **extra)
    expect_state(cell.state, initial, hidden, x_TBI, kernel_KG=kernel_KG)
    expect_lengths(lengths_B, x_TBI)
    if initial is None:
        initial = (jnp.zeros((batch, hidden), jnp.float32),) * len(cell.state)
    floats = promote_floats((kernel_KG, x_TBI, extra, tuple(initial)))
    (kernel_KG, x_TBI, extra, initial), lengths_B = vary_alike((floats, lengths_B))
    if lengths_B is not None:
        lengths_B = jnp.clip(jnp.asarray(lengths_B, jnp.int32), 0, num_steps)
    if reverse:
        x_TBI = flip(x_TBI, lengths_B)
    try:
        if isinstance(cell, StagedCell):
            return run_staged(
                cell, kernel_KG, x_TBI, extra, initial, lengths_B, keep_outputs=keep_outputs
            )
        if cell.read:
            return recur(cell, keep_outputs, kernel_KG, x_TBI, extra, initial, lengths_B)
        return _run_input_only(
            cell, kernel_KG, x_TBI, extra, initial, lengths_B,
            keep_outputs=keep_outputs, associative=associative,
        )  # fmt: skip
    except TypeError as error:
        if "forward-mode" not in str(error):
            raise
        raise TypeError(FORWARD_MODE) from None


def _run_input_only(
    cell: Cell,
    kernel_KG: jax.Array,
    x_TBI: jax.Array,
    extra: Extra,
    initial: State,
    lengths_B: jax.Array | None,
    *,
    keep_outputs: bool,
    associative: bool,
) -> tuple[Any, State]:
    """Runs a cell whose products read x alone, in chunks of time steps where that is faster.

    It is not with the few arrays of a minGRU.
    """

    def run_steps(weights: Any, x_tBI: jax.Array, state: State) -> tuple[Any, State]:
        kernel_KG, extra = weights
        if isinstance(cell, LinearCell):
            return run_linear(
                cell, kernel_KG, x_tBI, extra, state, lengths_B,
                keep_outputs=keep_outputs, associative=associative,
            )  # fmt: skip
        z_tBG = affine_rows(x_tBI, kernel_KG)
        return scan_pointwise(cell, keep_outputs, z_tBG, extra, state, lengths_B)

    weights, num_steps = (kernel_KG, extra), x_TBI.shape[0]
    few_arrays = len(cell.columns) + len(cell.state) <= 3
    is_short = not isinstance(num_steps, int) or num_steps < 2 * CHUNK_STEPS  # or of any number
    if is_short or few_arrays or associative or lengths_B is not None:
        return run_steps(weights, x_TBI, initial)
    num_chunks, remainder = divmod(num_steps, CHUNK_STEPS)
    first, state = [], initial
    if remainder:
        h_tBH, state = run_steps(weights, x_TBI[:remainder], initial)
        first = [h_tBH]
    x_CtBI = x_TBI[remainder:].reshape(num_chunks, CHUNK_STEPS, *x_TBI.shape[1:])
    h_CtBH, state = scan_chunks(run_steps, weights, x_CtBI, state)
    if not keep_outputs:
        return None, state
    h_TBH = h_CtBH.reshape(num_chunks * CHUNK_STEPS, *h_CtBH.shape[2:])
    return jnp.concatenate([*first, h_TBH]), state


def run_unstacked(
    cell: Cell,
    x_TBI: jax.Array,
    input_kernel_IG: jax.Array,
    recurrent_kernel_HG: jax.Array,
    bias_G: jax.Array,
    carry: State | None = None,
    lengths_B: jax.Array | None = None,
    *,
    extra: Extra | None = None,
    reverse: bool = False,
    keep_outputs: bool = True,
) -> tuple[Any, State]:
    """Runs a cell as `run` does, on kernels that are not stacked yet.

    They are the input kernel [I,W], the recurrent kernel [R,W] and the bias [G]. `carry` is the
    initial state.
    """
    expect_time_steps(x_TBI)
    hidden = bias_G.shape[0] // len(cell.blocks)
    if cell.read:
        hidden = recurrent_kernel_HG.shape[0] // cell.num_read
    width = len(cell.columns) * hidden
    expect_shape("recurrent_kernel_HG", recurrent_kernel_HG, (cell.num_read * hidden, width))
    known = {"x_TBI": x_TBI, "recurrent_kernel_HG": recurrent_kernel_HG}
    expect_shape("input_kernel_IG", input_kernel_IG, (x_TBI.shape[2], width), **known)
    expect_shape("bias_G", bias_G, (len(cell.blocks) * hidden,), **known)
    expect_floats(**known, input_kernel_IG=input_kernel_IG, bias_G=bias_G)
    expect_state(cell.state, carry, hidden, **known)
    x_TBI, *kernels, carry, extra = promote_floats(
        (x_TBI, input_kernel_IG, recurrent_kernel_HG, bias_G, carry, extra)
    )
    return run(
        cell, stack_kernels(cell, *kernels), x_TBI, extra, initial=carry, lengths_B=lengths_B,
        reverse=reverse, keep_outputs=keep_outputs,
    )  # fmt: skip


def trace(
    cell: Cell,
    kernel_KG: jax.Array,
    x_TBI: jax.Array,
    extra: Extra | None = None,
    perturbation_TBH: jax.Array | None = None,
) -> Activations:
    """Returns the activations at all time steps, [T,B,H] each, with the outputs as "h".

    It serves figures, not training: it is slower than `run`. `perturbation_TBH` is added to the
    output of each time step before the next one reads it; in a linear cell, to its first state. The
    gradient by it, at zero, is the gradient by the outputs themselves, or by that state.
    """
    num_steps, batch, _ = x_TBI.shape
    hidden = kernel_KG.shape[1] // len(cell.blocks)
    if perturbation_TBH is None:
        perturbation_TBH = jnp.zeros((num_steps, batch, hidden), kernel_KG.dtype)
    if isinstance(cell, LinearCell):
        return trace_linear(cell, kernel_KG, x_TBI, extra or {}, perturbation_TBH)
    if isinstance(cell, StagedCell):
        return trace_staged(cell, kernel_KG, x_TBI, extra or {}, perturbation_TBH)
    extra_BH = broadcast_to_batch(extra or {}, batch)
    output = cell.output_index

    def time_step(state: State, inputs: tuple[jax.Array, jax.Array]) -> tuple[State, Activations]:
        x_BI, perturbation_BH = inputs
        z_BG = product(append_state(cell, x_BI, state), kernel_KG)
        assert cell.pointwise is not None
        new = cell.pointwise(z_BG, state, extra_BH)
        activations = {}
        if cell.activations is not None:
            activations = cell.activations(z_BG, state, new, extra_BH)
        h_BH = new[output] + perturbation_BH
        return (*new[:output], h_BH, *new[output + 1 :]), activations | {"h": h_BH}

    zeros = (jnp.zeros_like(perturbation_TBH[0]),) * len(cell.state)
    _, activations = lax.scan(time_step, zeros, (x_TBI, perturbation_TBH))
    return activations


def stack_kernels(
    cell: Cell, input_kernel_IW: jax.Array, recurrent_kernel_RW: jax.Array, bias_G: jax.Array
) -> jax.Array:
    """Returns [input kernel; bias; recurrent kernel], [K,G], by blocks and scaled for `run`."""
    kernels = jnp.split(recurrent_kernel_RW, cell.num_read) if cell.read else []
    recurrent = [columns_to_blocks(cell, *pair) for pair in zip(cell.read, kernels, strict=True)]
    input_kernel_IG = columns_to_blocks(cell, "x", input_kernel_IW)
    kernel_KG = jnp.concatenate([input_kernel_IG, bias_G[None], *recurrent])
    scales = [block.scale for block in cell.blocks]
    if scales == [1.0] * len(scales):
        return kernel_KG
    scale_G = jnp.repeat(jnp.array(scales, kernel_KG.dtype), len(bias_G) // len(scales))
    return kernel_KG * scale_G[None]


def columns_to_blocks(cell: Cell, source: str, kernel: jax.Array) -> jax.Array:
    """Returns the weights of one source, [..., W] or [W], by blocks, [..., G] or [G].

    A block that does not read the source gets zeros.
    """
    names = tuple(block.column if source in block.sources else None for block in cell.blocks)
    if names == cell.columns:
        return kernel
    columns = dict(zip(cell.columns, jnp.split(kernel, len(cell.columns), axis=-1), strict=True))
    zeros = jnp.zeros_like(columns[cell.columns[0]])
    return jnp.concatenate([zeros if name is None else columns[name] for name in names], axis=-1)


def flip(x_TBI: jax.Array, lengths_B: jax.Array | None = None) -> jax.Array:
    """Returns each sequence backwards, [T,B,I], with its padding still at the end."""
    if lengths_B is None:
        return jnp.flip(x_TBI, axis=0)
    num_steps = x_TBI.shape[0]  # `len` would refuse a symbolic one
    t_T1 = jnp.arange(num_steps - 1, -1, -1, dtype=jnp.int32)[:, None]
    t_TB = (t_T1 + lengths_B.astype(jnp.int32)[None]) % num_steps
    return jnp.take_along_axis(x_TBI, t_TB[:, :, None], axis=0)
