"""Products of many rows with one kernel, with a gradient of one order everywhere.

Axes: T rows, B batch, D numbers in a row, O outputs.
"""

from __future__ import annotations

import jax

from lstm_jax.cells.scan_vjp import sum_over_rows


@jax.custom_vjp
def matmul(x_TBD: jax.Array, kernel_DO: jax.Array) -> jax.Array:
    """Returns x @ kernel, [T,B,O].

    The kernel's gradient is a sum over T * B rows: XLA's CPU backend adds up a long one in another
    order with more threads, so it is taken as the recurrence takes its own.
    """
    return x_TBD @ kernel_DO


def _fwd(x_TBD: jax.Array, kernel_DO: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    return x_TBD @ kernel_DO, (x_TBD, kernel_DO)


def _bwd(residuals: tuple[jax.Array, ...], given_TBO: jax.Array) -> tuple[jax.Array, jax.Array]:
    x_TBD, kernel_DO = residuals
    x_ND, given_NO = (a.reshape(-1, a.shape[-1]) for a in (x_TBD, given_TBO))
    return given_TBO @ kernel_DO.T, sum_over_rows(x_ND, given_NO)


matmul.defvjp(_fwd, _bwd)
