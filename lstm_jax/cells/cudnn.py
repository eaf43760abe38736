"""The LSTM by NVIDIA's cuDNN, through `jax.experimental.rnn`: for GPUs, with `--backend cudnn`.

cuDNN has no batching rule in JAX, so members and microbatches run one after another.

Axes: T time steps, B batch, I input, H hidden, G = 4H, K = I + 1 + H.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lstm_jax.cells.lstm import Carry


def flat_weights(kernel_KG: jax.Array, num_features: int) -> jax.Array:
    """Returns the LSTM's kernel from `scan.stack_kernels` as the one vector that cuDNN reads.

    It holds the input kernel [G,I], the recurrent kernel [G,H] and two biases [G], the second of
    zeros. Gates are in the order i, f, g, o, and their z is not halved.
    """
    i, g, f, o = jnp.split(kernel_KG, 4, axis=1)
    kernel_GK = jnp.concatenate([2 * i, 2 * f, g, 2 * o], axis=1).T
    bias_G = kernel_GK[:, num_features]
    weights = kernel_GK[:, :num_features], kernel_GK[:, num_features + 1 :], bias_G
    return jnp.concatenate([*(array.ravel() for array in weights), jnp.zeros_like(bias_G)])


def lstm_last_cudnn(x_TBI: jax.Array, kernel_KG: jax.Array) -> Carry:
    """Returns the LSTM's final carry (c, h), [B,H] each, from zeros.

    The results differ from `scan.run` by rounding: cuDNN adds up in another order. Its products
    have JAX's default precision, TF32 on recent GPUs, as XLA's own.
    """
    from jax.experimental import rnn  # imported here: it is experimental, and no CPU needs it

    num_steps, batch, num_features = x_TBI.shape
    hidden = kernel_KG.shape[1] // 4
    zeros_1BH = jnp.zeros((1, batch, hidden), kernel_KG.dtype)
    _, h_1BH, c_1BH = rnn.lstm(
        x_TBI.swapaxes(0, 1),
        zeros_1BH,
        zeros_1BH,
        flat_weights(kernel_KG, num_features),
        jnp.full(batch, num_steps, jnp.int32),
        input_size=num_features,
        hidden_size=hidden,
        num_layers=1,
        dropout=0.0,
        bidirectional=False,
    )
    return c_1BH[0], h_1BH[0]
