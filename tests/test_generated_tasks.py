"""State tracking and recall: their targets equal those of plain Python, and their scores."""

import itertools
from functools import partial

import jax
import numpy as np
import pytest
from fast_compile import fast_jit

from lstm_jax import AssociativeRecall, Experiment, Induction, SelectiveCopying, StateTracking
from lstm_jax.data.dataset import say_nothing
from lstm_jax.errors import UserError
from lstm_jax.tasks.recall import COPY_SYMBOLS, NUM_COPIED, NUM_KEYS, NUM_VALUES
from lstm_jax.tasks.state_tracking import PROBLEMS

pytestmark = pytest.mark.usefixtures("fast_compile")

RECALL_TASKS = (
    AssociativeRecall(pairs=3, length=14),
    SelectiveCopying(length=20),
    Induction(length=9),
)


@partial(fast_jit, static_argnums=(0, 2))
def draw(task, key, count):
    return task.sample(key, count)


def sample(task, count=300):
    batch = draw(task, jax.random.key(3), count)
    return {name: np.asarray(array) for name, array in batch.items()}


@partial(fast_jit, static_argnums=0)
def scores(task, outputs, batch):
    return task.score_items(outputs, batch, training=True)


def logits_of(answers_TB, num_outputs):
    """Returns logits that are sure of the answers."""
    return 100 * np.eye(num_outputs, dtype=np.float32)[answers_TB]


def parity(state, symbol):
    return (state + symbol) % 2


def cycle(state, symbol):
    return (state + {0: 0, 1: 1, 2: -1}[symbol]) % 5


def arithmetic(state, symbol):
    operation, digit = divmod(symbol, 5)
    return (state + digit, state - digit, state * digit)[operation] % 5


@pytest.mark.parametrize("step", [parity, cycle, arithmetic], ids=lambda step: step.__name__)
def test_states_follow_from_all_symbols_before(step):
    batch = sample(StateTracking(problem=step.__name__, length=12))
    for symbols, states in zip(batch["symbols"], batch["states"], strict=True):
        assert list(itertools.accumulate(symbols, step, initial=0))[1:] == states.tolist()


@pytest.mark.parametrize(("problem", "size"), [("s3", 6), ("a5", 60)])
def test_a_word_problem_is_the_product_table_of_a_group(problem, size):
    table = np.array(PROBLEMS[problem]())
    everything = list(range(size))
    assert table.shape == (size, size)
    assert table[0].tolist() == everything  # the first state is the identity
    for line in (*table, *table.T):
        assert sorted(line.tolist()) == everything
    for a, b, c in np.random.default_rng(0).integers(size, size=(50, 3)):
        assert table[table[a, b], c] == table[a, table[b, c]]
    assert (table != table.T).any()  # the order of symbols matters


def test_tracking_is_scored_by_the_last_state():
    task = StateTracking(problem="s3", length=7)
    batch = sample(task, 20)
    right = logits_of(batch["states"].T, 6)
    loss, accuracy, _ = scores(task, right, batch)
    np.testing.assert_allclose(loss, 0, atol=1e-6)
    np.testing.assert_array_equal(accuracy, 1)
    early = right.copy()
    early[:-1] = 0  # knows nothing of the states before the last
    loss, accuracy, _ = scores(task, early, batch)
    np.testing.assert_allclose(loss, 6 / 7 * np.log(6), rtol=1e-5)
    np.testing.assert_array_equal(accuracy, 1)
    late = right.copy()
    late[-1] = logits_of((batch["states"][:, -1] + 1) % 6, 6)
    np.testing.assert_array_equal(scores(task, late, batch)[1], 0)


def test_the_values_of_keys_are_asked_for():
    batch = sample(RECALL_TASKS[0])
    for symbols, targets in zip(batch["symbols"], batch["targets"], strict=True):
        values = dict(zip(symbols[:6:2].tolist(), symbols[1:6:2].tolist(), strict=True))
        assert len(values) == 3
        asked = [t for t in range(6, 14) if symbols[t] != NUM_KEYS + NUM_VALUES]
        assert sorted(symbols[asked].tolist()) == sorted(values)  # each key once
        assert np.flatnonzero(targets >= 0).tolist() == asked
        for t in asked:
            assert NUM_KEYS + targets[t] == values[symbols[t]]
    assert len({tuple(np.flatnonzero(row >= 0)) for row in batch["targets"]}) > 30


def test_the_copied_symbols_lie_anywhere_and_are_asked_for_in_order():
    batch = sample(RECALL_TASKS[1])
    for symbols, targets in zip(batch["symbols"], batch["targets"], strict=True):
        assert symbols[symbols < COPY_SYMBOLS].tolist() == targets[-NUM_COPIED:].tolist()
        assert (symbols[-NUM_COPIED:] == COPY_SYMBOLS + 1).all()
        assert (targets[:-NUM_COPIED] == -1).all()
    assert ((batch["symbols"][:, :20] < COPY_SYMBOLS).mean(axis=0) < 1).all()


def test_the_symbol_after_the_special_one_is_asked_for_at_the_end():
    batch = sample(RECALL_TASKS[2])
    for symbols, targets in zip(batch["symbols"], batch["targets"], strict=True):
        first, last = np.flatnonzero(symbols == 15)
        assert last == 8
        assert targets.tolist() == [-1] * 8 + [symbols[first + 1]]


@pytest.mark.parametrize("task", RECALL_TASKS, ids=lambda task: task.name)
def test_recall_counts_the_time_steps_that_ask(task):
    batch = sample(task, 40)
    num_targets = task.model_spec({}).num_outputs
    answers_TB = np.maximum(batch["targets"].T, 0)
    loss, recall, _ = scores(task, logits_of(answers_TB, num_targets), batch)
    np.testing.assert_allclose(loss, 0, atol=1e-6)
    np.testing.assert_allclose(recall, 1, rtol=1e-6)
    loss, recall, _ = scores(task, 0 * logits_of(answers_TB, num_targets), batch)
    np.testing.assert_allclose(loss, np.log(num_targets), rtol=1e-5)
    wrong = logits_of((answers_TB + 1) % num_targets, num_targets)
    np.testing.assert_array_equal(scores(task, wrong, batch)[1], 0)


@pytest.mark.parametrize("task", [StateTracking(problem="a5"), *RECALL_TASKS], ids=lambda t: t.name)
def test_the_trivial_score_is_that_of_a_constant_answer(task):
    dataset = task.load(say_nothing)
    assert dataset.fingerprint == task.load(say_nothing).fingerprint
    chance = 1 / task.model_spec({}).num_outputs
    assert chance < task.trivial_score(dataset) < 2.2 * chance
    inputs = task.inputs({name: array[:2] for name, array in dataset.test.items()})
    assert inputs.x_TBI.shape[2] == task.model_spec({}).num_features
    assert (np.asarray(inputs.x_TBI).sum(axis=2) == 1).all()


def test_pairs_that_do_not_fit_are_one_line():
    with pytest.raises(UserError, match=r"^task\.length: 8 pairs .* need 24 time steps, not 20$"):
        Experiment(task=AssociativeRecall(pairs=8, length=20))
