"""The recurrence as NVIDIA's cuDNN runs it, by `jax.experimental.rnn`: on a GPU, chosen by name.

Axes as in `recurrence.py`. cuDNN has no batching rule: members, and microbatches, go one after
another.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lstm_jax.cells.lstm import Carry


def flat_weights(kernel_KG: jax.Array, num_features: int) -> jax.Array:
    """Returns the LSTM's kernel of `recurrence.stack_kernels` as cuDNN's one vector.

    Input kernel [G,I], recurrent kernel [G,H], then two biases [G], of which the second is zeros;
    gates in the order i, f, g, o, none of them halved.
    """
    i, g, f, o = jnp.split(kernel_KG, 4, axis=1)
    kernel_GK = jnp.concatenate([2 * i, 2 * f, g, 2 * o], axis=1).T
    bias_G = kernel_GK[:, num_features]
    parts = kernel_GK[:, :num_features], kernel_GK[:, num_features + 1 :], bias_G
    return jnp.concatenate([*(part.ravel() for part in parts), jnp.zeros_like(bias_G)])


def lstm_last_cudnn(x_TBI: jax.Array, kernel_KG: jax.Array) -> Carry:
    """Returns the LSTM's final carry from zeros, in an order of additions of its own.

    Products are taken as JAX's default precision allows: TF32, as XLA's own are on such GPUs.
    """
    from jax.experimental import rnn  # here: an experimental module, which no CPU needs

    rows, batch, features = x_TBI.shape
    hidden = kernel_KG.shape[1] // 4
    zeros_1BH = jnp.zeros((1, batch, hidden), kernel_KG.dtype)
    _, h_1BH, c_1BH = rnn.lstm(
        x_TBI.swapaxes(0, 1),
        zeros_1BH,
        zeros_1BH,
        flat_weights(kernel_KG, features),
        jnp.full(batch, rows, jnp.int32),
        input_size=features,
        hidden_size=hidden,
        num_layers=1,
        dropout=0.0,
        bidirectional=False,
    )
    return c_1BH[0], h_1BH[0]
