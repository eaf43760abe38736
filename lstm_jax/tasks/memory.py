"""Two synthetic tests of a long memory: adding two numbers, and copying ten symbols.

Axes: N examples, B batch, T time steps, O outputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from lstm_jax.data.dataset import Dataset, Say, make_dataset
from lstm_jax.fields import Axis, axis
from lstm_jax.tasks.task import Batch, Inputs, ItemScores, ModelSpec, Task

if TYPE_CHECKING:
    import jax

HELD_OUT_SEED = 1997  # of validation and test, which do not depend on the seed of a member
NUM_HELD_OUT = 1000  # examples of validation, and as many of the test
NUM_SYMBOLS, NUM_REMEMBERED = 8, 10  # size of the alphabet, and symbols to copy
BLANK, DELIMITER = NUM_SYMBOLS, NUM_SYMBOLS + 1


class SyntheticTask(Task):
    """A task whose examples are drawn by `sample`: new ones for each training step."""

    online: ClassVar[bool] = True

    def load(self, say: Say) -> Dataset:
        """Returns fixed validation and test sets, and two training examples as a template."""
        import jax
        import numpy as np

        sample = jax.jit(self.sample, static_argnums=1)
        keys = jax.random.split(jax.random.key(HELD_OUT_SEED), 3)
        splits = [
            {name: np.asarray(array) for name, array in sample(key, count).items()}
            for key, count in zip(keys, (2, NUM_HELD_OUT, NUM_HELD_OUT), strict=True)
        ]
        return make_dataset(self.name, *splits)


@dataclass(frozen=True)
class Adding(SyntheticTask):
    """The adding problem: the sum of the two marked numbers of a sequence.

    Hochreiter and Schmidhuber, "Long short-term memory" (1997), in the form of Arjovsky, Shah and
    Bengio, "Unitary evolution recurrent neural networks" (2016): numbers from 0 to 1, and a marker
    in each half. The constant answer 1 has a squared error of 1/6, the variance of the sum.
    """

    name: ClassVar[str] = "adding"
    figures: ClassVar[str | None] = "lstm_jax.report.figures.memory:adding_figures"
    metrics: ClassVar[tuple[str, ...]] = ("squared_error", "absolute_error")
    higher_is_better: ClassVar[bool] = False
    metric_range: ClassVar[tuple[float, float]] = (0.0, math.inf)
    solved_at: ClassVar[float | None] = 0.01

    length: Axis[int] = axis(100, "length of a sequence", low=2, high=100_000, data=True)

    def sample(self, key: jax.Array, count: int) -> Batch:
        """Returns `numbers`, float32 [N,T], marked `places`, int32 [N,2], and their `sums` [N]."""
        import jax
        import jax.numpy as jnp

        half = self.length // 2
        key, first, second = jax.random.split(key, 3)
        numbers_NT = jax.random.uniform(key, (count, self.length), jnp.float32)
        places = [
            jax.random.randint(first, (count,), 0, half),
            jax.random.randint(second, (count,), half, self.length),
        ]
        places_N2 = jnp.stack(places, axis=1)
        marked_N2 = jnp.take_along_axis(numbers_NT, places_N2, axis=1)
        return {
            "numbers": numbers_NT,
            "places": places_N2,
            "sums": marked_N2[:, 0] + marked_N2[:, 1],
        }

    def trivial_score(self, dataset: Dataset) -> float:
        """Returns the mean squared error of the constant answer 1."""
        import numpy as np

        return float(np.mean((dataset.test["sums"] - 1) ** 2))

    def model_spec(self, metadata: dict[str, Any]) -> ModelSpec:
        return ModelSpec(num_features=2, num_outputs=1)

    def inputs(self, batch: Batch) -> Inputs:
        """Returns a number and its marker, 0 or 1, at each time step."""
        import jax.numpy as jnp

        t_T11 = jnp.arange(self.length, dtype=jnp.int32)[:, None, None]
        marked_TB = (t_T11 == batch["places"][None]).any(axis=2)
        return Inputs(jnp.stack([batch["numbers"].T, marked_TB.astype(jnp.float32)], axis=2))

    def score_items(self, outputs: jax.Array, batch: Batch, *, training: bool) -> ItemScores:
        """Returns the squared error of answers [B,1]."""
        import jax.numpy as jnp

        error_B = (outputs[:, 0] - batch["sums"]) ** 2
        return ItemScores(error_B, error_B, jnp.ones_like(error_B))

    def evaluation_items(self, outputs: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Returns the absolute error of answers [B,1]."""
        import jax.numpy as jnp

        return {"absolute_error": jnp.abs(outputs[:, 0] - batch["sums"])}


