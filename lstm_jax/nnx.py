"""Flax NNX modules: the layers of Flax Linen in `cells/`, with their parameters inside.

    from flax import nnx
    from lstm_jax.nnx import LSTM

    layer = LSTM(8, 128, rngs=nnx.Rngs(0))
    outputs = layer(x)                           # x: float32 [batch, time, 8]

Each module holds the Linen module of its name and runs it on its own parameters. So initial values,
outputs and gradients have the same bits, and `nnx.state(layer, nnx.Param)` has the names of Linen.

Axes: B batch, T time steps, I input, H hidden.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from lstm_jax.cells import linen, linen_matrices


class WrappedLayer(nnx.Module):
    """The base of the layers.

    in_features: I, the number of inputs at a time step.
    features: H, the number of hidden units.
    rngs: the stream `params` gives the key of the initial values.
    fields: the further fields of the Linen module, such as `reverse=True` or `dtype`.
    """

    linen_class: ClassVar[type[linen.RecurrentLayer]]

    def __init__(self, in_features: int, features: int, *, rngs: nnx.Rngs, **fields: Any) -> None:
        self.linen = self.linen_class(features, **fields)
        x_1I = jnp.zeros((1, in_features), jnp.float32)
        variables = self.linen.init(rngs.params(), x_1I, time_major=False)
        self.cell = nnx.data(jax.tree.map(nnx.Param, variables["params"]["cell"]))

    def __call__(
        self, inputs: jax.Array, *, rngs: nnx.Rngs | nnx.RngStream | None = None, **options: Any
    ) -> Any:
        """Returns outputs [*batch, T, H], or with `return_carry` (carry, outputs).

        inputs: [*batch, T, I], with any number of batch axes; with `time_major` [T, *batch, I].
        rngs: not used; `nnx.Bidirectional` hands it on.
        options: `initial_carry`, `seq_lengths`, `return_carry`, `time_major`, `reverse` and
            `keep_order`, as `flax.linen.RNN` takes them.

        Raises ValueError with the name of an argument whose shape does not fit.
        """
        del rngs
        return self.linen.apply(self._variables(), inputs, **options)

    def step(self, carry: Any, inputs: jax.Array) -> tuple[Any, jax.Array]:
        """Returns the carry after one time step, and its output, [*batch, H].

        carry: the one before, as `return_carry` gives it; None stands for zeros.
        inputs: [*batch, I].
        """
        stepped: Any = self.linen.apply(self._variables(), carry, inputs, method="step")
        carry, h_BH = stepped
        return carry, h_BH

    def _variables(self) -> dict[str, Any]:
        return {"params": {"cell": nnx.as_pure(self.cell)}}


class LSTM(WrappedLayer):
    """A layer of `lstm`. Its carry is (c, h)."""

    linen_class = linen.LSTM


class GRU(WrappedLayer):
    """A layer of `gru`. Its carry is h."""

    linen_class = linen.GRU


class RNN(WrappedLayer):
    """A layer of `rnn`. Its carry is h."""

    linen_class = linen.RNN


class MinGRU(WrappedLayer):
    """A layer of `mingru`. Its carry is h."""

    linen_class = linen.MinGRU


class LRU(WrappedLayer):
    """A layer of `lru`. Its carry is (real, imaginary, h)."""

    linen_class = linen.LRU


class SLSTM(WrappedLayer):
    """A layer of `slstm`. Its carry is (c, n, m, h)."""

    linen_class = linen.SLSTM


class MLSTM(WrappedLayer):
    """A layer of `mlstm`. Its carry is (C beside n, m)."""

    linen_class = linen_matrices.MLSTM


class GatedDeltaNet(WrappedLayer):
    """A layer of `gated_deltanet`. Its carry is S."""

    linen_class = linen_matrices.GatedDeltaNet
