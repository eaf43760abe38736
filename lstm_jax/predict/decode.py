"""Sentences that a model writes by itself: greedily, or the best of a beam.

Axes: B batch, K sentences kept at a time, S symbols that are written, V symbols, N sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.config.experiment import Experiment
from lstm_jax.data.dataset import Arrays, gather_examples, num_examples
from lstm_jax.data.sentences import BEGIN, END, PADDING, UNKNOWN, joined, read_back
from lstm_jax.errors import missing_package
from lstm_jax.model import forward
from lstm_jax.model.attention import Encoded, attend, shares
from lstm_jax.model.forward import FusedParams
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.tasks.task import Batch

BLOCK = 50  # sentences at a time
NEVER = -1e30  # the log probability of what is not to be written


class Written(NamedTuple):
    """What a model wrote, for N examples."""

    texts: list[str]
    numbers_NS: np.ndarray
    certainty_N: np.ndarray  # the geometric mean of the probabilities of a sentence's symbols


class Beam(NamedTuple):
    """The sentences kept so far."""

    states: Any  # the decoder's, [K*B,H] each
    written_KBS: jax.Array  # int32
    score_KB: jax.Array  # the sum of log probabilities
    length_KB: jax.Array  # int32, symbols with the end
    done_KB: jax.Array


@partial(jax.jit, static_argnames=("beam", "steps"))
def decode(
    member: Experiment, fused: FusedParams, batch: Batch, *, beam: int, steps: int
) -> tuple[jax.Array, jax.Array]:
    """Returns the best sentence for each example, int32 [B,S], and its mean log probability of a
    symbol, float32 [B]. After a sentence's end comes padding; one that does not end is cut.

    With a beam of one the most probable symbol is written at each step. A wider one keeps the
    K sentences of highest probability, and of these returns the one whose symbols have the highest
    mean log probability. The unknown symbol is never written.
    """
    encoded = forward.encode(member, fused, member.task.inputs(batch))
    of_beam = encoded._replace(
        states=jax.tree.map(lambda s_BH: jnp.tile(s_BH, (beam, 1)), encoded.states),
        h_TBW=None if encoded.h_TBW is None else jnp.tile(encoded.h_TBW, (1, beam, 1)),
        lengths_B=None if encoded.lengths_B is None else jnp.tile(encoded.lengths_B, beam),
    )
    size = len(encoded.states[0][0])
    # At first all K are the same sentence: one alone may go on.
    score_KB = jnp.where(jnp.arange(beam)[:, None] == 0, jnp.float32(0), jnp.float32(NEVER))
    start = Beam(
        of_beam.states,
        jnp.full((beam, size, steps), PADDING, jnp.int32),
        jnp.broadcast_to(score_KB, (beam, size)),
        jnp.zeros((beam, size), jnp.int32),
        jnp.zeros((beam, size), bool),
    )
    step = partial(_step, member, fused, of_beam)
    kept, _ = jax.lax.scan(step, start, jnp.arange(steps, dtype=jnp.int32))
    mean_KB = kept.score_KB / kept.length_KB.astype(jnp.float32)
    best_B = jnp.argmax(mean_KB, axis=0)
    each_B = jnp.arange(size, dtype=jnp.int32)
    return kept.written_KBS[best_B, each_B], mean_KB[best_B, each_B]


def _step(
    member: Experiment, fused: FusedParams, encoded: Encoded, kept: Beam, place: jax.Array
) -> tuple[Beam, None]:
    """Writes a symbol more."""
    beam, size, _ = kept.written_KBS.shape
    last_KB = kept.written_KBS[:, :, jnp.maximum(place - 1, 0)]
    before_1N = jnp.where(place == 0, jnp.int32(BEGIN), last_KB).reshape(1, -1)
    encoded = encoded._replace(states=kept.states)
    found = forward.run_decoder(member, fused, encoded, before_1N)
    h_1NH = attend(encoded, found.h_TBW)
    log_KBV = jax.nn.log_softmax(forward.read_out(fused, h_1NH)[0]).reshape(beam, size, -1)
    symbols_V = jnp.arange(log_KBV.shape[2], dtype=jnp.int32)
    never_V = (symbols_V == PADDING) | (symbols_V == BEGIN) | (symbols_V == UNKNOWN)
    log_KBV = jnp.where(never_V[None, None], jnp.float32(NEVER), log_KBV)
    # A sentence that has ended goes on with padding alone, at no cost.
    rest_V = jnp.where(symbols_V == PADDING, jnp.float32(0), jnp.float32(NEVER))
    log_KBV = jnp.where(kept.done_KB[:, :, None], rest_V[None, None], log_KBV)
    total_BN = (kept.score_KB[:, :, None] + log_KBV).swapaxes(0, 1).reshape(size, -1)
    score_BK, index_BK = jax.lax.top_k(total_BN, beam)
    parent_KB, symbol_KB = (a.T for a in jnp.divmod(index_BK, jnp.int32(len(symbols_V))))
    each_1B = jnp.arange(size, dtype=jnp.int32)[None]

    def of_parents(values_KB: jax.Array) -> jax.Array:
        return values_KB[parent_KB, each_1B]

    row_N = (parent_KB * size + each_1B).ravel()
    done_KB = of_parents(kept.done_KB)
    return Beam(
        jax.tree.map(lambda s_NH: s_NH[row_N], found.states),
        of_parents(kept.written_KBS).at[:, :, place].set(symbol_KB),
        score_BK.T,
        of_parents(kept.length_KB) + (~done_KB).astype(jnp.int32),
        done_KB | (symbol_KB == END),
    ), None


def write_out(trained: TrainedModel, examples: Arrays, beam: int = 1) -> Written:
    """Returns what the model writes for each example."""
    steps = int(trained.metadata["shapes"]["target"][0])
    numbers, means = list[np.ndarray](), list[np.ndarray]()
    total = num_examples(examples)
    for first in range(0, total, BLOCK):  # of one size, the last one filled up
        index_B = np.minimum(np.arange(first, first + BLOCK), total - 1)
        batch = gather_examples(examples, index_B)
        numbers_BS, mean_B = decode(trained.ready, trained.fused, batch, beam=beam, steps=steps)
        numbers.append(np.asarray(numbers_BS))
        means.append(np.asarray(mean_B))
    numbers_NS, mean_N = np.concatenate(numbers)[:total], np.concatenate(means)[:total]
    return Written(texts(numbers_NS, trained.metadata, "target"), numbers_NS, np.exp(mean_N))


def texts(numbers_NS: np.ndarray, metadata: dict[str, Any], side: str) -> list[str]:
    """Returns the sentences that numbers stand for, of the side `source` or `target`."""
    return [joined(symbols_of(row, metadata, side)) for row in numbers_NS]


def symbols_of(numbers_S: np.ndarray, metadata: dict[str, Any], side: str) -> list[str]:
    """Returns the symbols of a sentence, without its end."""
    return read_back(numbers_S.tolist(), metadata[f"{side}_vocabulary"], metadata[f"{side}_others"])


def attention_weights(
    trained: TrainedModel, examples: Arrays, numbers_NS: np.ndarray
) -> np.ndarray:
    """Returns how much of its attention the model gave to each row that it read (the last axis) as
    it wrote each symbol of these sentences: float32 [N,S,T].
    """
    return np.asarray(attention(trained.ready, trained.fused, {**examples, "target": numbers_NS}))


@jax.jit
def attention(member: Experiment, fused: FusedParams, batch: Batch) -> jax.Array:
    """Returns where a model with attention looks as it writes `target`: float32 [B,S,T]."""
    inputs = member.task.inputs(batch)
    encoded = forward.encode(member, fused, inputs)
    assert encoded.decoder.attention is not None, "the model has no attention"
    found = forward.run_decoder(member, fused, encoded, inputs.decoder_inputs_SB)
    return shares(encoded.decoder.attention, encoded, found.h_TBW)


def exact(found: Sequence[str], wanted: Sequence[str]) -> float:
    """Returns the share of sentences that are right to the last symbol."""
    return float(np.mean([a == b for a, b in zip(found, wanted, strict=True)]))


def bleu_and_chrf(found: Sequence[str], wanted: Sequence[str]) -> tuple[float, float]:
    """Returns BLEU and chrF, from 0 to 100, as sacrebleu has them by default (13a tokens, case
    sensitive). Raises EnvironmentProblem where it is not installed.
    """
    try:
        import sacrebleu
    except ImportError:
        raise missing_package("BLEU", "sacrebleu", "translation") from None
    references = [list(wanted)]
    bleu = sacrebleu.corpus_bleu(list(found), references)
    return bleu.score, sacrebleu.corpus_chrf(list(found), references).score
