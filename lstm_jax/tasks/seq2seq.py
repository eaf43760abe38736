"""The base of tasks whose models write a sentence, one token at a time.

Axes: S tokens of a sentence, B batch, V tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from lstm_jax.data.dataset import Arrays, Dataset
from lstm_jax.fields import Axis, axis
from lstm_jax.tasks.classification import LABEL_SMOOTHING
from lstm_jax.tasks.task import Batch, DecoderSpec, ItemScores, Task

if TYPE_CHECKING:
    import jax


@dataclass(frozen=True)
class Seq2SeqTask(Task):
    """A task with a decoder, trained by teacher forcing to predict the next token of a sentence.

    The metric is the fraction of correct tokens. A report also scores the sentences that a model
    writes without teacher forcing.

    A batch holds `target`, int32 [B,S], each sentence with its end token, and `target_lengths` [B].
    A negative number is a token that is not in the vocabulary.
    """

    metrics: ClassVar[tuple[str, ...]] = ("symbol_accuracy", "perplexity")
    higher_is_better: ClassVar[bool] = True
    metric_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    attention: Axis[str] = axis(
        "luong",
        "attention of the decoder: `none` (it starts from the last states of the encoder) or "
        "`luong`, global attention with the general score (Luong et al., 2015), without input "
        "feeding",
        choices=lambda: ("none", "luong"),
        setting=True,
    )
    label_smoothing: Axis[float] = axis(0.0, **LABEL_SMOOTHING)
    target_dropout: Axis[float | None] = axis(
        None,
        "probability in training that an input token of the decoder is replaced by the unknown "
        "token, so that it relies on the encoder (Bowman et al., 2016); none: off",
        low=0.0, high=0.999, traced=True, setting=True,
    )  # fmt: skip

    def decoder(self, metadata: dict[str, Any]) -> DecoderSpec:
        """Returns the decoder for data with these metadata."""
        return DecoderSpec(len(metadata["target_vocabulary"]), self.attention)

    def trivial_score(self, dataset: Dataset) -> float:
        """Returns the accuracy of a bigram model, which knows only the token before."""
        import numpy as np

        size = len(dataset.metadata["target_vocabulary"])
        before, target = (array.astype(np.int64) for array in _bigrams(dataset.train))
        pairs, counts = np.unique(before * size + target, return_counts=True)
        answer = np.zeros(size, np.int64)  # the most frequent next token of each one
        pairs = pairs[np.lexsort((-pairs, counts))]  # the last one stays; on a tie the lowest
        answer[pairs // size] = pairs % size
        before, target = _bigrams(dataset.test)
        return float(np.mean(answer[before] == target))

    def trivial_scores(self, dataset: Dataset) -> dict[str, float]:
        return {"the commonest token after the one before": self.trivial_score(dataset)}

    def describe_data(self, dataset: Dataset) -> list[str]:
        """Returns the size of each vocabulary, and the share of tokens that are not in it."""
        lines, splits = [], {"validation": dataset.validation, "test": dataset.test}
        for side in ("source", "target"):
            if f"{side}_lengths" in dataset.train:
                shares = [
                    f"{_unknown_share(arrays, side):.1%} of {split}"
                    for split, arrays in splits.items()
                ]
                size = len(dataset.metadata[f"{side}_vocabulary"])
                lines.append(f"{side} vocabulary of {size:,}; unknown: {', '.join(shares)}")
        return lines

    def describe_example(self, example: Arrays, metadata: dict[str, Any]) -> str:
        """Returns the source, if it is a sentence, and the target."""
        from lstm_jax.data.tokens import decode_sentence, join_sentence

        sentences = [
            join_sentence(
                decode_sentence(
                    example[side].tolist(),
                    metadata[f"{side}_vocabulary"],
                    metadata[f"{side}_others"],
                )
            )
            for side in ("source", "target")
            if side in example
        ]
        return " -> ".join(sentences)

    def total_weight(self, batch: Batch) -> Any:
        """Returns the number of target tokens, float32 []."""
        import jax.numpy as jnp

        return jnp.sum(batch["target_lengths"]).astype(jnp.float32)  # of integers: exact

    def augment(self, batch: Batch, key: jax.Array) -> Batch:
        """Returns the batch with `shown`, int32 [B,S]: the target with dropped tokens."""
        if self.target_dropout is None:
            return batch
        import jax
        import jax.numpy as jnp

        from lstm_jax.data.tokens import UNKNOWN

        target_BS = batch["target"]
        uniform_BS = jax.random.uniform(jax.random.fold_in(key, 1), target_BS.shape)
        is_dropped_BS = uniform_BS < self.target_dropout
        return {**batch, "shown": jnp.where(is_dropped_BS, jnp.int32(UNKNOWN), target_BS)}

    def decoder_inputs(self, batch: Batch) -> jax.Array:
        """Returns the target shifted right, with a begin token first, int32 [S,B]."""
        import jax.numpy as jnp

        from lstm_jax.data.tokens import BEGIN

        target_SB = map_unknown(batch["shown" if "shown" in batch else "target"]).T
        return jnp.concatenate([jnp.full_like(target_SB[:1], BEGIN), target_SB[:-1]])

    def score_items(self, outputs: jax.Array, batch: Batch, *, training: bool) -> ItemScores:
        """Returns cross-entropy and correctness of logits [S,B,V]; padding has no weight.

        Labels are one-hot for the reason in `classification.cross_entropy_scores`.
        """
        import jax
        import jax.numpy as jnp
        import optax

        target_SB = map_unknown(batch["target"]).T
        t_S = jnp.arange(len(target_SB), dtype=jnp.int32)
        is_real_SB = t_S[:, None] < batch["target_lengths"][None]
        target_SBV = jax.nn.one_hot(target_SB, outputs.shape[-1], dtype=jnp.float32)
        if training:
            target_SBV = optax.smooth_labels(target_SBV, self.label_smoothing)
        loss_SB = -jnp.sum(target_SBV * jax.nn.log_softmax(outputs), axis=-1)
        is_correct_SB = (jnp.argmax(outputs, axis=-1) == target_SB).astype(jnp.float32)
        return ItemScores(
            loss_SB.ravel(), is_correct_SB.ravel(), is_real_SB.astype(jnp.float32).ravel()
        )

    def finalise(self, sums: Mapping[str, Any], dataset: Dataset) -> dict[str, float]:
        """Returns the accuracy of tokens, and the perplexity: exp of the mean cross-entropy."""
        import numpy as np

        return super().finalise(sums, dataset) | {
            "perplexity": float(np.exp(sums["loss"] / sums["weight"]))
        }


def map_unknown(tokens: jax.Array) -> jax.Array:
    """Returns tokens in which each negative number is replaced by the unknown token."""
    import jax.numpy as jnp

    from lstm_jax.data.tokens import UNKNOWN

    return jnp.where(tokens < 0, jnp.int32(UNKNOWN), tokens)


def _bigrams(split: dict[str, Any]) -> tuple[Any, Any]:
    """Returns all pairs of a decoder input and its target, int [n] each."""
    import numpy as np

    from lstm_jax.data.tokens import BEGIN, UNKNOWN

    target_NS = np.where(split["target"] < 0, UNKNOWN, split["target"])
    before_NS = np.concatenate([np.full_like(target_NS[:, :1], BEGIN), target_NS[:, :-1]], axis=1)
    is_real_NS = np.arange(target_NS.shape[1]) < split["target_lengths"][:, None]
    return before_NS[is_real_NS], target_NS[is_real_NS]


def _unknown_share(arrays: Arrays, side: str) -> float:
    """Returns the share of the tokens of a side that are not in its vocabulary."""
    from lstm_jax.data.tokens import UNKNOWN

    tokens = arrays[side]
    count = max(1, int(arrays[f"{side}_lengths"].sum()))
    return int(((tokens < 0) | (tokens == UNKNOWN)).sum()) / count
