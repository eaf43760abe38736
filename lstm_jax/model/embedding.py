"""A look-up of symbols in a table, with a gradient whose order of additions is fixed.

Axes: V symbols, E numbers of each, N look-ups.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


@jax.custom_vjp
def look_up(table_VE: jax.Array, symbols: jax.Array) -> jax.Array:
    """Returns the rows of the table, [..., E], for symbols int32 [...].

    The gradient adds up the cotangents of all look-ups of a symbol. A scatter on a GPU adds them in
    any order. Here they are sorted by symbol and added by a scan over neighbours, so that each row
    of the table is written once.
    """
    return table_VE[symbols]


def _look_up_fwd(
    table_VE: jax.Array, symbols: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    return table_VE[symbols], (table_VE, symbols)


def _look_up_bwd(
    residuals: tuple[jax.Array, ...], cotangent: jax.Array
) -> tuple[jax.Array, np.ndarray]:
    table_VE, symbols = residuals
    symbols_N, cotangent_NE = symbols.reshape(-1), cotangent.reshape(-1, table_VE.shape[1])
    order_N = jnp.argsort(symbols_N, stable=True)
    sorted_N, sorted_NE = symbols_N[order_N], cotangent_NE[order_N]
    first_N = jnp.concatenate([jnp.ones(1, bool), sorted_N[1:] != sorted_N[:-1]])

    def add(
        left: tuple[jax.Array, jax.Array], right: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        """Returns the sums of neighbours; a sum starts again at the first look-up of a symbol."""
        (first, total), (first_right, total_right) = left, right
        total = jnp.where(first_right[:, None], total_right, total + total_right)
        return first | first_right, total

    _, total_NE = lax.associative_scan(add, (first_N, sorted_NE))
    last_N = jnp.concatenate([first_N[1:], jnp.ones(1, bool)])
    # The last look-up of a symbol holds its total. The others are dropped: each has its own index
    # behind the table.
    behind_N = len(table_VE) + jnp.arange(len(sorted_N), dtype=sorted_N.dtype)
    index_N = jnp.where(last_N, sorted_N, behind_N)
    zeros_VE = jnp.zeros_like(table_VE)
    gradient_VE = zeros_VE.at[index_N].set(total_NE, mode="drop", unique_indices=True)
    return gradient_VE, np.zeros(symbols.shape, jax.dtypes.float0)


look_up.defvjp(_look_up_fwd, _look_up_bwd)
