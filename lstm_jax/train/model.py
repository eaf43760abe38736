"""Flax Linen modules that only declare parameters and call `lstm.py`.

Axes: T rows, B batch, I input, H hidden, G = 4H gates, C classes, D = H + 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import initializers
from flax.linen.dtypes import promote_dtype

from lstm_jax.cells.cudnn import lstm_last_cudnn
from lstm_jax.cells.lstm import Carry, flip, lstm, lstm_last_stacked, stack_kernels

Initializer = initializers.Initializer


class Affine(nn.Module):
    """Declares a kernel and, where it has an initialiser, a bias."""

    shape: tuple[int, int]
    kernel_init: Initializer
    bias_init: Initializer | None = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self) -> tuple[jax.Array, Any]:
        kernel = self.param("kernel", self.kernel_init, self.shape, self.param_dtype)
        if self.bias_init is None:
            return kernel, None
        return kernel, self.param("bias", self.bias_init, self.shape[1:], self.param_dtype)


class LSTMParameters(nn.Module):
    """Declares what Flax's `LSTMCell` and `OptimizedLSTMCell` declare, under the same names."""

    features: int
    kernel_init: Initializer
    recurrent_kernel_init: Initializer
    bias_init: Initializer
    param_dtype: Any

    @nn.compact
    def __call__(self, num_inputs: int) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Input kernel [I,G], recurrent kernel [H,G], bias [G], their gates in `lstm`'s order."""
        hidden, dtype = self.features, self.param_dtype
        shape, init = (num_inputs, hidden), self.recurrent_kernel_init
        inputs, recurrent = [], []
        for gate in "igfo":
            affine = Affine(shape, self.kernel_init, None, dtype, name=f"i{gate}")
            inputs.append(affine()[0])
            affine = Affine((hidden, hidden), init, self.bias_init, dtype, name=f"h{gate}")
            recurrent.append(affine())
        kernels, biases = zip(*recurrent, strict=True)
        return jnp.concatenate(inputs, 1), jnp.concatenate(kernels, 1), jnp.concatenate(biases)


