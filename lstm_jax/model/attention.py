"""A decoder's additions to recurrent layers: initial states from the encoder, and attention.

The decoder's layers read the symbols before the one that is written (Sutskever, Vinyals and Le,
"Sequence to sequence learning with neural networks", 2014); `forward.py` runs them as it runs the
encoder's. Attention is global, with the "general" score, of Luong, Pham and Manning, "Effective
approaches to attention-based neural machine translation" (2015), equations 5, 7 and 8. It is
computed for all time steps after the recurrence. Luong's "input feeding" would put
attention into every time step; it is not used here.

Axes: T time steps of the source, S of the target, B batch, H hidden, W numbers that the encoder
puts out at a time step (H of each direction), D = one more than the inputs, for the bias.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.cells.ordered_matmul import append_ones, matmul
from lstm_jax.cells.precision import einsum, product
from lstm_jax.model.fused_params import AttentionKernels, FusedDecoder

MASKED_SCORE = -1e30  # the score of padding: its attention weight is exactly zero


class Encoded(NamedTuple):
    """All that a decoder knows about the source."""

    decoder: FusedDecoder
    carry: tuple[Any, ...]  # of its layers, before the first time step, [B,H] each
    h_TBW: Any  # the encoder's outputs; None without attention
    lengths_B: jax.Array | None


def bridge(decoder: FusedDecoder, encoder_carry: tuple[Any, ...]) -> tuple[Any, ...]:
    """Returns the decoder's carry before its first time step, [B,H] each, for each layer.

    It is the encoder's last carry, [B,W] each. Where the encoder reads in both directions, each
    array of a carry goes through a dense layer from 2H to H.
    """
    if not decoder.bridges_DH:
        return encoder_carry
    return tuple(
        tuple(
            product(append_ones(s_BW), bridge_DH)
            for s_BW, bridge_DH in zip(state, bridges, strict=True)
        )
        for state, bridges in zip(encoder_carry, decoder.bridges_DH, strict=True)
    )


def attend(encoded: Encoded, h_SBH: jax.Array) -> jax.Array:
    """Returns the input of the head, [S,B,H].

    It is tanh of a dense layer over [context, output]; without attention it is the outputs.
    """
    attention = encoded.decoder.attention
    if attention is None:
        return h_SBH
    weights_BST = attention_weights(attention, encoded, h_SBH)
    context_SBW = einsum("bst,tbw->sbw", weights_BST, encoded.h_TBW)
    both_SBD = append_ones(jnp.concatenate([context_SBW, h_SBH], axis=2))
    return jnp.tanh(matmul(both_SBD, attention.mix_DH))


def attention_weights(attention: AttentionKernels, encoded: Encoded, h_SBH: jax.Array) -> jax.Array:
    """Returns how much each target time step attends to each source time step, [B,S,T].

    The weights add up to one over T, and are zero on padding.
    """
    score_BST = einsum("sbw,tbw->bst", matmul(h_SBH, attention.score_HW), encoded.h_TBW)
    if encoded.lengths_B is not None:
        t_T = jnp.arange(score_BST.shape[2], dtype=jnp.int32)
        inside_BT = t_T[None] < encoded.lengths_B[:, None]
        score_BST = jnp.where(inside_BT[:, None], score_BST, jnp.float32(MASKED_SCORE))
    # A softmax over T, with a product by the reciprocal. `jax.nn.softmax` divides by a broadcast
    # array, of which XLA makes such a product in some programs and not in others: a member had
    # other bits alone than in a sweep over two devices.
    max_BS1 = jax.lax.stop_gradient(jnp.max(score_BST, axis=2, keepdims=True))
    exp_BST = jnp.exp(score_BST - max_BS1)
    return exp_BST * (1 / jnp.sum(exp_BST, axis=2, keepdims=True))
