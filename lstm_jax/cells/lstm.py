"""The LSTM recurrence: pure functions on arrays, with a hand-derived backward pass.

Axes: T rows (steps), B batch, I input, H hidden, G = 4H gates, K = I + 1 + H, N = T * B, C classes,
M members.

A step, after Gers, Schmidhuber and Cummins, "Learning to forget" (2000), without peepholes:

    i, g, f, o = split([x, 1, h] @ [input kernel; bias; recurrent kernel])
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    h = sigmoid(o) * tanh(c)

The gates lie along G in the order i, g, f, o, which TensorFlow's `BasicLSTMCell` calls i, j, f, o.
There is no hidden forget bias: a caller adds it to the bias.

Why it is written as it is (measured on CPU with `jax.profiler`):
- sigmoid(z) = tanh(z/2)/2 + 1/2. With the halves folded into the kernel one tanh does all gates.
- XLA's CPU backend would compute a tanh again in every consumer; `optimization_barrier` holds the
  gates, the new cell state and its tanh apart.
- The forward pass keeps the slopes of a step, not its gates: the backward scan only multiplies,
  and overwrites the gates' slopes with dz, the gradient by the gates' inputs, row by row.
- [x, 1, h] stays in the buffer from which all weight and bias gradients are one product with dz.
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
    """Runs an LSTM over T rows: all outputs h_TBH and the final carry (c_BH, h_BH).

    Inputs are float32, bfloat16 or float16, or, if any is float64, all are taken as float64; state,
    outputs and sums are float32 (float64). No carry stands for zeros.

    With integer lengths_B the final carry is the one after that many rows (the initial one for
    none), and the outputs run on through the padding, as in `flax.linen.RNN`. `reverse` reads each
    sequence from its last row to its first, padding still at the end; the outputs are in the order
    of reading (`flip` puts them back).

    Differentiable in reverse mode, to any order. Forward mode (`jax.jvp`) is a TypeError, as are
    integer inputs; a ValueError names the argument whose shape does not fit.
    """
    return _recurrence(
        True,
        *_prepare(x_TBI, input_kernel_IG, recurrent_kernel_HG, bias_G, carry, lengths_B, reverse),
    )


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
    """The final carry (c_BH, h_BH) of `lstm`, whose outputs are never kept."""
    _, end = _recurrence(
        False,
        *_prepare(x_TBI, input_kernel_IG, recurrent_kernel_HG, bias_G, carry, lengths_B, reverse),
    )
    return end


def lstm_last_stacked(x_TBI: jax.Array, kernel_KG: jax.Array) -> Carry:
    """`lstm_last` from zeros, with what `stack_kernels` returns: for kernels used many times."""
    _, batch, features = x_TBI.shape
    hidden = kernel_KG.shape[1] // 4
    _expect("kernel_KG", kernel_KG, (features + 1 + hidden, 4 * hidden), x_TBI=x_TBI)
    zeros_BH = jnp.zeros((batch, hidden), kernel_KG.dtype)
    x_TBI, kernel_KG, *carry = _vary_alike(x_TBI, kernel_KG, zeros_BH, zeros_BH)
    _, end = _recurrence(False, kernel_KG, x_TBI, tuple(carry), None)
    return end


class Trace(NamedTuple):
    """What happens inside, row by row, float32 [T,B,H] each: gates after their sigmoids, and state.

    i, f, o: input, forget and output gate; c: the cell; h: the output.
    """

    i: jax.Array
    f: jax.Array
    o: jax.Array
    c: jax.Array
    h: jax.Array


def lstm_trace(x_TBI: jax.Array, kernel_KG: jax.Array, nudge_TBH: jax.Array | None = None) -> Trace:
    """`lstm_last_stacked` with everything on the way kept: to look at, not to train with.

    nudge_TBH is added to the output of each row, before the next row sees it: the gradient by it,
    at zero, is the gradient by the outputs themselves.
    """
    rows, batch, _ = x_TBI.shape
    zeros_BH = jnp.zeros((batch, kernel_KG.shape[1] // 4), kernel_KG.dtype)
    if nudge_TBH is None:
        nudge_TBH = jnp.zeros((rows, *zeros_BH.shape), kernel_KG.dtype)

    def body(carry: Carry, row: tuple[jax.Array, jax.Array]) -> tuple[Carry, Trace]:
        x_BI, nudge_BH = row
        v_BK = jnp.concatenate([x_BI, jnp.ones_like(x_BI[:, :1]), carry[1]], axis=1)
        (i, _, f, o), _, (c_BH, h_BH) = _step(kernel_KG, v_BK, carry[0])
        h_BH = h_BH + nudge_BH
        return (c_BH, h_BH), Trace(i, f, o, c_BH, h_BH)

    _, trace = lax.scan(body, (zeros_BH, zeros_BH), (x_TBI, nudge_TBH))
    return trace


def stack_kernels(
    input_kernel_IG: jax.Array, recurrent_kernel_HG: jax.Array, bias_G: jax.Array
) -> jax.Array:
    """[input; bias; recurrent] as kernel_KG, the columns of the sigmoid gates halved."""
    kernel_KG = jnp.concatenate([input_kernel_IG, bias_G[None], recurrent_kernel_HG])
    half_4 = jnp.array([0.5, 1.0, 0.5, 0.5], kernel_KG.dtype)
    return kernel_KG * jnp.repeat(half_4, recurrent_kernel_HG.shape[0])[None]


def flip(x_TBI: jax.Array, lengths_B: jax.Array | None = None) -> jax.Array:
    """Each sequence backwards, its padding still at the end."""
    if lengths_B is None:
        return jnp.flip(x_TBI, axis=0)
    rows_T1 = jnp.arange(len(x_TBI) - 1, -1, -1, dtype=jnp.int32)[:, None]
    rows_TB = (rows_T1 + lengths_B.astype(jnp.int32)[None]) % len(x_TBI)
    return jnp.take_along_axis(x_TBI, rows_TB[:, :, None], axis=0)


def _prepare(
    x_TBI: jax.Array,
    input_kernel_IG: jax.Array,
    recurrent_kernel_HG: jax.Array,
    bias_G: jax.Array,
    carry: Carry | None,
    lengths_B: jax.Array | None,
    reverse: bool,
) -> tuple[jax.Array, jax.Array, Carry, jax.Array | None]:
    """The arguments of `_recurrence`, checked, of one dtype."""
    _check(x_TBI, input_kernel_IG, recurrent_kernel_HG, bias_G, carry, lengths_B)
    zeros_BH = jnp.zeros((x_TBI.shape[1], recurrent_kernel_HG.shape[0]), jnp.float32)
    c_BH, h_BH = (zeros_BH, zeros_BH) if carry is None else carry
    given = x_TBI, input_kernel_IG, recurrent_kernel_HG, bias_G, c_BH, h_BH
    dtype = jnp.float64 if any(a.dtype == jnp.float64 for a in given) else jnp.float32
    x_TBI, input_IG, recurrent_HG, bias_G, c_BH, h_BH = (jnp.asarray(a, dtype) for a in given)
    arrays = [x_TBI, stack_kernels(input_IG, recurrent_HG, bias_G), c_BH, h_BH]
    if lengths_B is not None:
        arrays.append(jnp.clip(jnp.asarray(lengths_B, jnp.int32), 0, len(x_TBI)))
    x_TBI, kernel_KG, c_BH, h_BH, *lengths = _vary_alike(*arrays)
    if reverse:
        x_TBI = flip(x_TBI, *lengths)
    return kernel_KG, x_TBI, (c_BH, h_BH), lengths[0] if lengths else None


def _check(
    x_TBI: jax.Array,
    input_kernel_IG: jax.Array,
    recurrent_kernel_HG: jax.Array,
    bias_G: jax.Array,
    carry: Carry | None,
    lengths_B: jax.Array | None,
) -> None:
    if x_TBI.ndim != 3 or 0 in x_TBI.shape[:2]:
        raise ValueError(f"x_TBI has shape {x_TBI.shape}; expected [T, B, I], T and B at least 1")
    floats = {"x_TBI": x_TBI, "input_kernel_IG": input_kernel_IG, "bias_G": bias_G}
    floats["recurrent_kernel_HG"] = recurrent_kernel_HG
    (_, batch, features), hidden = x_TBI.shape, recurrent_kernel_HG.shape[0]
    _expect("recurrent_kernel_HG", recurrent_kernel_HG, (hidden, 4 * hidden))
    known = {"x_TBI": x_TBI, "recurrent_kernel_HG": recurrent_kernel_HG}
    _expect("input_kernel_IG", input_kernel_IG, (features, 4 * hidden), **known)
    _expect("bias_G", bias_G, (4 * hidden,), **known)
    if carry is not None:
        for name, array in zip(("carry c_BH", "carry h_BH"), carry, strict=True):
            _expect(name, array, (batch, hidden), **known)
            floats[name] = array
    for name, array in floats.items():
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise TypeError(f"{name} of shape {array.shape} is {array.dtype}; expected floats")
    if lengths_B is not None:
        _expect("lengths_B", lengths_B, (batch,), x_TBI=x_TBI)
        if not jnp.issubdtype(lengths_B.dtype, jnp.integer):
            raise TypeError(f"lengths_B is {lengths_B.dtype}; expected integers")


def _expect(name: str, array: jax.Array, shape: tuple[int, ...], **known: jax.Array) -> None:
    if array.shape != shape:
        beside = "".join(f", beside {other} {a.shape}" for other, a in known.items())
        raise ValueError(f"{name} has shape {array.shape}; expected {shape}{beside}")


def _vary_alike(*arrays: jax.Array) -> list[jax.Array]:
    """Inside shard_map a scan's carry must vary over the same mesh axes before and after a step."""
    varying = [jax.typeof(a).manual_axis_type.varying for a in arrays]
    missing = [tuple(frozenset().union(*varying) - own) for own in varying]
    return [lax.pcast(a, axes, to="varying") for a, axes in zip(arrays, missing, strict=True)]


