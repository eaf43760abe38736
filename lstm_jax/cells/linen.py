"""Flax Linen modules that stand where `nn.RNN(cell)` stands: `LSTM`, `GRU` and `RNN`.

Axes: T rows, B batch, I input, H hidden, G = blocks * H.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import initializers
from flax.linen.dtypes import promote_dtype

from lstm_jax.cells.cell import Cell
from lstm_jax.cells.gru import gru_cell
from lstm_jax.cells.lstm import lstm_cell
from lstm_jax.cells.rnn import rnn_cell
from lstm_jax.cells.scan import flip, run_unstacked

Initializer = initializers.Initializer


class DenseParams(nn.Module):
    """Declares a kernel and, where it has an initialiser, a bias."""

    shape: tuple[int, int]
    kernel_init: Initializer
    bias_init: Initializer | None = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self) -> tuple[jax.Array, Any]:
        """Returns the kernel and the bias, or None."""
        kernel = self.param("kernel", self.kernel_init, self.shape, self.param_dtype)
        if self.bias_init is None:
            return kernel, None
        return kernel, self.param("bias", self.bias_init, self.shape[1:], self.param_dtype)


class FlaxCellParams(nn.Module):
    """Declares what a cell of Flax declares, under the same names: for each of its gates a layer
    of the input, i + gate, and one of the state, h + gate.
    """

    features: int
    gates: tuple[str, ...]  # Flax's names, in the order of our columns
    biases: tuple[str, ...]  # the layers that have one, in the order of our blocks
    kernel_init: Initializer
    recurrent_kernel_init: Initializer
    bias_init: Initializer
    param_dtype: Any

    @nn.compact
    def __call__(self, num_inputs: int) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns the input kernel [I,W], the recurrent kernel [H,W] and the bias [G]."""
        hidden = self.features
        biases, kernels = {}, []
        for source, width, init in (
            ("i", num_inputs, self.kernel_init),
            ("h", hidden, self.recurrent_kernel_init),
        ):
            layers = []
            for name in (source + gate for gate in self.gates):
                bias_init = self.bias_init if name in self.biases else None
                affine = DenseParams((width, hidden), init, bias_init, self.param_dtype, name=name)
                kernel, biases[name] = affine()
                layers.append(kernel)
            kernels.append(jnp.concatenate(layers, axis=1))
        return kernels[0], kernels[1], jnp.concatenate([biases[name] for name in self.biases])


class _Layer(nn.Module):
    """Stands where `nn.RNN(cell)` stands.

    Its parameters have the same names, shapes and initial values, so checkpoints load; arguments
    and results are those of `nn.RNN`. Two differences: the state is float32 also where all else is
    bfloat16, and the final carry of a sequence of length 0 is its initial one.
    """

    cell: ClassVar[Cell]
    gates: ClassVar[tuple[str, ...]]
    biases: ClassVar[tuple[str, ...]]

    features: int
    time_major: bool = False
    reverse: bool = False
    keep_order: bool = False
    return_carry: bool = False
    kernel_init: Initializer = initializers.lecun_normal()
    recurrent_kernel_init: Initializer = initializers.orthogonal()
    bias_init: Initializer = initializers.zeros_init()
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        inputs: jax.Array,
        *,
        initial_carry: Any = None,
        init_key: jax.Array | None = None,
        seq_lengths: jax.Array | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
    ) -> Any:
        """Returns outputs [*batch, T, H], or with `return_carry` (carry, outputs).

        Inputs are [*batch, T, I], time-major [T, *batch, I] (so are the outputs); lengths [*batch];
        a carry is that of Flax's cell, each of its arrays [*batch, H].
        """
        del init_key  # the initial carry is zeros, not drawn
        return_carry = self.return_carry if return_carry is None else return_carry
        time_major = self.time_major if time_major is None else time_major
        reverse = self.reverse if reverse is None else reverse
        keep_order = self.keep_order if keep_order is None else keep_order
        if inputs.ndim < 2:
            raise ValueError(f"inputs has shape {inputs.shape}; expected [*batch, T, I]")
        x = inputs if time_major else jnp.moveaxis(inputs, -2, 0)
        rows, *batch, features = x.shape
        x_TBI = x.reshape(rows, math.prod(batch), features)
        state, lengths_B = None, seq_lengths
        if initial_carry is not None:
            shape = *batch, self.features
            leaves = jax.tree.leaves(initial_carry)
            state = tuple(_flat("initial_carry", leaf, shape, 1) for leaf in leaves)
        if lengths_B is not None:
            lengths_B = _flat("seq_lengths", lengths_B, batch, 0)
        kernels = self._kernels(features)
        if self.dtype is not None:
            x_TBI, *cast = promote_dtype(x_TBI, *kernels, dtype=self.dtype)
            kernels = cast[0], cast[1], cast[2]
        h_TBH, state = run_unstacked(self.cell, x_TBI, *kernels, state, lengths_B, reverse=reverse)
        if reverse and keep_order:
            h_TBH = flip(h_TBH, lengths_B)
        outputs = h_TBH.reshape(rows, *batch, self.features)
        outputs = outputs if time_major else jnp.moveaxis(outputs, 0, -2)
        if not return_carry:
            return outputs
        carry = tuple(a_BH.reshape(*batch, self.features) for a_BH in state)
        return (carry if len(carry) > 1 else carry[0]), outputs

    def _kernels(self, num_inputs: int) -> tuple[jax.Array, jax.Array, jax.Array]:
        cell = FlaxCellParams(
            self.features,
            self.gates,
            self.biases,
            self.kernel_init,
            self.recurrent_kernel_init,
            self.bias_init,
            self.param_dtype,
            name="cell",
        )
        return cell(num_inputs)


class LSTM(_Layer):
    """Stands where `nn.RNN(cell)` stands, the cell `nn.OptimizedLSTMCell` or `nn.LSTMCell`."""

    cell = lstm_cell
    gates = ("i", "g", "f", "o")
    biases = ("hi", "hg", "hf", "ho")


class GRU(_Layer):
    """Stands where `nn.RNN(nn.GRUCell(features))` stands."""

    cell = gru_cell
    gates = ("r", "z", "n")
    biases = ("ir", "iz", "hn", "in")


class RNN(_Layer):
    """Stands where `nn.RNN(nn.SimpleCell(features))` stands."""

    cell = rnn_cell
    gates = ("",)
    biases = ("i",)


def _flat(name: str, array: jax.Array, shape: Sequence[int], num_kept: int) -> jax.Array:
    """Returns `array` of `shape` with its leading axes made one, all but the last `num_kept`."""
    if array.shape != tuple(shape):
        raise ValueError(f"{name} has shape {array.shape}; expected {tuple(shape)}")
    return array.reshape(-1, *array.shape[array.ndim - num_kept :])