class LSTM(nn.Module):
    """Stands where `nn.RNN(cell)` stands, the cell `nn.OptimizedLSTMCell` or `nn.LSTMCell`.

    Its parameters have the same names, shapes and initial values, so checkpoints load; arguments
    and results are those of `nn.RNN`. Two differences: the state is float32 also where all else is
    bfloat16, and the final carry of a sequence of length 0 is its initial one.
    """

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
        initial_carry: Carry | None = None,
        init_key: jax.Array | None = None,
        seq_lengths: jax.Array | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
    ) -> Any:
        """Outputs [*batch, T, H], or with `return_carry` (carry, outputs).

        Inputs are [*batch, T, I], time-major [T, *batch, I] (so are the outputs); lengths [*batch];
        a carry is (c, h) of [*batch, H].
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
        carry, lengths_B = initial_carry, seq_lengths
        if carry is not None:
            c, h = (_flat("initial_carry", a, (*batch, self.features), 1) for a in carry)
            carry = c, h
        if lengths_B is not None:
            lengths_B = _flat("seq_lengths", lengths_B, batch, 0)
        kernels = self._kernels(features)
        if self.dtype is not None:
            x_TBI, *cast = promote_dtype(x_TBI, *kernels, dtype=self.dtype)
            kernels = cast[0], cast[1], cast[2]
        h_TBH, carry = lstm(x_TBI, *kernels, carry, lengths_B, reverse=reverse)
        if reverse and keep_order:
            h_TBH = flip(h_TBH, lengths_B)
        outputs = h_TBH.reshape(rows, *batch, self.features)
        outputs = outputs if time_major else jnp.moveaxis(outputs, 0, -2)
        if not return_carry:
            return outputs
        return jax.tree.map(lambda a_BH: a_BH.reshape(*batch, self.features), carry), outputs

    def _kernels(self, num_inputs: int) -> tuple[jax.Array, jax.Array, jax.Array]:
        cell = LSTMParameters(
            self.features,
            self.kernel_init,
            self.recurrent_kernel_init,
            self.bias_init,
            self.param_dtype,
            name="cell",
        )
        return cell(num_inputs)


def _flat(name: str, array: jax.Array, shape: Sequence[int], num_kept: int) -> jax.Array:
    """`array` of `shape` with its leading axes made one, all but the last `num_kept`."""
    if array.shape != tuple(shape):
        raise ValueError(f"{name} has shape {array.shape}; expected {tuple(shape)}")
    return array.reshape(-1, *array.shape[array.ndim - num_kept :])


class FoldedRowLSTM(NamedTuple):
    """A `RowLSTM` ready to run: what a step differentiates, once for all chunks of its batch."""

    kernel_KG: jax.Array  # of lstm.stack_kernels: input layer and forget bias folded in
    output_kernel_DC: jax.Array  # [kernel; bias]


class RowLSTM(nn.Module):
    """The notebook's classifier of images read row by row.

    Dense I -> H, LSTM(H) from zeros over the rows, dense H -> C of the last h. Its six arrays, all
    float32, are those of the notebook's graph; `lstm` is one kernel [2H, 4H], inputs before state,
    gates i, g, f, o (`BasicLSTMCell`'s i, j, f, o).
    """

    hidden_size: int
    num_features: int
    num_classes: int = 10
    forget_bias: float = 1.0
    kernel_init: str = "notebook"  # or "orthogonal"
    chrono_steps: int = 0  # as in `Experiment`

    @nn.compact
    def fold(self) -> FoldedRowLSTM:
        """Multiplies the kernels that meet without a nonlinearity between them.

        The same function and the same gradients as layer after layer, with 1.7 times less work at
        I = 28, H = 128. The bias rides along as one more row, so its gradient is a dot product too.
        """
        hidden = self.hidden_size
        normal, lstm_kernel = _kernel_inits(self.kernel_init, hidden)
        dense = normal, initializers.constant(0.1)
        input_DH = _stack(*Affine((self.num_features, hidden), *dense, name="input")())
        lstm_bias = _bias_init(hidden, self.chrono_steps)
        kernel, bias_G = Affine((2 * hidden, 4 * hidden), lstm_kernel, lstm_bias, name="lstm")()
        output_DC = _stack(*Affine((hidden, self.num_classes), *dense, name="output")())
        input_DG = input_DH @ kernel[:hidden]
        forget_4 = jnp.array([0.0, 0.0, self.forget_bias, 0.0], jnp.float32)
        bias_G = input_DG[-1] + bias_G + jnp.repeat(forget_4, hidden)
        return FoldedRowLSTM(stack_kernels(input_DG[:-1], kernel[hidden:], bias_G), output_DC)

    def __call__(self, x_BTI: jax.Array) -> jax.Array:
        """Logits [B,C] of float images [B,T,I] in [0,1]."""
        return apply_folded(self.fold(), x_BTI)


def apply_folded(folded: FoldedRowLSTM, x_BTI: jax.Array, backend: str = "scan") -> jax.Array:
    """Logits [B,C] of float images [B,T,I] in [0,1]; backend as in `Experiment`."""
    last = {"scan": lstm_last_stacked, "cudnn": lstm_last_cudnn}[backend]
    _, h_BH = last(x_BTI.swapaxes(0, 1), folded.kernel_KG)
    return read_out(folded, h_BH)


def read_out(folded: FoldedRowLSTM, h: jax.Array) -> jax.Array:
    """Logits [..., C] of outputs [..., H] of the LSTM."""
    return jnp.concatenate([h, jnp.ones_like(h[..., :1])], axis=-1) @ folded.output_kernel_DC


def _kernel_inits(name: str, hidden: int) -> tuple[Initializer, Initializer]:
    """Of the dense layers, and of the LSTM's one kernel [2H, 4H], inputs before state."""
    if name == "notebook":
        return initializers.normal(1.0), initializers.glorot_uniform()
    lecun, orthogonal = initializers.lecun_normal(), initializers.orthogonal()

    def lstm_kernel(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        input_key, *gate_keys = jax.random.split(key, 5)
        recurrent = [orthogonal(gate_key, (hidden, hidden), dtype) for gate_key in gate_keys]
        inputs = lecun(input_key, (hidden, shape[1]), dtype)
        return jnp.concatenate([inputs, jnp.concatenate(recurrent, axis=1)])

    return lecun, lstm_kernel


def _bias_init(hidden: int, chrono_steps: int) -> Initializer:
    """Of the LSTM, gates i, g, f, o: zeros, or those of Tallec and Ollivier, "Can recurrent neural
    networks warp time?" (2018), equation 16.
    """
    if not chrono_steps:
        return initializers.zeros_init()

    def chrono(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        forget_H = jnp.log(jax.random.uniform(key, (hidden,), dtype, 1.0, chrono_steps - 1.0))
        zeros_H = jnp.zeros_like(forget_H)
        return jnp.concatenate([-forget_H, zeros_H, forget_H, zeros_H])

    return chrono


def _stack(kernel: jax.Array, bias: jax.Array) -> jax.Array:
    return jnp.concatenate([kernel, bias[None]])
