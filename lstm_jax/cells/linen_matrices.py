"""Flax Linen modules of the matrix memories, which Flax does not have.

Axes: T time steps, B batch, I input, H hidden, N heads, K = H / N numbers of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from lstm_jax.cells.argument_checks import (
    expect_floats,
    expect_lengths,
    expect_time_steps,
    promote_floats,
    vary_alike,
)
from lstm_jax.cells.linen import RecurrentLayer
from lstm_jax.cells.matrix_memory import GatedDeltaNetLayer, MatrixMemory, MLSTMLayer
from lstm_jax.cells.scan import flip


class MatrixMemoryLayer(RecurrentLayer):
    """The base of the layers with a matrix for each head; see `cells/matrix_memory.py`.

    The parameters are those of the layer in a run: a kernel whose last row is the bias, and what
    the layer adds. `features` is a multiple of `heads`, and at least twice as many. `chunkwise`
    computes 16 time steps together, as matrix products. It is faster, and `step` then equals the
    sequence up to rounding; without it, to the bit.
    """

    heads: int = 4
    chunkwise: bool = False
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def memory(self) -> MatrixMemory:
        """Returns the functions of the layer."""
        raise NotImplementedError

    def _run(
        self, x_TBI: jax.Array, carry: Any, lengths_B: jax.Array | None, reverse: bool
    ) -> tuple[jax.Array, Sequence[jax.Array]]:
        expect_time_steps(x_TBI)
        expect_floats(inputs=x_TBI)
        expect_lengths(lengths_B, x_TBI)
        memory, (_, batch, num_inputs) = self.memory(), x_TBI.shape
        if self.features % self.heads or self.features < 2 * self.heads:
            raise ValueError(
                f"features is {self.features}; expected a multiple of heads, {self.heads}, and at "
                f"least {2 * self.heads}"
            )

        def init(key: jax.Array) -> Any:
            params = memory.init(key, num_inputs, self.features)
            return jax.tree.map(lambda a: a.astype(self.param_dtype), params)

        params: Any = self.param("cell", init)
        if self.dtype is not None:
            x_TBI, kernel = promote_dtype(x_TBI, params["kernel"], dtype=self.dtype)
            params = {**params, "kernel": kernel}
        if carry is None:
            shapes = self.carry_shapes().values()
            carry = tuple(jnp.zeros((batch, *shape), jnp.float32) for shape in shapes)
        floats = promote_floats((dict(params), x_TBI, carry))
        (params, x_TBI, carry), lengths_B = vary_alike((floats, lengths_B))
        if lengths_B is not None:
            lengths_B = lengths_B.astype(jnp.int32)
        if reverse:
            x_TBI = flip(x_TBI, lengths_B)
        carry = carry if len(carry) > 1 else carry[0]
        h_TBH, carry = memory.apply(params, x_TBI, lengths_B, carry)
        return h_TBH, jax.tree.leaves(carry)


class MLSTM(MatrixMemoryLayer):
    """A layer of `mlstm`; see `cells/matrix_memory.py`. Its carry is (C beside n, m)."""

    def carry_shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns [N,K,K+1] for C beside n, and [N] for m."""
        size = self.features // self.heads
        return {"C and n": (self.heads, size, size + 1), "m": (self.heads,)}

    def memory(self) -> MatrixMemory:
        """Returns the mLSTM."""
        return MLSTMLayer(self.heads, self.chunkwise)


class GatedDeltaNet(MatrixMemoryLayer):
    """A layer of `gated_deltanet`; see `cells/matrix_memory.py`. Its carry is S.

    With `negative` it is `gated_deltanet_neg`.
    """

    negative: bool = False

    def carry_shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns [N,K,K] for S."""
        size = self.features // self.heads
        return {"S": (self.heads, size, size)}

    def memory(self) -> MatrixMemory:
        """Returns the gated DeltaNet."""
        return GatedDeltaNetLayer(self.heads, self.chunkwise, self.negative)
