"""State tracking: after each symbol, the state of a finite automaton that has read all before it.

The problems are those on which linear recurrences and Transformers fail and Elman networks do not:
Deletang et al., "Neural networks and the Chomsky hierarchy" (2023), Merrill, Petty and Sabharwal,
"The illusion of state in state-space models" (2024), and Danieli et al., "ParaRNN" (2025), table 1.
A model that is trained on short sequences is scored on longer ones.

Axes: N examples, B batch, T time steps, K symbols, S states.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from lstm_jax.data.dataset import Dataset
from lstm_jax.fields import Axis, axis
from lstm_jax.tasks.memory import SyntheticTask
from lstm_jax.tasks.task import Batch, Inputs, ItemScores, ModelSpec

if TYPE_CHECKING:
    import jax

MODULUS = 5
Transitions = list[list[int]]  # the next state by state and symbol, [S,K]


def parity() -> Transitions:
    """Returns the automaton of the parity of ones among symbols 0 and 1."""
    return [[state ^ symbol for symbol in range(2)] for state in range(2)]


def cycle_navigation() -> Transitions:
    """Returns the automaton of a walk on a ring of five places: stay, one on, or one back."""
    return [[(state + move) % MODULUS for move in (0, 1, -1)] for state in range(MODULUS)]


def modular_arithmetic() -> Transitions:
    """Returns the automaton of a value modulo 5. A symbol is an operation (+, -, *) and a digit.

    Operations apply from left to right: multiplication has no precedence.
    """
    digits = range(MODULUS)
    return [
        [
            *((state + digit) % MODULUS for digit in digits),
            *((state - digit) % MODULUS for digit in digits),
            *((state * digit) % MODULUS for digit in digits),
        ]
        for state in digits
    ]


def permutations(size: int, *, only_even: bool = False) -> Transitions:
    """Returns the automaton of products of permutations, the word problem of a group.

    The group is the symmetric one, or with `only_even` the alternating one. A state is the product
    so far, a symbol is the permutation that is applied next.
    """

    def is_even(elements: tuple[int, ...]) -> bool:
        pairs = itertools.combinations(elements, 2)
        return sum(first > second for first, second in pairs) % 2 == 0

    group = [p for p in itertools.permutations(range(size)) if is_even(p) or not only_even]
    index = {elements: i for i, elements in enumerate(group)}
    return [
        [index[tuple(state[i] for i in symbol)] for symbol in group]
        for state in group  # the first is the identity
    ]


PROBLEMS: dict[str, Callable[[], Transitions]] = {
    "parity": parity,
    "cycle": cycle_navigation,
    "arithmetic": modular_arithmetic,
    "s3": lambda: permutations(3),
    "a5": lambda: permutations(5, only_even=True),
}


@dataclass(frozen=True)
class StateTracking(SyntheticTask):
    """The state of a finite automaton after each of T symbols, which are drawn uniformly.

    The loss is the mean cross-entropy of the states of all time steps. The accuracy is that of the
    state after the last symbol, which needs all of them.
    """

    name: ClassVar[str] = "state_tracking"
    metric: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[bool] = True
    causal: ClassVar[bool] = True
    solved_at: ClassVar[float | None] = 0.99
    metric_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    problem: Axis[str] = axis(
        "parity",
        "`parity` of bits; `cycle`, a walk on a ring of 5; `arithmetic` modulo 5 from left to "
        "right; products in the groups `s3` (6 permutations) and `a5` (60)",
        choices=lambda: tuple(PROBLEMS),
        data=True,
    )
    length: Axis[int] = axis(40, "symbols of a sequence", low=1, high=100_000, data=True)

    def sample(self, key: jax.Array, count: int) -> Batch:
        """Returns `symbols` and the `states` after them, int32 [N,T] each."""
        import jax
        import jax.numpy as jnp

        table_SK = jnp.array(PROBLEMS[self.problem](), jnp.int32)
        symbols_NT = jax.random.randint(key, (count, self.length), 0, table_SK.shape[1])

        def read(state_N: jax.Array, symbol_N: jax.Array) -> tuple[jax.Array, jax.Array]:
            state_N = table_SK[state_N, symbol_N]
            return state_N, state_N

        _, states_TN = jax.lax.scan(read, jnp.zeros(count, jnp.int32), symbols_NT.T)
        return {"symbols": symbols_NT, "states": states_TN.T}

    def trivial_score(self, dataset: Dataset) -> float:
        """Returns the share of the last state that is most frequent in the test."""
        import numpy as np

        return float(np.bincount(dataset.test["states"][:, -1]).max() / len(dataset.test["states"]))

    def model_spec(self, metadata: dict[str, Any]) -> ModelSpec:
        table = PROBLEMS[self.problem]()
        return ModelSpec(len(table[0]), num_outputs=len(table), per_step_outputs=True)

    def symbol_counts(self) -> dict[str, int]:
        return {"symbols": len(PROBLEMS[self.problem]()[0])}

    def inputs(self, batch: Batch) -> Inputs:
        """Returns the one-hot symbol of each time step."""
        import jax
        import jax.numpy as jnp

        num_symbols = len(PROBLEMS[self.problem]()[0])
        return Inputs(jax.nn.one_hot(batch["symbols"].T, num_symbols, dtype=jnp.float32))

    def score_items(self, outputs: jax.Array, batch: Batch, *, training: bool) -> ItemScores:
        """Returns, for logits [T,B,S], the cross-entropy of each example, mean over time steps, and
        1 where the last state is right.
        """
        import jax
        import jax.numpy as jnp

        states_TB = batch["states"].T
        target_TBS = jax.nn.one_hot(states_TB, outputs.shape[-1], dtype=jnp.float32)
        loss_TB = -jnp.sum(target_TBS * jax.nn.log_softmax(outputs), axis=-1)
        # A mean as a product: a plain sum may be ordered by the number of threads.
        loss_B = jnp.full(self.length, 1 / self.length, jnp.float32) @ loss_TB
        is_right_B = (jnp.argmax(outputs[-1], axis=-1) == states_TB[-1]).astype(jnp.float32)
        return ItemScores(loss_B, is_right_B, jnp.ones_like(loss_B))
