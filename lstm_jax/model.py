"""Flax Linen modules that only declare parameters and call `lstm.py`. Axes as there."""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import initializers

from lstm_jax.lstm import lstm_last_stacked, stack_kernels


class FoldedRowLSTM(NamedTuple):
    """A `RowLSTM` ready to run: what a step differentiates, once for all chunks of its batch."""

    kernel_KG: jax.Array  # of lstm.stack_kernels: input layer and forget bias folded in
    output_kernel_DC: jax.Array  # [kernel; bias], D = H + 1


class Affine(nn.Module):
    """Declares a kernel and a bias."""

    shape: tuple[int, int]
    kernel_init: initializers.Initializer
    bias_init: initializers.Initializer

    @nn.compact
    def __call__(self) -> tuple[jax.Array, jax.Array]:
        kernel = self.param("kernel", self.kernel_init, self.shape)
        return kernel, self.param("bias", self.bias_init, self.shape[1:])


class RowLSTM(nn.Module):
    """The notebook's classifier of images read row by row."""

    hidden_size: int
    num_features: int
    num_classes: int = 10
    forget_bias: float = 1.0

    @nn.compact
    def fold(self) -> FoldedRowLSTM:
        """Multiplies the kernels that meet without a nonlinearity between them."""
        hidden = self.hidden_size
        normal, tenth = initializers.normal(1.0), initializers.constant(0.1)
        glorot, zeros = initializers.glorot_uniform(), initializers.zeros
        affine_in = Affine((self.num_features, hidden), normal, tenth, name="input")()
        kernel_2HG, bias_G = Affine((2 * hidden, 4 * hidden), glorot, zeros, name="lstm")()
        output = Affine((hidden, self.num_classes), normal, tenth, name="output")()
        input_DH = jnp.concatenate([affine_in[0], affine_in[1][None]])
        forget_G = jnp.repeat(jnp.array([0, 0, self.forget_bias, 0], bias_G.dtype), hidden)
        input_DG = input_DH @ kernel_2HG[:hidden]
        kernel_KG = stack_kernels(
            input_DG[:-1], kernel_2HG[hidden:], input_DG[-1] + bias_G + forget_G
        )
        return FoldedRowLSTM(kernel_KG, jnp.concatenate([output[0], output[1][None]]))

    def __call__(self, x_BTI: jax.Array) -> jax.Array:
        """Logits [B,C] of images [B,T,I] in [0,1]."""
        return apply_folded(self.fold(), x_BTI)


def apply_folded(folded: FoldedRowLSTM, x_BTI: jax.Array) -> jax.Array:
    """Logits [B,C] of images [B,T,I] in [0,1]."""
    _, h_BH = lstm_last_stacked(x_BTI.swapaxes(0, 1), folded.kernel_KG)
    h_BD = jnp.concatenate([h_BH, jnp.ones_like(h_BH[:, :1])], axis=1)
    return h_BD @ folded.output_kernel_DC
