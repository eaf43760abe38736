"""What tasks have in common whose models write a sentence, a symbol at a time.

Axes: S symbols of a sentence, B batch, V symbols of the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from lstm_jax.data.dataset import Dataset
from lstm_jax.fields import Axis, axis
from lstm_jax.tasks.task import Batch, DecoderSpec, PerExample, Task

if TYPE_CHECKING:
    import jax


@dataclass(frozen=True)
class Seq2SeqTask(Task):
    """Which symbol comes next in a sentence, the right ones before it given (teacher forcing).

    Members are compared by this share of right symbols. How good the sentences are that a model
    writes by itself is another question; the report answers it.

    A batch holds `target`, int32 [B,S], each sentence with its end, and `target_lengths` [B]. A
    number below zero is a symbol that is not in the vocabulary.
    """

    metric: ClassVar[str] = "symbol_accuracy"
    higher_is_better: ClassVar[bool] = True

    attention: Axis[str] = axis(
        "luong",
        "what the decoder sees of the rows that were read: `none`, only the last states; `luong`, "
        "global attention with the general score (Luong et al., 2015), without input feeding",
        choices=lambda: ("none", "luong"),
    )
    label_smoothing: Axis[float] = axis(
        0.0,
        "share of the training target spread evenly over all symbols",
        low=0.0,
        high=0.999,
        traced=True,
    )

    target_dropout: Axis[float | None] = axis(
        None,
        "share of the symbols before the next one that training does not show the decoder, so that "
        "it learns to look at what is described (Bowman et al., 2016); `none`: all are shown",
        value_type=float,
        low=0.0,
        high=0.999,
        traced=True,
        optional=True,
    )

    def decoder(self, metadata: dict[str, Any]) -> DecoderSpec:
        """Returns what writes the sentences of data of these metadata."""
        return DecoderSpec(len(metadata["target_vocabulary"]), self.attention)

    def trivial_score(self, dataset: Dataset) -> float:
        """Returns the share of right symbols of whoever knows the symbol before alone."""
        import numpy as np

        size = len(dataset.metadata["target_vocabulary"])
        counts = np.zeros((size, size), np.int64)
        np.add.at(counts, _neighbours(dataset.train), 1)
        before, right = _neighbours(dataset.test)
        return float(np.mean(counts.argmax(axis=1)[before] == right))

    def total_weight(self, batch: Batch) -> Any:
        """Returns the number of symbols to be written."""
        import jax.numpy as jnp

        return jnp.sum(batch["target_lengths"]).astype(jnp.float32)  # of integers: exact

    def augment(self, batch: Batch, key: jax.Array) -> Batch:
        """Returns the batch with `shown`, int32 [B,S]: the target as the decoder may see it."""
        if self.target_dropout is None:
            return batch
        import jax
        import jax.numpy as jnp

        from lstm_jax.data.tokens import UNKNOWN

        target_BS = batch["target"]
        drawn_BS = jax.random.uniform(jax.random.fold_in(key, 1), target_BS.shape)
        hidden_BS = drawn_BS < self.target_dropout
        return {**batch, "shown": jnp.where(hidden_BS, jnp.int32(UNKNOWN), target_BS)}

    def decoder_inputs(self, batch: Batch) -> jax.Array:
        """Returns the symbol before each one to be written, int32 [S,B]."""
        import jax.numpy as jnp

        from lstm_jax.data.tokens import BEGIN

        target_SB = map_unknown(batch["shown" if "shown" in batch else "target"]).T
        return jnp.concatenate([jnp.full_like(target_SB[:1], BEGIN), target_SB[:-1]])

    def per_example(self, outputs: jax.Array, batch: Batch, *, training: bool) -> PerExample:
        """Scores logits [S,B,V] by cross-entropy; what comes after a sentence's end has no weight.

        Symbols are one-hot: see `Images.items`.
        """
        import jax
        import jax.numpy as jnp
        import optax

        target_SB = map_unknown(batch["target"]).T
        rows_S = jnp.arange(len(target_SB), dtype=jnp.int32)
        inside_SB = rows_S[:, None] < batch["target_lengths"][None]
        target_SBV = jax.nn.one_hot(target_SB, outputs.shape[-1], dtype=jnp.float32)
        if training:
            target_SBV = optax.smooth_labels(target_SBV, self.label_smoothing)
        loss_SB = -jnp.sum(target_SBV * jax.nn.log_softmax(outputs), axis=-1)
        right_SB = (jnp.argmax(outputs, axis=-1) == target_SB).astype(jnp.float32)
        return PerExample(loss_SB.ravel(), right_SB.ravel(), inside_SB.astype(jnp.float32).ravel())


def map_unknown(numbers: jax.Array) -> jax.Array:
    """Returns numbers of the vocabulary: symbols that are not in it are the unknown one."""
    import jax.numpy as jnp

    from lstm_jax.data.tokens import UNKNOWN

    return jnp.where(numbers < 0, jnp.int32(UNKNOWN), numbers)


def _neighbours(split: dict[str, Any]) -> tuple[Any, Any]:
    """The symbols of all sentences before another one, and these, int [n] each."""
    import numpy as np

    from lstm_jax.data.tokens import BEGIN, UNKNOWN

    target_NS = np.where(split["target"] < 0, UNKNOWN, split["target"])
    before_NS = np.concatenate([np.full_like(target_NS[:, :1], BEGIN), target_NS[:, :-1]], axis=1)
    inside_NS = np.arange(target_NS.shape[1]) < split["target_lengths"][:, None]
    return before_NS[inside_NS], target_NS[inside_NS]
