"""Matrix products in float32 or bfloat16: `product`, and the context that decides, `products_in`.

In bfloat16 both operands are rounded to bfloat16, and the products are added in float32. Everything
else stays in float32: operands before and results behind, states, pointwise formulas, sums that are
written as products with ones, and in a gradient the same. The context is one of JAX: a program that
was compiled in one precision is not reused in the other.

Micikevicius et al., "Mixed precision training" (2018); Kalamkar et al., "A study of bfloat16 for
deep learning training" (2019).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial

import jax
import jax.numpy as jnp

FLOAT32, BFLOAT16 = "float32", "bfloat16"

_precision = jax.make_user_context(FLOAT32)


def products_in(precision: str) -> AbstractContextManager[None]:
    """Returns a context in which `product` and `einsum` have a precision, float32 or bfloat16.

    Gradients are traced where they are taken: take `jax.grad` within the context too.
    """
    context: AbstractContextManager[None] = _precision(precision)
    return context


def operand(x: jax.Array) -> jax.Array:
    """Returns an operand of several products, rounded once to the precision of the context."""
    return x if _precision.value == FLOAT32 else x.astype(jnp.bfloat16)


def product(a: jax.Array, b: jax.Array) -> jax.Array:
    """Returns a @ b, [..., O], for a [..., D] of one axis or more and b [D,O]."""
    if _precision.value == FLOAT32:
        return a @ b
    rows = "xyz"[: a.ndim - 1]
    return _einsum_bfloat16(f"{rows}d,do->{rows}o", a, b)


def einsum(subscripts: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """Returns the sum of products of two arrays; no index may be in one operand alone."""
    if _precision.value == FLOAT32:
        return jnp.einsum(subscripts, a, b)
    return _einsum_bfloat16(subscripts, a, b)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _einsum_bfloat16(subscripts: str, a: jax.Array, b: jax.Array) -> jax.Array:
    rounded = a.astype(jnp.bfloat16), b.astype(jnp.bfloat16)
    return jnp.einsum(subscripts, *rounded, preferred_element_type=jnp.float32)


def _einsum_fwd(
    subscripts: str, a: jax.Array, b: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _einsum_bfloat16(subscripts, a, b), (a, b)


def _einsum_bwd(
    subscripts: str, operands: tuple[jax.Array, jax.Array], dy: jax.Array
) -> tuple[jax.Array, jax.Array]:
    # JAX's own gradient would return the rounded operands' gradients, which have eight bits.
    a, b = operands
    (of_a, of_b), of_y = subscripts.split("->")[0].split(","), subscripts.split("->")[1]
    da = _einsum_bfloat16(f"{of_y},{of_b}->{of_a}", dy, b)
    db = _einsum_bfloat16(f"{of_a},{of_y}->{of_b}", a, dy)
    return da.astype(a.dtype), db.astype(b.dtype)


_einsum_bfloat16.defvjp(_einsum_fwd, _einsum_bwd)
