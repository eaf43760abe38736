"""Three tests of what a state holds and selects: associative recall, selective copying, induction.

Linear recurrences are compared on them, because a state that forgets at a fixed rate fails:
- associative recall, in the form with several queries of Arora et al., "Zoology" (2023);
- selective copying, of Gu and Dao, "Mamba" (2023), section 4.1: where the symbols lie changes;
- induction heads, of Olsson et al. (2022), in the form of the same section.

Axes: N examples, B batch, T time steps, P pairs, K symbols.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from lstm_jax.data.dataset import Dataset
from lstm_jax.errors import UserError
from lstm_jax.fields import Axis, axis
from lstm_jax.tasks.memory import SyntheticTask
from lstm_jax.tasks.task import Batch, Inputs, ItemScores, ModelSpec

if TYPE_CHECKING:
    import jax

NUM_KEYS = NUM_VALUES = 32  # of associative recall
NUM_COPIED, COPY_SYMBOLS = 16, 16  # of selective copying
INDUCTION_SYMBOLS = 16  # of induction, the special one among them


class RecallTask(SyntheticTask):
    """A task that asks for symbols at some time steps of a sequence.

    `sample` returns `symbols`, int32 [N,T], and `targets`, int32 [N,T]: the symbol that is asked
    for, or -1 where none is.
    """

    metric: ClassVar[str] = "recall"
    higher_is_better: ClassVar[bool] = True
    causal: ClassVar[bool] = True
    solved_at: ClassVar[float | None] = 0.99
    metric_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    num_symbols: ClassVar[int]  # that a time step may read
    num_targets: ClassVar[int]

    def trivial_score(self, dataset: Dataset) -> float:
        """Returns the recall of the target that is most frequent in the test."""
        import numpy as np

        targets = dataset.test["targets"]
        return float(np.bincount(targets[targets >= 0]).max() / np.sum(targets >= 0))

    def model_spec(self, metadata: dict[str, Any]) -> ModelSpec:
        return ModelSpec(self.num_symbols, self.num_targets, per_step_outputs=True)

    def symbol_counts(self) -> dict[str, int]:
        return {"symbols": self.num_symbols}

    def inputs(self, batch: Batch) -> Inputs:
        """Returns the one-hot symbol of each time step.

        For so few symbols a matrix product is faster than an embedding lookup.
        """
        import jax
        import jax.numpy as jnp

        return Inputs(jax.nn.one_hot(batch["symbols"].T, self.num_symbols, dtype=jnp.float32))

    def score_items(self, outputs: jax.Array, batch: Batch, *, training: bool) -> ItemScores:
        """Returns, for logits [T,B,K], the cross-entropy of each example and its recall.

        Both are means over the time steps that ask.
        """
        import jax
        import jax.numpy as jnp

        targets_TB = batch["targets"].T
        target_TBK = jax.nn.one_hot(targets_TB, self.num_targets, dtype=jnp.float32)  # of -1: zeros
        loss_TB = -jnp.sum(target_TBK * jax.nn.log_softmax(outputs), axis=-1)
        is_asked_TB = (targets_TB >= 0).astype(jnp.float32)
        is_right_TB = (jnp.argmax(outputs, axis=-1) == targets_TB).astype(jnp.float32)
        # Sums as products: a plain sum may be ordered by the number of threads.
        ones_T = jnp.ones(targets_TB.shape[0], jnp.float32)
        share_B = 1 / (ones_T @ is_asked_TB)
        loss_B, recall_B = (ones_T @ loss_TB) * share_B, (ones_T @ is_right_TB) * share_B
        return ItemScores(loss_B, recall_B, jnp.ones_like(loss_B))


@dataclass(frozen=True)
class AssociativeRecall(RecallTask):
    """Associative recall with several queries.

    A sequence begins with `pairs` keys, all different, each followed by its value. Then each key
    comes once more, at a time step drawn uniformly from the rest, and its value is asked for there.
    (Zoology draws near time steps more often.) The other time steps are blank.
    """

    name: ClassVar[str] = "recall"
    num_symbols: ClassVar[int] = NUM_KEYS + NUM_VALUES + 1
    num_targets: ClassVar[int] = NUM_VALUES

    pairs: Axis[int] = axis(4, "keys and values to remember", low=1, high=NUM_KEYS, data=True)
    length: Axis[int] = axis(64, "time steps of a sequence", low=3, high=100_000, data=True)

    def check(self) -> None:
        if 3 * self.pairs > self.length:
            raise UserError(
                f"task.length: {self.pairs} pairs and their queries need {3 * self.pairs} time "
                f"steps, not {self.length}"
            )

    def sample(self, key: jax.Array, count: int) -> Batch:
        import jax
        import jax.numpy as jnp

        keys = jax.random.split(key, 3)
        rest = self.length - 2 * self.pairs
        keys_NP = _distinct(keys[0], count, NUM_KEYS, self.pairs)
        values_NP = jax.random.randint(keys[1], (count, self.pairs), 0, NUM_VALUES)
        asked_NP = 2 * self.pairs + _distinct(keys[2], count, rest, self.pairs)
        pairs_NP2 = jnp.stack([keys_NP, NUM_KEYS + values_NP], axis=2)
        blank_NT = jnp.full((count, rest), NUM_KEYS + NUM_VALUES, jnp.int32)
        symbols_NT = jnp.concatenate([pairs_NP2.reshape(count, -1), blank_NT], axis=1)
        row_N1 = jnp.arange(count, dtype=jnp.int32)[:, None]
        none_NT = jnp.full((count, self.length), -1, jnp.int32)
        return {
            "symbols": symbols_NT.at[row_N1, asked_NP].set(keys_NP),
            "targets": none_NT.at[row_N1, asked_NP].set(values_NP),
        }


@dataclass(frozen=True)
class SelectiveCopying(RecallTask):
    """Selective copying: 16 symbols lie at random time steps among blanks.

    In the last 16 time steps, which read a symbol that asks, they are repeated in their order.
    """

    name: ClassVar[str] = "selective_copying"
    num_symbols: ClassVar[int] = COPY_SYMBOLS + 2  # a blank, and one that asks
    num_targets: ClassVar[int] = COPY_SYMBOLS

    length: Axis[int] = axis(
        256, "time steps among which the 16 symbols lie", low=NUM_COPIED, high=100_000, data=True
    )

    def sample(self, key: jax.Array, count: int) -> Batch:
        import jax
        import jax.numpy as jnp

        first, second = jax.random.split(key)
        copied_NP = jax.random.randint(first, (count, NUM_COPIED), 0, COPY_SYMBOLS)
        places_NP = jnp.sort(_distinct(second, count, self.length, NUM_COPIED), axis=1)
        row_N1 = jnp.arange(count, dtype=jnp.int32)[:, None]
        symbols_NT = jnp.full((count, self.length), COPY_SYMBOLS, jnp.int32)
        asks_NP = jnp.full_like(copied_NP, COPY_SYMBOLS + 1)
        return {
            "symbols": jnp.concatenate(
                [symbols_NT.at[row_N1, places_NP].set(copied_NP), asks_NP], axis=1
            ),
            "targets": jnp.concatenate([jnp.full_like(symbols_NT, -1), copied_NP], axis=1),
        }


@dataclass(frozen=True)
class Induction(RecallTask):
    """Induction: the symbol that followed a special one is asked for when that comes again.

    The special symbol comes at a random time step and once more at the end.
    """

    name: ClassVar[str] = "induction"
    num_symbols: ClassVar[int] = INDUCTION_SYMBOLS
    num_targets: ClassVar[int] = INDUCTION_SYMBOLS - 1

    length: Axis[int] = axis(256, "time steps of a sequence", low=3, high=100_000, data=True)

    def sample(self, key: jax.Array, count: int) -> Batch:
        import jax
        import jax.numpy as jnp

        first, second = jax.random.split(key)
        special = INDUCTION_SYMBOLS - 1
        symbols_NT = jax.random.randint(first, (count, self.length), 0, special)
        place_N = jax.random.randint(second, (count,), 0, self.length - 2)
        row_N = jnp.arange(count, dtype=jnp.int32)
        answer_N = symbols_NT[row_N, place_N + 1]
        symbols_NT = symbols_NT.at[row_N, place_N].set(special).at[:, -1].set(special)
        none_NT = jnp.full((count, self.length), -1, jnp.int32)
        return {"symbols": symbols_NT, "targets": none_NT.at[:, -1].set(answer_N)}


def _distinct(key: jax.Array, count: int, size: int, number: int) -> jax.Array:
    """Returns `number` different numbers below `size` in random order, int32 [count, number]."""
    import jax
    import jax.numpy as jnp

    noise = jax.random.uniform(key, (count, size))
    return jnp.argsort(noise, axis=1)[:, :number].astype(jnp.int32)
