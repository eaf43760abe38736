"""Sentences that a decoder generates: greedily, or the best of a beam search.

Axes: B batch, K sentences in the beam, S time steps of the decoder, V tokens of the vocabulary,
N examples, T time steps of the encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.cells.precision import products_in
from lstm_jax.config.experiment import Experiment
from lstm_jax.data.dataset import Arrays, gather_examples, num_examples
from lstm_jax.data.tokens import BEGIN, END, PADDING, UNKNOWN, decode_sentence, join_sentence
from lstm_jax.errors import missing_package
from lstm_jax.fields import FieldSpec, check_value
from lstm_jax.model import attention, forward
from lstm_jax.model.attention import Encoded
from lstm_jax.model.fused_params import FusedParams
from lstm_jax.predict.answers import Sentences
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.tasks.task import Batch

BATCH_SIZE = 50
NEVER = -1e30  # the log probability of a token that must not be generated


class Beam(NamedTuple):
    """The K best sentences of each example so far."""

    carry: Any  # of the decoder, [K*B,H] each
    tokens_KBS: jax.Array  # int32
    score_KB: jax.Array  # the sum of log probabilities
    length_KB: jax.Array  # int32, tokens with the end token
    done_KB: jax.Array


@partial(jax.jit, static_argnames=("beam", "steps"))
def decode(
    member: Experiment, fused: FusedParams, batch: Batch, *, beam: int, steps: int
) -> tuple[jax.Array, jax.Array]:
    """Returns the best sentence for each example, int32 [B,S], and the mean log probability of its
    tokens, float32 [B]. Padding follows the end token. A sentence without an end is cut after S.

    With a beam of 1, takes the most probable token at each time step. With a wider beam, keeps the
    K most probable sentences, and returns the one of these whose tokens have the highest mean log
    probability. The unknown token is never generated.
    """
    encoded = forward.encode(member, fused, member.task.inputs(batch))
    of_beam = encoded._replace(
        carry=jax.tree.map(lambda a: jnp.tile(a, (beam, *[1] * (a.ndim - 1))), encoded.carry),
        h_TBW=None if encoded.h_TBW is None else jnp.tile(encoded.h_TBW, (1, beam, 1)),
        lengths_B=None if encoded.lengths_B is None else jnp.tile(encoded.lengths_B, beam),
    )
    size = len(jax.tree.leaves(encoded.carry)[0])
    # At first all K sentences are the same, so only one of them may continue.
    score_KB = jnp.where(jnp.arange(beam)[:, None] == 0, jnp.float32(0), jnp.float32(NEVER))
    start = Beam(
        of_beam.carry,
        jnp.full((beam, size, steps), PADDING, jnp.int32),
        jnp.broadcast_to(score_KB, (beam, size)),
        jnp.zeros((beam, size), jnp.int32),
        jnp.zeros((beam, size), bool),
    )
    step = partial(_step, member, fused, of_beam)
    last, _ = jax.lax.scan(step, start, jnp.arange(steps, dtype=jnp.int32))
    mean_KB = last.score_KB / last.length_KB.astype(jnp.float32)
    best_B = jnp.argmax(mean_KB, axis=0)
    each_B = jnp.arange(size, dtype=jnp.int32)
    return last.tokens_KBS[best_B, each_B], mean_KB[best_B, each_B]


def _step(
    member: Experiment, fused: FusedParams, encoded: Encoded, before: Beam, t: jax.Array
) -> tuple[Beam, None]:
    """Adds the token at time step t to each sentence and keeps the K best."""
    beam, size, _ = before.tokens_KBS.shape
    last_KB = before.tokens_KBS[:, :, jnp.maximum(t - 1, 0)]
    inputs_1N = jnp.where(t == 0, jnp.int32(BEGIN), last_KB).reshape(1, -1)
    encoded = encoded._replace(carry=before.carry)
    ran = forward.run_decoder(member, fused, encoded, inputs_1N)
    with products_in(member.precision):
        h_1NH = attention.attend(encoded, ran.h_TBW)
    logits_1NV = forward.apply_head(member, fused, h_1NH)
    log_KBV = jax.nn.log_softmax(logits_1NV[0]).reshape(beam, size, -1)
    tokens_V = jnp.arange(log_KBV.shape[2], dtype=jnp.int32)
    never_V = (tokens_V == PADDING) | (tokens_V == BEGIN) | (tokens_V == UNKNOWN)
    log_KBV = jnp.where(never_V[None, None], jnp.float32(NEVER), log_KBV)
    # A sentence that has ended continues with padding, whose log probability counts as zero.
    padding_V = jnp.where(tokens_V == PADDING, jnp.float32(0), jnp.float32(NEVER))
    log_KBV = jnp.where(before.done_KB[:, :, None], padding_V[None, None], log_KBV)
    total_BN = (before.score_KB[:, :, None] + log_KBV).swapaxes(0, 1).reshape(size, -1)
    score_BK, index_BK = jax.lax.top_k(total_BN, beam)
    parent_KB, token_KB = (a.T for a in jnp.divmod(index_BK, jnp.int32(len(tokens_V))))
    each_1B = jnp.arange(size, dtype=jnp.int32)[None]

    def of_parents(values_KB: jax.Array) -> jax.Array:
        return values_KB[parent_KB, each_1B]

    index_N = (parent_KB * size + each_1B).ravel()
    done_KB = of_parents(before.done_KB)
    return Beam(
        jax.tree.map(lambda a_NH: a_NH[index_N], ran.carry),
        of_parents(before.tokens_KBS).at[:, :, t].set(token_KB),
        score_BK.T,
        of_parents(before.length_KB) + (~done_KB).astype(jnp.int32),
        done_KB | (token_KB == END),
    ), None


def generate(trained: TrainedModel, examples: Arrays, beam: int = 1) -> Sentences:
    """Returns the sentence that the model generates for each example. Raises UserError for a beam
    below 1.
    """
    beam = check_value("beam", beam, FieldSpec(int, "", low=1))
    steps = int(trained.metadata["shapes"]["target"][0])
    tokens, means = list[np.ndarray](), list[np.ndarray]()
    total = num_examples(examples)
    for first in range(0, total, BATCH_SIZE):  # the last batch is filled up with the last example
        index_B = np.minimum(np.arange(first, first + BATCH_SIZE), total - 1)
        batch = gather_examples(examples, index_B)
        tokens_BS, mean_B = decode(trained.ready, trained.fused, batch, beam=beam, steps=steps)
        tokens.append(np.asarray(tokens_BS))
        means.append(np.asarray(mean_B))
    tokens_NS, mean_N = np.concatenate(tokens)[:total], np.concatenate(means)[:total]
    return Sentences(texts(tokens_NS, trained.metadata, "target"), tokens_NS, np.exp(mean_N))


def texts(tokens_NS: np.ndarray, metadata: dict[str, Any], side: str) -> list[str]:
    """Returns the sentences as text. `side` is the vocabulary, `source` or `target`."""
    return [join_sentence(words(row_S, metadata, side)) for row_S in tokens_NS]


def words(tokens_S: np.ndarray, metadata: dict[str, Any], side: str) -> list[str]:
    """Returns the tokens of one sentence as strings, without the end token."""
    return decode_sentence(
        tokens_S.tolist(), metadata[f"{side}_vocabulary"], metadata[f"{side}_others"]
    )


def attention_weights(trained: TrainedModel, examples: Arrays, tokens_NS: np.ndarray) -> np.ndarray:
    """Returns the attention weights on the encoder's time steps while the model generates each
    token of these sentences: float32 [N,S,T]. The model must have attention.
    """
    return np.asarray(_weights(trained.ready, trained.fused, {**examples, "target": tokens_NS}))


@jax.jit
def _weights(member: Experiment, fused: FusedParams, batch: Batch) -> jax.Array:
    inputs = member.task.inputs(batch)
    encoded = forward.encode(member, fused, inputs)
    assert encoded.decoder.attention is not None, "the model has no attention"
    ran = forward.run_decoder(member, fused, encoded, inputs.decoder_inputs_SB)
    with products_in(member.precision):
        return attention.attention_weights(encoded.decoder.attention, encoded, ran.h_TBW)


def exact_share(texts: Sequence[str], references: Sequence[str]) -> float:
    """Returns the share of sentences that equal their reference."""
    return float(np.mean([a == b for a, b in zip(texts, references, strict=True)]))


def bleu_and_chrf(texts: Sequence[str], references: Sequence[str]) -> tuple[float, float]:
    """Returns BLEU and chrF, from 0 to 100, with the default options of sacrebleu (13a tokens, case
    sensitive). Raises EnvironmentProblem where sacrebleu is not installed.
    """
    try:
        import sacrebleu
    except ImportError:
        raise missing_package("BLEU", "sacrebleu", "translation") from None
    bleu = sacrebleu.corpus_bleu(list(texts), [list(references)])
    return bleu.score, sacrebleu.corpus_chrf(list(texts), [list(references)]).score
