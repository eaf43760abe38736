"""Layers whose state is a matrix for each head, which keys write to and queries read from.

mlstm:   m = max(log sigma(f) + m, i),  f' = sigma(f) exp(m before - m),  i' = exp(i - m)
         C = f' C + i' k v^T,  n = f' n + i' k,  where k is divided by sqrt(K)
         h = sigma(o) * layer norm(C^T q / max(|n . q|, exp(-m)))
         Beck et al., "xLSTM: extended long short-term memory" (2024). NX-AI/xlstm was read beside
         it; its denominator has 1e-6 added, here it is at least 1e-6. At the start the biases of f
         rise from 3 to 6 by head, those of i are N(0, 0.01), and the kernel of both is zero.
gated_deltanet:  a = exp(-exp(A) softplus(d)),  beta = sigma(b)
         S = a S,  S = S + k (beta (v - S^T k))^T,  h = silu(o) * RMS norm(S^T q / sqrt(K))
         q = silu(q) / |silu(q)|,  k = silu(k) / |silu(k)|,  v = silu(v)
         Yang, Kautz and Hatamizadeh, "Gated delta networks: improving Mamba2 with delta rule"
         (2024). fla-org/flash-linear-attention was read beside it. exp(A) starts uniform in
         [0, 16], and softplus of the bias of d log-uniform in [0.001, 0.1].
gated_deltanet_neg: beta = 2 sigma(b), with which S can turn a value into its negative, as parity
         needs. Grazzi et al., "Unlocking state-tracking in linear RNNs through negative
         eigenvalues" (2024).

q, k, v, o and the gates i, f, d, b are products of x, with biases; a gate is one number a head.
There are 4 heads, each with its own W / 4 numbers; where hidden_size is no multiple of 4, W is the
next one, and at least 8. Both norms are over the numbers of a head and have no weights. The papers
put a convolution before q and k, and a projection behind the layer: `--block residual` has both.

Axes: T time steps, B batch, I input, N heads, K numbers of a head, W = N K.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import initializers

from lstm_jax.cells.layer import Params
from lstm_jax.cells.matrix_scan import MemoryInputs, matrix_scan
from lstm_jax.cells.norm import normalise
from lstm_jax.cells.ordered_matmul import affine_rows, broadcast_rows

SMALLEST_DENOMINATOR = 1e-6


@dataclass(frozen=True)
class MatrixMemory(ABC):
    """What these layers share: heads, one kernel [I+1, 4W + 2N], and the form of `matrix_scan`."""

    heads: int = 4
    chunkwise: bool = False

    @abstractmethod
    def init(self, key: jax.Array, num_inputs: int, hidden_size: int) -> Params:
        """Returns the initial parameters; see `cells.layer.Layer`."""

    @abstractmethod
    def apply(
        self, params: Params, x_TBI: jax.Array, lengths_B: jax.Array | None, carry: Any
    ) -> tuple[jax.Array, Any]:
        """Returns the outputs, [T,B,W], and the carry; see `cells.layer.Layer`."""

    def step(self, params: Params, x_BI: jax.Array, carry: Any) -> tuple[jax.Array, Any]:
        """Returns the output of one time step, [B,W], and the new carry."""
        h_1BW, carry = self.apply(params, x_BI[None], None, carry)
        return h_1BW[0], carry

    def associative(self) -> Self:
        """Returns the layer that `--backend associative` runs: the chunkwise form."""
        return replace(self, chunkwise=True)

    def _init_kernel(
        self, key: jax.Array, num_inputs: int, hidden_size: int, biases: Sequence[jax.Array]
    ) -> jax.Array:
        """Returns a LeCun normal kernel with zeros as biases, and with these of both gates, [N]."""
        # A norm over one number would leave nothing of it.
        width = self.heads * max(2, math.ceil(hidden_size / self.heads))
        shape = num_inputs, 4 * width + 2 * self.heads
        kernel = initializers.lecun_normal()(key, shape, jnp.float32)
        bias = jnp.concatenate([jnp.zeros(4 * width, jnp.float32), *biases])
        return jnp.concatenate([kernel, bias[None]])

    def _project(self, kernel: jax.Array, x_TBI: jax.Array) -> list[jax.Array]:
        """Returns q, k, v and o, [T,B,N,K] each, and both gates, [T,B,N] each."""
        width = (kernel.shape[1] - 2 * self.heads) // 4
        z_TBG = affine_rows(x_TBI, kernel)
        *blocks, gates = jnp.split(z_TBG, [width, 2 * width, 3 * width, 4 * width], axis=-1)
        shape = *x_TBI.shape[:2], self.heads, width // self.heads
        return [*(block.reshape(shape) for block in blocks), *jnp.split(gates, 2, axis=-1)]


class MLSTMLayer(MatrixMemory):
    """The mLSTM. Its carry is C beside n, [B,N,K,K+1], and m, [B,N]."""

    def init(self, key: jax.Array, num_inputs: int, hidden_size: int) -> Params:
        """Returns the initial parameters: one kernel."""
        key, gate_key = jax.random.split(key)
        i = 0.1 * jax.random.normal(gate_key, (self.heads,), jnp.float32)
        f = jnp.linspace(3, 6, self.heads, dtype=jnp.float32)
        kernel = self._init_kernel(key, num_inputs, hidden_size, (i, f))
        return {"kernel": kernel.at[:-1, -2 * self.heads :].set(0)}

    def with_time_scales(
        self, params: Params, draw: Callable[[tuple[int, ...]], jax.Array]
    ) -> Params:
        """Returns initial parameters with these time scales: sigma(f) is tau / (1 + tau)."""
        log_tau = jnp.log(draw((self.heads,)))
        biases = jnp.concatenate([-log_tau, log_tau])  # of i and f
        return {"kernel": params["kernel"].at[-1, -2 * self.heads :].set(biases)}

    def decay_factors(self, params: Params, x_TBI: jax.Array) -> jax.Array:
        """Returns the forget gate of each head, [T,B,N]."""
        return jax.nn.sigmoid(self._project(params["kernel"], x_TBI)[5])

    def apply(
        self, params: Params, x_TBI: jax.Array, lengths_B: jax.Array | None, carry: Any
    ) -> tuple[jax.Array, Any]:
        """Returns the outputs, [T,B,W], and the carry; see `cells.layer.Layer`."""
        q, k, v, o, i, f = self._project(params["kernel"], x_TBI)
        log_f = jax.nn.log_sigmoid(f)
        if lengths_B is not None:
            inside = _is_inside(lengths_B, len(x_TBI))
            i, log_f = jnp.where(inside, i, -jnp.inf), jnp.where(inside, log_f, 0)
        head_size = q.shape[-1]
        if carry is None:
            zeros = jnp.zeros((*i.shape[1:], head_size, head_size + 1), q.dtype)
            carry = zeros, jnp.zeros(i.shape[1:], q.dtype)
        memory, first_m = carry
        # h does not depend on m, which scales C and n alike, so no gradient goes through it.
        m = lax.stop_gradient(_largest(log_f, i, first_m, self.chunkwise))
        before = jnp.concatenate([first_m[None], m[:-1]])
        k = k * (jnp.exp(i - m) / math.sqrt(head_size))[..., None]
        v_and_one = jnp.concatenate([v, jnp.ones_like(v[..., :1])], axis=-1)  # n: the last column
        read, memory = matrix_scan(
            memory, MemoryInputs(log_f + before - m, k, v_and_one, q), chunkwise=self.chunkwise
        )
        at_least = jnp.maximum(jnp.exp(-m), SMALLEST_DENOMINATOR)
        inverse = 1 / jnp.maximum(jnp.abs(read[..., -1]), at_least)
        h = jax.nn.sigmoid(o) * normalise(
            "layer", read[..., :-1] * inverse[..., None], by_rows=True
        )
        return h.reshape(*h.shape[:2], -1), (memory, m[-1])


@dataclass(frozen=True)
class GatedDeltaNetLayer(MatrixMemory):
    """Gated DeltaNet. Its carry is S, [B,N,K,K]."""

    negative: bool = False  # beta is up to 2, so that S may have negative eigenvalues

    def init(self, key: jax.Array, num_inputs: int, hidden_size: int) -> Params:
        """Returns the initial parameters: a kernel, and A, [N]."""
        key, a_key, dt_key = jax.random.split(key, 3)
        shape, small = (self.heads,), jnp.finfo(jnp.float32).tiny
        a = jnp.log(jax.random.uniform(a_key, shape, jnp.float32, small, 16))
        low, high = math.log(0.001), math.log(0.1)
        dt = jnp.exp(jax.random.uniform(dt_key, shape, jnp.float32, low, high))
        d = jnp.log(jnp.expm1(dt))  # the inverse of softplus
        biases = d, jnp.zeros(shape, jnp.float32)
        return {"kernel": self._init_kernel(key, num_inputs, hidden_size, biases), "a": a}

    def with_time_scales(
        self, params: Params, draw: Callable[[tuple[int, ...]], jax.Array]
    ) -> Params:
        """Returns initial parameters with these time scales: a is exp(-1 / tau) where x is 0."""
        rate = jnp.exp(-params["a"]) / draw((self.heads,))
        d = rate + jnp.log(-jnp.expm1(-rate))  # the inverse of softplus
        gates = slice(-2 * self.heads, -self.heads)
        return params | {"kernel": params["kernel"].at[-1, gates].set(d)}

    def decay_factors(self, params: Params, x_TBI: jax.Array) -> jax.Array:
        """Returns a of each head, [T,B,N], without what the delta rule takes out."""
        rate = jax.nn.softplus(self._project(params["kernel"], x_TBI)[4])
        return jnp.exp(-jnp.exp(params["a"])[None, None] * rate)

    def apply(
        self, params: Params, x_TBI: jax.Array, lengths_B: jax.Array | None, carry: Any
    ) -> tuple[jax.Array, Any]:
        """Returns the outputs, [T,B,W], and the carry; see `cells.layer.Layer`."""
        q, k, v, o, d, b = self._project(params["kernel"], x_TBI)
        log_a = -broadcast_rows(jnp.exp(params["a"]), d.shape[:2]) * jax.nn.softplus(d)
        beta = (2 if self.negative else 1) * jax.nn.sigmoid(b)
        if lengths_B is not None:
            inside = _is_inside(lengths_B, len(x_TBI))
            log_a, beta = jnp.where(inside, log_a, 0), jnp.where(inside, beta, 0)
        head_size = q.shape[-1]
        if carry is None:
            carry = jnp.zeros((*d.shape[1:], head_size, head_size), q.dtype)
        # |x| = sqrt(K) * (root mean square of x). The 1 / sqrt(K) of q is that of the read-out too.
        q = normalise("rms", jax.nn.silu(q), by_rows=True) / head_size
        k = normalise("rms", jax.nn.silu(k), by_rows=True) / math.sqrt(head_size)
        read, memory = matrix_scan(
            carry, MemoryInputs(log_a, k, jax.nn.silu(v), q, beta), chunkwise=self.chunkwise
        )
        h = jax.nn.silu(o) * normalise("rms", read, by_rows=True)
        return h.reshape(*h.shape[:2], -1), memory


def _is_inside(lengths_B: jax.Array, num_steps: int) -> jax.Array:
    """Returns whether a time step is before the end of its sequence, [T,B,1]."""
    return (jnp.arange(num_steps, dtype=jnp.int32)[:, None] < lengths_B[None])[..., None]


def _largest(log_f: jax.Array, i: jax.Array, first: jax.Array, chunkwise: bool) -> jax.Array:
    """Returns m = max(log f + m, i) at all time steps, [T,B,N], from `first`, [B,N]."""
    if not chunkwise:

        def time_step(m: jax.Array, of_t: tuple[jax.Array, jax.Array]) -> tuple[Any, jax.Array]:
            m = jnp.maximum(of_t[0] + m, of_t[1])
            return m, m

        return lax.scan(time_step, first, (log_f, i))[1]

    def compose(earlier: Any, later: Any) -> Any:
        return earlier[0] + later[0], jnp.maximum(later[0] + earlier[1], later[1])

    i = i.at[0].set(jnp.maximum(log_f[0] + first, i[0]))
    return lax.associative_scan(compose, (log_f, i))[1]


mlstm = MLSTMLayer()
gated_deltanet = GatedDeltaNetLayer()
gated_deltanet_neg = GatedDeltaNetLayer(negative=True)