class _Kept(NamedTuple):
    """What the backward pass needs of the forward pass, in the order of the rows."""

    kernel_KG: jax.Array
    lengths_B: jax.Array | None
    v_TBK: jax.Array  # [x, 1, h]
    slopes_TBG: jax.Array  # of c by the inputs of i, g, f; of h by the input of o
    slope_TBH: jax.Array  # of h by c
    forget_TBH: jax.Array  # of c by the c before


class _Step(NamedTuple):
    gates: tuple[jax.Array, ...]  # i, g, f, o after their activations, [B,H] each
    tanh_c: jax.Array
    carry: Carry


def _step(kernel_KG: jax.Array, v_BK: jax.Array, c_BH: jax.Array) -> _Step:
    u_BG = lax.optimization_barrier(jnp.tanh(v_BK @ kernel_KG))
    u_i, g, u_f, u_o = jnp.split(u_BG, 4, axis=1)
    i, f, o = (0.5 * u + 0.5 for u in (u_i, u_f, u_o))
    c_BH = lax.optimization_barrier(f * c_BH + i * g)
    tanh_c = lax.optimization_barrier(jnp.tanh(c_BH))
    return _Step((i, g, f, o), tanh_c, (c_BH, o * tanh_c))


def _put(buffer: jax.Array, value: jax.Array, t: jax.Array, column: int) -> jax.Array:
    at = t, jnp.int32(0), jnp.int32(column)
    return lax.dynamic_update_slice(buffer, value[None], at)


