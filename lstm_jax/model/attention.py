"""What a decoder has beside its recurrent layers: a beginning from the encoder, and attention.

Its layers are those of the experiment, read forwards over the symbols before the one to be written
(Sutskever, Vinyals and Le, "Sequence to sequence learning with neural networks", 2014); the model
runs them as it runs the encoder's. Attention is global, with the general score, of Luong, Pham and
Manning, "Effective approaches to attention-based neural machine translation" (2015), equations 5, 7
and 8, computed for all rows after the recurrence: without their input feeding, which would put it
into each step.

Axes: T rows of the source, S rows of the target, B batch, H hidden, W numbers that a row of the
encoder has (H of each direction), V symbols of the target, D = one more than what comes before it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.cells.cell import State
from lstm_jax.cells.matmul import matmul

# Stands where padding of a source would be scored: its share of attention is then zero.
OUT_OF_SIGHT = -1e30


class Attention(NamedTuple):
    """The weights of attention."""

    score_HW: jax.Array
    mix_DH: jax.Array  # of [context, output, 1]


class Decoder(NamedTuple):
    """A decoder ready to run."""

    layers: tuple[tuple[Any, ...], ...]  # as an encoder's, in one direction
    embedding_VH: jax.Array  # of the target's symbols
    bridges_DH: tuple[tuple[jax.Array, ...], ...]  # of each layer, for each array of its state
    attention: Attention | None


class Encoded(NamedTuple):
    """What a decoder knows of the source."""

    decoder: Decoder
    states: tuple[State, ...]  # in which its layers begin, [B,H] each
    h_TBW: Any  # the encoder's outputs; None without attention
    lengths_B: jax.Array | None


def begin(decoder: Decoder, states: tuple[State, ...]) -> tuple[State, ...]:
    """Returns the decoder's states before its first row, from the encoder's last ones [B,W]: these
    themselves, or through a dense layer each where an encoder in both directions is wider.
    """
    if not decoder.bridges_DH:
        return states
    pairs = zip(states, decoder.bridges_DH, strict=True)
    return tuple(
        tuple(with_one(s_BW) @ d_DH for s_BW, d_DH in zip(state, bridges, strict=True))
        for state, bridges in pairs
    )


def attend(encoded: Encoded, h_SBH: jax.Array) -> jax.Array:
    """Returns what the head reads, [S,B,H]: tanh of a dense layer over context and output, or,
    without attention, the outputs themselves.
    """
    attention = encoded.decoder.attention
    if attention is None:
        return h_SBH
    share_BST = shares(attention, encoded, h_SBH)
    context_SBW = jnp.einsum("bst,tbw->sbw", share_BST, encoded.h_TBW)
    both_SBD = with_one(jnp.concatenate([context_SBW, h_SBH], axis=2))
    return jnp.tanh(matmul(both_SBD, attention.mix_DH))


def shares(attention: Attention, encoded: Encoded, h_SBH: jax.Array) -> jax.Array:
    """Returns how much of its attention each row gives to each row of the source: [B,S,T], a sum of
    one over T, zero on padding.
    """
    score_BST = jnp.einsum("sbw,tbw->bst", matmul(h_SBH, attention.score_HW), encoded.h_TBW)
    if encoded.lengths_B is not None:
        rows_T = jnp.arange(score_BST.shape[2], dtype=jnp.int32)
        inside_BT = rows_T[None] < encoded.lengths_B[:, None]
        score_BST = jnp.where(inside_BT[:, None], score_BST, jnp.float32(OUT_OF_SIGHT))
    return _softmax(score_BST)


def _softmax(score_BST: jax.Array) -> jax.Array:
    """Returns `jax.nn.softmax` over the last axis, without a division by what is broadcast.

    XLA makes a product of such a one, in its gradient, in some programs and not in others: a member
    had other bits alone than in a sweep over two devices.
    """
    most_BS1 = jax.lax.stop_gradient(jnp.max(score_BST, axis=2, keepdims=True))
    share_BST = jnp.exp(score_BST - most_BS1)
    return share_BST * (1 / jnp.sum(share_BST, axis=2, keepdims=True))


def with_one(x: jax.Array) -> jax.Array:
    """Returns [x, 1]: a bias then is a row of the kernel, and its gradient a product."""
    return jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1)
