"""The recurrence of matrix memories: S = a S + k u^T, read as o = S^T q, in two forms.

    u = v                      a sum of outer products, as in mLSTM
    u = beta (v - (a S)^T k)   the delta rule, as in gated DeltaNet

*Recurrent*: time step by time step. A sequence has the bits of its time steps one by one.

*Chunkwise*: the time steps of a chunk together, as matrix products. With g the sum of log a from
the beginning of the chunk, S the memory before it, and U the rows u:

    O = e^g Q S + (D * Q K^T) U,  D[t, s] = e^(g_t - g_s) for s <= t, otherwise 0
    S = e^g S + (e^(g - g_t) K)^T U, with g at the end of the chunk

The delta rule solves a unit lower triangular system for U in each chunk; Yang et al.,
"Parallelizing linear transformers with the delta rule over sequence length" (2024):

    (I + beta * strictly lower part of (D * K K^T)) U = beta (V - e^g K S)

Both forms keep the memories before each chunk and compute a chunk again for its gradient: all
memories of 784 time steps of 16 sequences with 4 heads of 16 x 16 would be 51 MB. Measured at this
size on one core, with the gradient: recurrent 32 ms, with the delta rule 44 ms; chunkwise 16 ms and
30 ms, and a chunk of 8 or of 28 takes longer.

Axes: T time steps, L time steps of a chunk, B batch, N heads, K numbers of a key, V of a value.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

CHUNK = 16  # time steps


class MemoryInputs(NamedTuple):
    """The inputs of a matrix memory: [T,B,N] each, with a last axis K or V where one is named."""

    log_a_TBN: jax.Array  # at most 0
    k_TBNK: jax.Array
    v_TBNV: jax.Array
    q_TBNK: jax.Array
    beta_TBN: jax.Array | None = None  # with the delta rule


def matrix_scan(
    memory_BNKV: jax.Array, inputs: MemoryInputs, *, chunkwise: bool = False
) -> tuple[jax.Array, jax.Array]:
    """Returns the outputs at all time steps, [T,B,N,V], and the last memory, [B,N,K,V].

    Where log a is 0 and k or beta is 0, the memory stays as it is: so one masks padding.
    """
    run = _chunkwise if chunkwise else _recurrent
    # The last chunk, or its beginning, is not computed again, since its gradient is the first one.
    whole = (len(inputs.q_TBNK) - 1) // CHUNK * CHUNK
    outputs = []
    if whole:
        chunks = jax.tree.map(lambda x: x[:whole].reshape(-1, CHUNK, *x.shape[1:]), inputs)
        memory_BNKV, o = lax.scan(jax.checkpoint(run, prevent_cse=False), memory_BNKV, chunks)
        outputs.append(o.reshape(whole, *o.shape[2:]))
    memory_BNKV, o_TBNV = run(memory_BNKV, jax.tree.map(lambda x: x[whole:], inputs))
    return jnp.concatenate([*outputs, o_TBNV]), memory_BNKV


def _recurrent(memory_BNKV: jax.Array, inputs: MemoryInputs) -> tuple[jax.Array, jax.Array]:
    """Returns the last memory and the outputs of the time steps, one after the other."""

    def time_step(memory: jax.Array, of_t: MemoryInputs) -> tuple[jax.Array, jax.Array]:
        log_a, k, u, q, beta = of_t
        memory = jnp.exp(log_a)[..., None, None] * memory
        if beta is not None:
            u = beta[..., None] * (u - _read(memory, k))
        memory = memory + k[..., None] * u[..., None, :]
        return memory, _read(memory, q)

    num_steps = len(inputs.q_TBNK)
    if num_steps == 1:
        # XLA would inline a loop of one time step into what computes its inputs, and round
        # otherwise. A second one of zeros leaves the memory as it is.
        inputs = jax.tree.map(lambda x: jnp.concatenate([x, jnp.zeros_like(x)]), inputs)
    memory_BNKV, o_TBNV = lax.scan(time_step, memory_BNKV, inputs)
    return memory_BNKV, o_TBNV[:num_steps]


def _chunkwise(memory_BNKV: jax.Array, inputs: MemoryInputs) -> tuple[jax.Array, jax.Array]:
    """Returns the last memory and the outputs of the time steps of a chunk, all together."""
    log_a, k, u, q, beta = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 2), inputs)  # [B,N,L,...]
    g_BNL1 = jnp.cumsum(log_a, axis=2)[..., None]
    before, steps = jnp.exp(g_BNL1), jnp.arange(log_a.shape[2], dtype=jnp.int32)
    is_past = (steps[:, None] >= steps[None])[None, None]
    # The exponent of what is not past may be large.
    decay = jnp.exp(jnp.where(is_past, g_BNL1 - g_BNL1.swapaxes(2, 3), -jnp.inf))
    if beta is not None:
        known = beta[..., None] * (u - before * (k @ memory_BNKV))
        system = beta[..., None] * decay * (k @ k.swapaxes(2, 3))  # only its lower part is read
        u = lax.linalg.triangular_solve(
            system, known, left_side=True, lower=True, unit_diagonal=True
        )
    o = before * (q @ memory_BNKV) + (decay * (q @ k.swapaxes(2, 3))) @ u
    kept = before[:, :, -1:] * memory_BNKV
    memory_BNKV = kept + (decay[:, :, -1][..., None] * k).swapaxes(2, 3) @ u
    return memory_BNKV, jnp.moveaxis(o, 2, 0)


def _read(memory_BNKV: jax.Array, q_BNK: jax.Array) -> jax.Array:
    """Returns S^T q, [B,N,V]."""
    return jnp.einsum("bnkv,bnk->bnv", memory_BNKV, q_BNK)
