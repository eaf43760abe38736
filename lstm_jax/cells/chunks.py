"""A scan over chunks of time steps, whose backward pass computes each chunk again: `scan_chunks`.

For cells whose products read x alone. The arrays of one chunk stay in the cache, and the forward
pass keeps nothing but the state before each chunk. Together with `pointwise_scan._split` it makes
training 1.25 to 1.5 times as fast, measured over 784 time steps of 16 sequences and 64 units.

Written by hand: `jax.checkpoint` around a chunk allows no second derivative (jax 0.10).

Axes: C chunks, t time steps of a chunk, B batch, I input.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

# (weights, x_tBI, state) -> (outputs, new state), each a tree of arrays
RunChunk = Callable[[Any, jax.Array, Any], tuple[Any, Any]]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def scan_chunks(
    run_chunk: RunChunk, weights: Any, x_CtBI: jax.Array, initial: Any
) -> tuple[Any, Any]:
    """Returns the outputs of all chunks, [C, ...] each, and the final state."""
    (outputs, final), _ = _scan_fwd(run_chunk, weights, x_CtBI, initial)
    return outputs, final


def _scan_fwd(
    run_chunk: RunChunk, weights: Any, x_CtBI: jax.Array, initial: Any
) -> tuple[tuple[Any, Any], tuple[Any, ...]]:
    def chunk(state: Any, x_tBI: jax.Array) -> tuple[Any, Any]:
        outputs, new = run_chunk(weights, x_tBI, state)
        return new, (outputs, state)

    final, (outputs, states) = lax.scan(chunk, initial, x_CtBI)
    return (outputs, final), (weights, x_CtBI, states)


def _scan_bwd(
    run_chunk: RunChunk, residuals: tuple[Any, ...], cotangents: tuple[Any, Any]
) -> tuple[Any, jax.Array, Any]:
    (weights, x_CtBI, states), (doutputs, dfinal) = residuals, cotangents

    def chunk(carry: tuple[Any, Any], inputs: tuple[Any, ...]) -> tuple[Any, jax.Array]:
        (dweights, dstate), (x_tBI, state, doutputs) = carry, inputs
        _, vjp = jax.vjp(run_chunk, weights, x_tBI, state)
        of_chunk, dx_tBI, dstate = vjp((doutputs, dstate))
        return (jax.tree.map(jnp.add, dweights, of_chunk), dstate), dx_tBI

    start = jax.tree.map(jnp.zeros_like, weights), dfinal
    inputs = x_CtBI, states, doutputs
    (dweights, dinitial), dx_CtBI = lax.scan(chunk, start, inputs, reverse=True)
    return dweights, dx_CtBI, dinitial


scan_chunks.defvjp(_scan_fwd, _scan_bwd)
