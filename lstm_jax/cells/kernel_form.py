"""From the kernel of the parameters to the one that runs: block-diagonal heads, orthogonal maps.

Axes: I input, H hidden, W = columns * H, R = num_read * H.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lstm_jax.cells.cell import Cell
from lstm_jax.errors import UserError


def kernel_rows(cell: Cell, num_inputs: int, hidden: int) -> tuple[int, int]:
    """Returns the rows of the kernel's parameters for the inputs, and for the states.

    Raises UserError where the cell's heads do not divide the inputs or the units.
    """
    for name, heads, size in (
        ("inputs", cell.input_heads, num_inputs),
        ("units", cell.input_heads, hidden),
        ("units", cell.recurrent_heads, hidden),
    ):
        if size % heads:
            raise UserError(
                f"cell: {cell.name} has {heads} heads, and {heads} does not divide the {size} "
                f"{name} of the layer; take another hidden_size, or a cell with one head"
            )
    return num_inputs // cell.input_heads, cell.num_read * hidden // cell.recurrent_heads


def full_kernels(cell: Cell, kernel: jax.Array, num_inputs: int) -> tuple[jax.Array, jax.Array]:
    """Returns the input kernel [I,W] and the recurrent kernel [R,W] of a kernel of parameters."""
    rows, heads, columns = num_inputs // cell.input_heads, cell.recurrent_heads, len(cell.columns)
    input_kernel_IW = _block_diagonal(kernel[:rows], cell.input_heads, columns)
    recurrent_RW = kernel[rows:]
    if heads > 1:
        squares = jnp.split(recurrent_RW, cell.num_read)
        recurrent_RW = jnp.concatenate([_block_diagonal(one, heads, columns) for one in squares])
    if cell.recurrent_map is not None:
        recurrent_RW = cell.recurrent_map(recurrent_RW)
    return input_kernel_IW, recurrent_RW


def _block_diagonal(kernel_nW: jax.Array, heads: int, columns: int) -> jax.Array:
    """Returns each column, [heads * n, H], with its heads on the diagonal, from their n rows."""
    if heads == 1:
        return kernel_nW
    (rows, width), size = kernel_nW.shape, kernel_nW.shape[1] // (columns * heads)
    kernel_1nchs = kernel_nW.reshape(1, rows, columns, heads, size)
    # A sum over heads, in the gradient, has one number other than zero.
    is_diagonal = jnp.eye(heads, dtype=bool)[:, None, None, :, None]
    full = jnp.where(is_diagonal, kernel_1nchs, jnp.zeros_like(kernel_1nchs))
    return full.reshape(heads * rows, width)