@dataclass(frozen=True)
class Copying(SyntheticTask):
    """The copying problem: ten symbols are repeated after a delay.

    Hochreiter and Schmidhuber (1997), in the form of Arjovsky, Shah and Bengio (2016). The
    T = delay + 20 time steps hold the ten symbols, blanks, a delimiter as the last time step of the
    delay, and ten blanks. The target is blank, and the symbols in the last ten time steps. Without
    a memory the lowest cross-entropy, a mean over time steps, is 10 ln(8) / T.
    """

    name: ClassVar[str] = "copying"
    figures: ClassVar[str | None] = "lstm_jax.report.figures.memory:copying_figures"
    metric: ClassVar[str] = "recall"
    higher_is_better: ClassVar[bool] = True
    metric_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    causal: ClassVar[bool] = True
    solved_at: ClassVar[float | None] = 0.99

    delay: Axis[int] = axis(
        100, "time steps between the symbols and their recall", low=2, high=100_000, data=True
    )

    @property
    def num_time_steps(self) -> int:
        """The length of a sequence."""
        return self.delay + 2 * NUM_REMEMBERED

    def sample(self, key: jax.Array, count: int) -> Batch:
        """Returns the `symbols` to copy, int32 [N,10]."""
        import jax

        return {"symbols": jax.random.randint(key, (count, NUM_REMEMBERED), 0, NUM_SYMBOLS)}

    def trivial_score(self, dataset: Dataset) -> float:
        """Returns the recall of the symbol that is most frequent in the test."""
        import numpy as np

        symbols = dataset.test["symbols"]
        return float(np.bincount(symbols.ravel()).max() / symbols.size)

    def model_spec(self, metadata: dict[str, Any]) -> ModelSpec:
        return ModelSpec(
            num_features=NUM_SYMBOLS + 2, num_outputs=NUM_SYMBOLS + 1, per_step_outputs=True
        )

    def symbol_counts(self) -> dict[str, int]:
        return {"symbols": NUM_SYMBOLS}

    def inputs(self, batch: Batch) -> Inputs:
        """Returns the one-hot symbol, blank or delimiter of each time step.

        For so few symbols a matrix product is faster than an embedding lookup.
        """
        import jax
        import jax.numpy as jnp

        symbols_TB = batch["symbols"].T
        rest_T = (
            jnp.full(self.delay + NUM_REMEMBERED, BLANK, jnp.int32)
            .at[self.delay - 1]
            .set(DELIMITER)
        )
        rest_TB = jnp.broadcast_to(rest_T[:, None], (len(rest_T), symbols_TB.shape[1]))
        read_TB = jnp.concatenate([symbols_TB, rest_TB])
        return Inputs(jax.nn.one_hot(read_TB, NUM_SYMBOLS + 2, dtype=jnp.float32))

    def score_items(self, outputs: jax.Array, batch: Batch, *, training: bool) -> ItemScores:
        """Returns, for logits [T,B,O], the cross-entropy of each example, mean over time steps, and
        its recall, the fraction of correct symbols.
        """
        import jax
        import jax.numpy as jnp

        symbols_TB = batch["symbols"].T
        blanks_TB = jnp.full((self.delay + NUM_REMEMBERED, symbols_TB.shape[1]), BLANK, jnp.int32)
        targets_TB = jnp.concatenate([blanks_TB, symbols_TB])
        target_TBO = jax.nn.one_hot(targets_TB, NUM_SYMBOLS + 1, dtype=jnp.float32)
        loss_TB = -jnp.sum(target_TBO * jax.nn.log_softmax(outputs), axis=-1)
        # Means as products: a plain sum may be ordered by the number of threads.
        loss_B = jnp.full(self.num_time_steps, 1 / self.num_time_steps, jnp.float32) @ loss_TB
        is_correct_TB = jnp.argmax(outputs[-NUM_REMEMBERED:], axis=-1) == symbols_TB
        recall_B = jnp.full(NUM_REMEMBERED, 1 / NUM_REMEMBERED, jnp.float32) @ is_correct_TB.astype(
            jnp.float32
        )
        return ItemScores(loss_B, recall_B, jnp.ones_like(loss_B))
