"""The LSTM recurrence: pure functions on arrays, with a hand-derived backward pass.

Axes: T rows (steps), B batch, I input, H hidden, G = 4H gates, K = I + 1 + H, C classes, M members.

A step, after Gers, Schmidhuber and Cummins, "Learning to forget" (2000), without peepholes:

    i, g, f, o = split([x, 1, h] @ [input kernel; bias; recurrent kernel])   one product, z_BG
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    h = sigmoid(o) * tanh(c)

The gates lie along G in the order i, g, f, o: TensorFlow's `BasicLSTMCell` calls them i, j, f, o.
There is no hidden forget bias: a caller adds it to the bias.

Why it is written as it is (measured on CPU with `jax.profiler`):
- sigmoid(z) = tanh(z/2)/2 + 1/2. With the halves folded into the kernel (`stack_kernels`) one tanh
  does all four gates.
- XLA's CPU backend fuses a tanh into each of its consumers and computes it again in every one;
  `optimization_barrier` holds the gates, the cell state and its tanh apart.
- The forward pass keeps the local derivatives of a step instead of its gates, each an array of its
  own, so that the backward pass only multiplies.
- All weight and bias gradients are one product after the backward scan, [x, 1, h]^T dz.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

Carry = tuple[jax.Array, jax.Array]  # (c_BH, h_BH), in Flax's order


def lstm(
    x_TBI: jax.Array,
    input_kernel_IG: jax.Array,
    recurrent_kernel_HG: jax.Array,
    bias_G: jax.Array,
    carry: Carry | None = None,
    lengths_B: jax.Array | None = None,
    *,
    reverse: bool = False,
) -> tuple[jax.Array, Carry]:
    """All outputs h_TBH and the final (c_BH, h_BH)."""
    x_TBI, kernel_KG, carry, lengths_B = _prepare(
        x_TBI, input_kernel_IG, recurrent_kernel_HG, bias_G, carry, lengths_B, reverse
    )
    return _recurrence(True, kernel_KG, x_TBI, carry, lengths_B)


def lstm_last(
    x_TBI: jax.Array,
    input_kernel_IG: jax.Array,
    recurrent_kernel_HG: jax.Array,
    bias_G: jax.Array,
    carry: Carry | None = None,
    lengths_B: jax.Array | None = None,
    *,
    reverse: bool = False,
) -> Carry:
    """The final (c_BH, h_BH) of `lstm`, without keeping the outputs."""
    x_TBI, kernel_KG, carry, lengths_B = _prepare(
        x_TBI, input_kernel_IG, recurrent_kernel_HG, bias_G, carry, lengths_B, reverse
    )
    return _recurrence(False, kernel_KG, x_TBI, carry, lengths_B)[1]


def stack_kernels(
    input_kernel_IG: jax.Array, recurrent_kernel_HG: jax.Array, bias_G: jax.Array
) -> jax.Array:
    """[input; bias; recurrent] as kernel_KG, the sigmoid gates' columns halved."""
    kernel_KG = jnp.concatenate([input_kernel_IG, bias_G[None], recurrent_kernel_HG])
    hidden = recurrent_kernel_HG.shape[0]
    half_G = jnp.repeat(jnp.array([0.5, 1.0, 0.5, 0.5], kernel_KG.dtype), hidden)
    return kernel_KG * half_G[None]


def lstm_last_stacked(x_TBI: jax.Array, kernel_KG: jax.Array) -> Carry:
    """`lstm_last` from zeros with the kernel of `stack_kernels`."""
    hidden = kernel_KG.shape[1] // 4
    zeros_BH = jnp.zeros((x_TBI.shape[1], hidden), kernel_KG.dtype)
    x_TBI, kernel_KG, c_BH, h_BH = _vary_alike(x_TBI, kernel_KG, zeros_BH, zeros_BH)
    return _recurrence(False, kernel_KG, x_TBI, (c_BH, h_BH), None)[1]


def flip(x_TBI: jax.Array, lengths_B: jax.Array | None) -> jax.Array:
    """Each sequence backwards, its padding still at the end, as Flax's `flip_sequences`."""
    if lengths_B is None:
        return jnp.flip(x_TBI, axis=0)
    num_rows = x_TBI.shape[0]
    rows_TB = (jnp.arange(num_rows)[::-1, None] + lengths_B[None]) % num_rows
    return jnp.take_along_axis(x_TBI, rows_TB[:, :, None], axis=0)


def _prepare(x_TBI, input_kernel_IG, recurrent_kernel_HG, bias_G, carry, lengths_B, reverse) -> Any:
    dtype = jnp.promote_types(jnp.result_type(x_TBI), jnp.float32)
    x_TBI = x_TBI.astype(dtype)
    kernel_KG = stack_kernels(
        input_kernel_IG.astype(dtype), recurrent_kernel_HG.astype(dtype), bias_G.astype(dtype)
    )
    if carry is None:
        zeros_BH = jnp.zeros((x_TBI.shape[1], recurrent_kernel_HG.shape[0]), dtype)
        carry = zeros_BH, zeros_BH
    carry = carry[0].astype(dtype), carry[1].astype(dtype)
    if reverse:
        x_TBI = flip(x_TBI, lengths_B)
    if lengths_B is None:
        x_TBI, kernel_KG, *carry = _vary_alike(x_TBI, kernel_KG, *carry)
    else:
        x_TBI, kernel_KG, *carry, lengths_B = _vary_alike(x_TBI, kernel_KG, *carry, lengths_B)
    return x_TBI, kernel_KG, tuple(carry), lengths_B


