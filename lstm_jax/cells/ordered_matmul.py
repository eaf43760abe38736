"""Matrix products whose gradients have the same bits with any number of threads.

XLA's CPU backend adds up a long product in another order when it has more threads. The gradient of
a kernel is such a product: a sum over all time steps of all sequences. `sum_over_rows` takes it in
pieces, in a fixed order; the recurrence and `matmul` both use it.

Axes: T time steps, B batch, N = T * B, D and K inputs, O outputs.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax.cells.precision import FLOAT32, product, products_in


def sum_over_rows(v_NK: jax.Array, dz_ND: jax.Array) -> jax.Array:
    """Returns v.T @ dz, [K,D], as an ordered sum: its bits do not depend on the number of threads.

    Measured with 1 to 32 threads: a product over N has the same bits up to N = 128, and up to
    N = 320 where the result is large. N = 448 (the notebook's 28 time steps of 16 images) has the
    same bits as well at the notebook's sizes, and stays one product.
    """
    size = v_NK.shape[1] * dz_ND.shape[1]
    length = 256 if size >= 40_000 else 128
    if len(v_NK) <= length or (len(v_NK) == 448 and size >= 60_000):
        return product(v_NK.T, dz_ND)
    remainder = len(v_NK) % length
    pieces = [a[remainder:].reshape(-1, length, a.shape[1]) for a in (v_NK, dz_ND)]

    def add(total_KD: jax.Array, piece: list[jax.Array]) -> tuple[jax.Array, None]:
        v_nK, dz_nD = piece
        return total_KD + product(v_nK.T, dz_nD), None

    total_KD, _ = lax.scan(add, product(v_NK[:remainder].T, dz_ND[:remainder]), pieces)
    return total_KD


def sum_rows(dz_NH: jax.Array) -> jax.Array:
    """Returns the sum of all rows, [H], in their order, in float32 whatever the precision."""
    ones_N8 = lax.optimization_barrier(jnp.ones((len(dz_NH), 8), dz_NH.dtype))
    with products_in(FLOAT32):
        return sum_over_rows(ones_N8, dz_NH)[0]


@jax.custom_vjp
def matmul(x_TBD: jax.Array, kernel_DO: jax.Array) -> jax.Array:
    """Returns x @ kernel, [T,B,O]. The gradient of the kernel is an ordered sum."""
    return product(x_TBD, kernel_DO)


def _matmul_fwd(x_TBD: jax.Array, kernel_DO: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    return product(x_TBD, kernel_DO), (x_TBD, kernel_DO)


def _matmul_bwd(residuals: tuple[jax.Array, ...], dy_TBO: jax.Array) -> tuple[jax.Array, jax.Array]:
    x_TBD, kernel_DO = residuals
    x_ND, dy_NO = (a.reshape(-1, a.shape[-1]) for a in (x_TBD, dy_TBO))
    return product(dy_TBO, kernel_DO.T), sum_over_rows(x_ND, dy_NO)


matmul.defvjp(_matmul_fwd, _matmul_bwd)


ROWS = 64  # of a piece of `matmul_rows`


@jax.custom_vjp
def matmul_rows(x_TBD: jax.Array, kernel_DO: jax.Array) -> jax.Array:
    """Returns x @ kernel, [T,B,O]. The bits of a row do not depend on how many rows there are.

    So a sequence has the bits of its time steps one by one. XLA's CPU backend takes another order
    of addition for another number of rows; here every product has as many. Other backends take one
    product. The gradient of the kernel is an ordered sum.
    """
    return lax.platform_dependent(x_TBD, kernel_DO, cpu=_matmul_pieces, default=product)


def _matmul_pieces(x_TBD: jax.Array, kernel_DO: jax.Array) -> jax.Array:
    (num_steps, batch, width), num_outputs = x_TBD.shape, kernel_DO.shape[1]
    count = num_steps * batch
    pieces = (count + ROWS - 1) // ROWS
    x_ND = jnp.pad(x_TBD.reshape(count, width), ((0, pieces * ROWS - count), (0, 0)))
    x_PnD = x_ND.reshape(pieces, ROWS, width)
    _, z_PnO = lax.scan(lambda _, x_nD: (None, product(x_nD, kernel_DO)), None, x_PnD)
    z_NO = z_PnO.reshape(pieces * ROWS, num_outputs)
    return z_NO[:count].reshape(num_steps, batch, num_outputs)


def _matmul_rows_fwd(
    x_TBD: jax.Array, kernel_DO: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    return matmul_rows(x_TBD, kernel_DO), (x_TBD, kernel_DO)


matmul_rows.defvjp(_matmul_rows_fwd, _matmul_bwd)


@jax.custom_vjp
def affine_rows(x_TBI: jax.Array, kernel_DO: jax.Array) -> jax.Array:
    """Returns [x, 1] @ kernel, [T,B,O], with the last row of the kernel as bias; see `matmul_rows`.

    Its gradient by x is that of x alone: XLA would take the ones along.
    """
    return matmul_rows(append_ones(x_TBI), kernel_DO)


def _affine_rows_fwd(
    x_TBI: jax.Array, kernel_DO: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    return affine_rows(x_TBI, kernel_DO), (x_TBI, kernel_DO)


def _affine_rows_bwd(
    residuals: tuple[jax.Array, ...], dy_TBO: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x_TBI, kernel_DO = residuals
    x_ND, dy_NO = (a.reshape(-1, a.shape[-1]) for a in (append_ones(x_TBI), dy_TBO))
    return product(dy_TBO, kernel_DO[:-1].T), sum_over_rows(x_ND, dy_NO)


affine_rows.defvjp(_affine_rows_fwd, _affine_rows_bwd)


def append_ones(x: jax.Array) -> jax.Array:
    """Returns [x, 1] along the last axis.

    A bias is then the last row of a kernel, and its gradient is part of the kernel's product.
    """
    return jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def broadcast_rows(w_H: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """Returns a weight at all rows, [T,B,H], for (T, B). Its gradient is an ordered sum."""
    return jnp.broadcast_to(w_H[None, None], (*shape, len(w_H)))


def _broadcast_fwd(w_H: jax.Array, shape: tuple[int, int]) -> tuple[jax.Array, None]:
    return broadcast_rows(w_H, shape), None


def _broadcast_bwd(shape: tuple[int, int], _: None, dy_TBH: jax.Array) -> tuple[jax.Array]:
    return (sum_rows(dy_TBH.reshape(-1, dy_TBH.shape[-1])),)


broadcast_rows.defvjp(_broadcast_fwd, _broadcast_bwd)
