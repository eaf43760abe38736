"""The rows of a table, looked up by symbols, with a gradient of one order everywhere.

Axes: V symbols, E numbers of each, N look-ups.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


@jax.custom_vjp
def look_up(table_VE: jax.Array, symbols: jax.Array) -> jax.Array:
    """Returns the rows [..., E] of the symbols, int32 [...].

    The gradient adds up, for each symbol, the cotangents of its look-ups. A GPU's scatter leaves
    the order of the additions open; here they are sorted by symbol and added by a scan over
    neighbours, so that each row of the table is written once.
    """
    return table_VE[symbols]


def _fwd(table_VE: jax.Array, symbols: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    return table_VE[symbols], (table_VE, symbols)


def _bwd(residuals: tuple[jax.Array, ...], cotangent: jax.Array) -> tuple[jax.Array, np.ndarray]:
    table_VE, symbols = residuals
    symbols_N, given_NE = symbols.reshape(-1), cotangent.reshape(-1, table_VE.shape[1])
    order_N = jnp.argsort(symbols_N, stable=True)
    sorted_N, sorted_NE = symbols_N[order_N], given_NE[order_N]
    first_N = jnp.concatenate([jnp.ones(1, bool), sorted_N[1:] != sorted_N[:-1]])

    def add(
        left: tuple[jax.Array, jax.Array], right: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        """Sums of neighbours, which begin anew at the first look-up of a symbol."""
        (begins, total), (begins_right, total_right) = left, right
        total = jnp.where(begins_right[:, None], total_right, total + total_right)
        return begins | begins_right, total

    _, total_NE = lax.associative_scan(add, (first_N, sorted_NE))
    last_N = jnp.concatenate([first_N[1:], jnp.ones(1, bool)])
    # What is not the last of its symbol goes nowhere: behind the table, each to a place of its own.
    behind_N = len(table_VE) + jnp.arange(len(sorted_N), dtype=sorted_N.dtype)
    place_N = jnp.where(last_N, sorted_N, behind_N)
    gradient_VE = (
        jnp.zeros_like(table_VE).at[place_N].set(total_NE, mode="drop", unique_indices=True)
    )
    return gradient_VE, np.zeros(symbols.shape, jax.dtypes.float0)


look_up.defvjp(_fwd, _bwd)