def _until(
    lengths_B: jax.Array | None, t: jax.Array, new: Carry, end: Carry | None
) -> Carry | None:
    """The carry at the end of each sequence so far; None where all are of full length."""
    if lengths_B is None or end is None:
        return None
    inside_B1 = (t < lengths_B)[:, None]
    return jnp.where(inside_B1, new[0], end[0]), jnp.where(inside_B1, new[1], end[1])


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _recurrence(
    keep_outputs: bool,
    kernel_KG: jax.Array,
    x_TBI: jax.Array,
    carry: Carry,
    lengths_B: jax.Array | None,
) -> tuple[Any, Carry]:
    one_B1 = jnp.ones_like(x_TBI[0, :, :1])

    def body(state, row):
        (c_BH, h_BH), end = state
        t, x_BI = row
        new = _step(kernel_KG, jnp.concatenate([x_BI, one_B1, h_BH], axis=1), c_BH).carry
        return (new, _until(lengths_B, t, new, end)), new[1] if keep_outputs else None

    start = carry, None if lengths_B is None else carry
    (carry, end), h_TBH = lax.scan(body, start, (jnp.arange(len(x_TBI), dtype=jnp.int32), x_TBI))
    return h_TBH, carry if end is None else end


def _forward(
    keep_outputs: bool,
    kernel_KG: jax.Array,
    x_TBI: jax.Array,
    carry: Carry,
    lengths_B: jax.Array | None,
) -> tuple[tuple[jax.Array | None, Carry], _Kept]:
    hidden = carry[0].shape[1]
    first = x_TBI.shape[2] + 1  # where h starts in [x, 1, h]

    def body(state, t):
        (c_BH, h_BH), end, v_TBK, slopes_TBG = state
        v_TBK = _put(v_TBK, h_BH, t, first)
        v_BK = lax.dynamic_index_in_dim(v_TBK, t, keepdims=False)
        (i, g, f, o), tanh_c, new = _step(kernel_KG, v_BK, c_BH)
        slopes = (  # the inputs of i, f, o are halved, so their slopes are doubled
            2 * i * (1 - i) * g,
            i * (1 - g * g),
            2 * f * (1 - f) * c_BH,
            2 * o * (1 - o) * tanh_c,
        )
        for gate, slope_BH in enumerate(slopes):
            slopes_TBG = _put(slopes_TBG, slope_BH, t, gate * hidden)
        kept = (o * (1 - tanh_c * tanh_c), f, new[1] if keep_outputs else None)
        return (new, _until(lengths_B, t, new, end), v_TBK, slopes_TBG), kept

    h_TBH = jnp.zeros_like(x_TBI, shape=(*x_TBI.shape[:2], hidden))
    v_TBK = jnp.concatenate([x_TBI, jnp.ones_like(x_TBI[:, :, :1]), h_TBH], axis=2)
    slopes_TBG = jnp.zeros_like(x_TBI, shape=(*x_TBI.shape[:2], 4 * hidden))
    state = carry, None if lengths_B is None else carry, v_TBK, slopes_TBG
    state, (slope_TBH, f_TBH, h_TBH) = lax.scan(
        body, state, jnp.arange(len(x_TBI), dtype=jnp.int32)
    )
    carry, end, v_TBK, slopes_TBG = state
    kept = _Kept(kernel_KG, lengths_B, v_TBK, slopes_TBG, slope_TBH, f_TBH)
    return (h_TBH, carry if end is None else end), kept