def _vary_alike(*arrays: jax.Array) -> list[jax.Array]:
    """Inside shard_map a scan's carry must vary over the same mesh axes before and after a step."""
    varying = [jax.typeof(a).manual_axis_type.varying for a in arrays]
    every = frozenset().union(*varying)
    return [lax.pcast(a, tuple(every - own), to="varying") for a, own in zip(arrays, varying)]


class _Slopes(NamedTuple):
    """Local derivatives of a step, each [T,B,H]: all that the backward scan needs."""

    i: jax.Array
    g: jax.Array
    f: jax.Array
    o: jax.Array
    c: jax.Array  # of h by c
    keep: jax.Array  # of c by the c before: the forget gate


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _recurrence(keep_outputs, kernel_KG, x_TBI, carry, lengths_B):
    end, (h_TBH, _, _) = _scan(keep_outputs, False, kernel_KG, x_TBI, carry, lengths_B)
    return h_TBH, end


def _recurrence_forward(keep_outputs, kernel_KG, x_TBI, carry, lengths_B):
    end, (h_TBH, v_TBK, slopes) = _scan(keep_outputs, True, kernel_KG, x_TBI, carry, lengths_B)
    return (h_TBH, end), (kernel_KG, v_TBK, slopes, lengths_B)


def _scan(keep_outputs, keep_slopes, kernel_KG, x_TBI, carry, lengths_B):
    hidden = kernel_KG.shape[1] // 4
    ones_B1 = jnp.ones_like(x_TBI[0, :, :1])

    def step(state, row):
        (c_BH, h_BH), end = state
        x_BI, t = row
        v_BK = jnp.concatenate([x_BI, ones_B1, h_BH], axis=1)
        u_BG = lax.optimization_barrier(jnp.tanh(v_BK @ kernel_KG))
        i, g, f, o = (u_BG[:, k * hidden : (k + 1) * hidden] for k in range(4))
        i, f, o = (0.5 * u + 0.5 for u in (i, f, o))
        new_c_BH = lax.optimization_barrier(f * c_BH + i * g)
        tanh_c_BH = lax.optimization_barrier(jnp.tanh(new_c_BH))
        h_BH = o * tanh_c_BH
        slopes = _Slopes(
            i=2 * i * (1 - i) * g,
            g=i * (1 - g * g),
            f=2 * f * (1 - f) * c_BH,
            o=2 * o * (1 - o) * tanh_c_BH,
            c=o * (1 - tanh_c_BH * tanh_c_BH),
            keep=f,
        )
        if lengths_B is not None:
            inside_B1 = (t < lengths_B)[:, None]
            end = tuple(jnp.where(inside_B1, a, b) for a, b in zip((new_c_BH, h_BH), end))
        kept = (
            h_BH if keep_outputs else None,
            v_BK if keep_slopes else None,
            slopes if keep_slopes else None,
        )
        return ((new_c_BH, h_BH), end), kept

    end = None if lengths_B is None else carry
    rows = x_TBI, jnp.arange(x_TBI.shape[0])
    (carry, end), kept = lax.scan(step, (carry, end), rows)
    return (carry if end is None else end), kept


def _recurrence_backward(keep_outputs, residuals, cotangents):
    kernel_KG, v_TBK, slopes, lengths_B = residuals
    dh_TBH, end = cotangents
    num_rows, batch, _ = v_TBK.shape
    gates = kernel_KG.shape[1]
    hidden = gates // 4
    features = kernel_KG.shape[0] - 1 - hidden
    recurrent_GH = kernel_KG[features + 1 :].T

    def step(state, row):
        dc_BH, dh_BH = state
        slopes, dh_out_BH, t = row
        if dh_out_BH is not None:
            dh_BH = dh_BH + dh_out_BH
        if lengths_B is not None:
            last_B1 = (t == lengths_B - 1)[:, None]
            dc_BH = dc_BH + jnp.where(last_B1, end[0], 0)
            dh_BH = dh_BH + jnp.where(last_B1, end[1], 0)
        dc_BH = dc_BH + dh_BH * slopes.c
        dz_BG = jnp.concatenate(
            [dc_BH * slopes.i, dc_BH * slopes.g, dc_BH * slopes.f, dh_BH * slopes.o], axis=1
        )
        dh_BH = dz_BG @ recurrent_GH
        return (dc_BH * slopes.keep, dh_BH), dz_BG

    start = end if lengths_B is None else jax.tree.map(jnp.zeros_like, end)
    rows = slopes, dh_TBH, jnp.arange(num_rows)
    (dc_BH, dh_BH), dz_TBG = lax.scan(step, start, rows, reverse=True)
    if lengths_B is not None:
        none_B1 = (lengths_B == 0)[:, None]
        dc_BH = dc_BH + jnp.where(none_B1, end[0], 0)
        dh_BH = dh_BH + jnp.where(none_B1, end[1], 0)
    dz_NG = dz_TBG.reshape(-1, gates)
    dkernel_KG = v_TBK.reshape(num_rows * batch, -1).T @ dz_NG
    dx_TBI = (dz_NG @ kernel_KG[:features].T).reshape(num_rows, batch, features)
    return dkernel_KG, dx_TBI, (dc_BH, dh_BH), None


_recurrence.defvjp(_recurrence_forward, _recurrence_backward)
