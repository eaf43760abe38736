"""A causal depthwise convolution over time, whose gradient has the same bits with any number of
threads.

Axes: T time steps, B batch, W channels, K taps, P = K - 1 time steps before the first one.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lstm_jax.cells.ordered_matmul import sum_rows


@jax.custom_vjp
def convolve(x_SBW: jax.Array, kernel_KW: jax.Array) -> jax.Array:
    """Returns y[t] = sum over k of kernel[k] * x[t + k], [T,B,W], for x of S = T + P time steps."""
    num_taps = len(kernel_KW)
    num_steps = x_SBW.shape[0] - num_taps + 1
    pieces = (kernel_KW[k][None, None] * x_SBW[k : k + num_steps] for k in range(num_taps))
    return sum(pieces, start=jnp.zeros_like(x_SBW[:num_steps]))


def _convolve_fwd(
    x_SBW: jax.Array, kernel_KW: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return convolve(x_SBW, kernel_KW), (x_SBW, kernel_KW)


def _convolve_bwd(
    residuals: tuple[jax.Array, jax.Array], dy_TBW: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x_SBW, kernel_KW = residuals
    num_taps, (num_steps, _, width) = len(kernel_KW), dy_TBW.shape
    around = jnp.pad(dy_TBW, ((num_taps - 1, num_taps - 1), (0, 0), (0, 0)))
    dx_SBW = convolve(around, kernel_KW[::-1])
    dkernel = [
        sum_rows((dy_TBW * x_SBW[k : k + num_steps]).reshape(-1, width)) for k in range(num_taps)
    ]
    return dx_SBW, jnp.stack(dkernel)


convolve.defvjp(_convolve_fwd, _convolve_bwd)


def convolve_causally(
    x_TBW: jax.Array,
    kernel_KW: jax.Array,
    lengths_B: jax.Array | None = None,
    before_BPW: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Returns the convolution, [T,B,W], and the last P inputs of each sequence, [B,P,W].

    The last row of the kernel meets the time step itself. `before_BPW` are the inputs before the
    first time step; None stands for zeros.
    """
    if before_BPW is None:
        before_BPW = jnp.zeros((x_TBW.shape[1], len(kernel_KW) - 1, x_TBW.shape[2]), x_TBW.dtype)
    x_SBW = jnp.concatenate([before_BPW.swapaxes(0, 1), x_TBW])
    y_TBW = convolve(x_SBW, kernel_KW)
    num_before = before_BPW.shape[1]
    if lengths_B is None:
        return y_TBW, x_SBW[x_TBW.shape[0] :].swapaxes(0, 1)
    t_PB1 = (jnp.arange(num_before, dtype=jnp.int32)[:, None] + lengths_B[None])[:, :, None]
    return y_TBW, jnp.take_along_axis(x_SBW, t_PB1, axis=0).swapaxes(0, 1)