def _backward(
    keep_outputs: bool, kept: _Kept, cotangents: tuple[jax.Array | None, Carry]
) -> tuple[jax.Array, jax.Array, Carry, None]:
    kernel_KG, lengths_B, v_TBK, slopes_TBG, slope_TBH, f_TBH = kept
    dh_TBH, (dc_end_BH, dh_end_BH) = cotangents
    rows, batch, _ = v_TBK.shape
    hidden = slope_TBH.shape[2]
    features = kernel_KG.shape[0] - 1 - hidden
    recurrent_GH = kernel_KG[-hidden:].T  # once, not in every row

    def add_end(dc_BH, dh_BH, t):
        if lengths_B is None:
            return dc_BH, dh_BH
        here_B1 = (lengths_B == t + 1)[:, None]
        return dc_BH + jnp.where(here_B1, dc_end_BH, 0), dh_BH + jnp.where(here_B1, dh_end_BH, 0)

    def body(state, row):
        dc_BH, dh_BH, buffer_TBG = state
        t, slope_BH, f_BH, dh_out_BH = row
        # The barrier makes this a copy, read before dz is written over it.
        slopes_BG = lax.optimization_barrier(
            lax.dynamic_index_in_dim(buffer_TBG, t, keepdims=False)
        )
        if keep_outputs:
            dh_BH = dh_BH + dh_out_BH
        dc_BH, dh_BH = add_end(dc_BH, dh_BH, t)
        dc_BH = dc_BH + dh_BH * slope_BH
        s_i, s_g, s_f, s_o = jnp.split(slopes_BG, 4, axis=1)
        dz_BG = jnp.concatenate([dc_BH * s_i, dc_BH * s_g, dc_BH * s_f, dh_BH * s_o], axis=1)
        buffer_TBG = _put(buffer_TBG, dz_BG, t, 0)
        return (dc_BH * f_BH, dz_BG @ recurrent_GH, buffer_TBG), None

    start = (dc_end_BH, dh_end_BH)
    if lengths_B is not None:
        start = jnp.zeros_like(dc_end_BH), jnp.zeros_like(dh_end_BH)
    inputs = jnp.arange(rows, dtype=jnp.int32), slope_TBH, f_TBH, dh_TBH
    (dc_BH, dh_BH, dz_TBG), _ = lax.scan(body, (*start, slopes_TBG), inputs, reverse=True)
    dz_NG = dz_TBG.reshape(rows * batch, 4 * hidden)
    dkernel_KG = v_TBK.reshape(rows * batch, -1).T @ dz_NG
    dx_TBI = (dz_NG @ kernel_KG[:features].T).reshape(rows, batch, features)  # dropped if unused
    return dkernel_KG, dx_TBI, add_end(dc_BH, dh_BH, -1), None


_recurrence.defvjp(_forward, _backward)
