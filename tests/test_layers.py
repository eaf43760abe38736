"""Models around the cells: both directions, dropout, tables of symbols, means
over time, length buckets, sampled examples, carried states.

One size for all: T = 4 time steps, B = 4 sequences, H = 3 units.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fast_compile import fast_jit

from lstm_jax.cells import scan
from lstm_jax.config.experiment import Experiment
from lstm_jax.data.dataset import make_dataset
from lstm_jax.errors import UserError
from lstm_jax.model import forward
from lstm_jax.model.dropout import dropout
from lstm_jax.model.embedding import look_up
from lstm_jax.model.fused_params import fuse_kernels
from lstm_jax.model.init import init_params
from lstm_jax.tasks.task import Inputs, ItemScores, ModelSpec, Task
from lstm_jax.train.batches import bucket_index, group_by_bucket
from lstm_jax.train.placement import Placement, build_programs

pytestmark = pytest.mark.usefixtures("fast_compile")

NUM_STEPS, BATCH, HIDDEN = 4, 4, 3
LENGTHS = jnp.array([4, 1, 3, 0], jnp.int32)


@dataclass(frozen=True)
class Sums(Task):
    """A task of tests: the sum of a sequence's symbols."""

    name: ClassVar[str] = "sums"
    metric: ClassVar[str] = "squared_error"
    higher_is_better: ClassVar[bool] = False
    widths: ClassVar[tuple[int, ...]] = ()

    def model_spec(self, metadata):
        return ModelSpec(9, 1, mean_pool=True, token_inputs=True, bucket_lengths=self.widths)

    def example_lengths(self, batch):
        return batch["lengths"]

    def truncate(self, batch, length):
        return {**batch, "x": batch["x"][:, :length]}

    def inputs(self, batch):
        return Inputs(batch["x"].T, batch["lengths"])

    def score_items(self, outputs, batch, *, training):
        error = (outputs[:, 0] - batch["y"]) ** 2
        return ItemScores(error, error, jnp.ones_like(error))


class Bucketed(Sums):
    widths = (2, 4)


class Online(Sums):
    online = True

    def sample(self, key, count):
        x = jax.random.randint(key, (count, NUM_STEPS), 0, 9)
        lengths = jnp.full(count, NUM_STEPS, jnp.int32)
        return {"x": x, "lengths": lengths, "y": x.sum(axis=1).astype(jnp.float32)}


class RunningSums(Sums):
    """The sum is asked for at every time step."""

    def model_spec(self, metadata):
        return ModelSpec(9, 1, per_step_outputs=True, token_inputs=True, carry_state=True)

    def inputs(self, batch):
        return Inputs(batch["x"].T)

    def score_items(self, outputs, batch, *, training):
        error = ((outputs[:, :, 0] - batch["y"][None]) ** 2).ravel()
        return ItemScores(error, error, jnp.ones_like(error))


def data(count=60):
    """Returns sequences of symbols with lengths; half of them are short."""
    rng = np.random.RandomState(0)
    lengths = np.where(np.arange(count) % 2, 2, 4).astype(np.int32)
    x = rng.randint(0, 9, (count, NUM_STEPS)).astype(np.int32)
    x = np.where(np.arange(NUM_STEPS) < lengths[:, None], x, 0)
    split = {"x": x, "lengths": lengths, "y": x.sum(axis=1).astype(np.float32)}
    return make_dataset("sums", split, split, split)


def experiment(**fields):
    return Experiment(**{
        "task": Sums(), "hidden_size": HIDDEN, "batch_size": 4, "microbatches": 2, "layers": 2,
        "kernel_init": "orthogonal", "total_examples": 24, **fields,
    })  # fmt: skip


@partial(fast_jit, static_argnums=0)
def _outputs(spec, member, params, inputs, key):
    return forward.apply_model(member, spec, fuse_kernels(member, params), inputs, key)


@partial(fast_jit, static_argnums=0)
def layers_of(member, params, inputs):
    return forward.run_layers(member, fuse_kernels(member, params), inputs, keep_outputs=True)


def run(member, spec, x_TBI, lengths=None, key=None):
    params = init_params(member, spec, jax.random.key(3))
    return params, _outputs(spec, member, params, Inputs(x_TBI, lengths), key)


def normal_inputs():
    return jax.random.normal(jax.random.key(0), (NUM_STEPS, BATCH, 2), jnp.float32)


def segment(member, dataset, steps=6):
    programs = build_programs(Placement((member,), 1, 1), dataset, steps)
    return programs, *programs.segment(programs.init(), 0, steps)


def test_a_bidirectional_model_equals_two_models_one_on_flipped_sequences():
    both = experiment(bidirectional=True, layers=1, cell="gru")
    spec, x_TBI = ModelSpec(2, 2, per_step_outputs=True), normal_inputs()
    params, out = run(both, spec, x_TBI, LENGTHS)
    halves = []
    for name, flipped in (("gru", False), ("gru_reverse", True)):
        member = experiment(layers=1, cell="gru")
        half = slice(HIDDEN, None) if flipped else slice(HIDDEN)
        head = {"kernel": params["output"]["kernel"][half], "bias": jnp.zeros(2)}
        own = {"input": params["input"], "gru": params[name], "output": head}
        x = scan.flip(x_TBI, LENGTHS) if flipped else x_TBI
        y = _outputs(spec, member, own, Inputs(x, LENGTHS), None)
        halves.append(scan.flip(y, LENGTHS) if flipped else y)
    inside = np.arange(NUM_STEPS)[:, None] < np.asarray(LENGTHS)[None]
    want = halves[0] + halves[1] + params["output"]["bias"][None, None]
    np.testing.assert_allclose(np.asarray(out)[inside], np.asarray(want)[inside], atol=1e-5)


def test_dropout_keeps_the_mean_and_drops_nothing_without_a_key():
    member = experiment(dropout=0.25)
    h = jnp.ones((200, 100))
    dropped = np.asarray(dropout(member, jax.random.key(1), h))
    assert set(np.unique(dropped)) == {0.0, np.float32(1 / 0.75)}
    assert abs(dropped.mean() - 1) < 0.02
    assert dropout(member, None, h) is h
    spec = ModelSpec(2, 1)
    whole, first, second = (run(member, spec, normal_inputs(), key=k)[1]
                            for k in (None, jax.random.key(1), jax.random.key(2)))  # fmt: skip
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(whole, run(experiment(), spec, normal_inputs())[1])


def test_zoneout_draws_masks_by_key_and_takes_the_expectation_without_one():
    member, spec = experiment(zoneout=0.5, bidirectional=True), ModelSpec(2, 1)
    keys = None, jax.random.key(1), jax.random.key(2)
    whole, first, second = (run(member, spec, normal_inputs(), LENGTHS, key=k)[1] for k in keys)
    assert not np.array_equal(first, second)
    assert not np.array_equal(whole, first)
    plain = run(experiment(bidirectional=True), spec, normal_inputs(), LENGTHS)[1]
    assert not np.array_equal(whole, plain)


CELL_WITH_A_BLOCK_OF_H = """
import jax
import jax.numpy as jnp
from lstm_jax.cells.cell import Block, Cell

def pointwise(z, state, extra):
    g, n = jnp.split(z, 2, axis=1)
    return (jax.nn.sigmoid(g) * state[0] + jnp.tanh(n),)

cell = Cell("mine", ("g", "n"), pointwise, blocks=(Block("g", "h"), Block("n", bias=False)),
            bias_init={"g": jax.nn.initializers.ones})
"""


def test_fused_kernels_equal_layer_after_layer_where_a_block_reads_only_h(tmp_path):
    """The bias of the first dense layer must not reach the block g. The block n has none itself."""
    (tmp_path / "mine.py").write_text(CELL_WITH_A_BLOCK_OF_H)
    member = experiment(cell=f"{tmp_path}/mine.py:cell", layers=1)
    x_TBI = normal_inputs()
    params, out_BO = run(member, ModelSpec(2, 1), x_TBI)
    dense, head = params["input"], params["output"]
    g, n = jnp.split(params["mine"]["kernel"], 2, axis=1)
    np.testing.assert_array_equal(params["mine"]["bias"], np.ones(HIDDEN))
    h_BH = jnp.zeros((BATCH, HIDDEN))
    for x_BI in x_TBI:
        x_BH = x_BI @ dense["kernel"] + dense["bias"][None]
        z_g = h_BH @ g[HIDDEN:] + params["mine"]["bias"][None]
        z_n = jnp.concatenate([x_BH, h_BH], axis=1) @ n
        h_BH = jax.nn.sigmoid(z_g) * h_BH + jnp.tanh(z_n)
    np.testing.assert_allclose(out_BO, h_BH @ head["kernel"] + head["bias"][None], atol=1e-5)


def test_a_look_up_and_its_gradient_equal_one_hot_products():
    table = jax.random.normal(jax.random.key(0), (9, HIDDEN))
    symbols = jnp.array([[3, 8, 3], [0, 3, 8]], jnp.int32)
    weights = jax.random.normal(jax.random.key(1), (2, 3, HIDDEN))

    def value_and_gradient(function):
        return fast_jit(jax.value_and_grad(lambda t: jnp.sum(function(t) * weights)))(table)

    actual = value_and_gradient(lambda t: look_up(t, symbols))
    one_hot = value_and_gradient(lambda t: jax.nn.one_hot(symbols, 9, dtype=jnp.float32) @ t)
    for ours, theirs in zip(actual, one_hot, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_a_mean_over_time_leaves_padding_out():
    h_TBW = normal_inputs()
    mean = np.asarray(forward.mean_over_time(h_TBW, LENGTHS))
    for column, length in enumerate(LENGTHS.tolist()):
        want = h_TBW[:length, column].mean(axis=0) if length else np.zeros(2)
        np.testing.assert_allclose(mean[column], want, atol=1e-6)


def test_batches_hold_examples_of_one_bucket_and_each_example_once():
    order, bucket = jnp.arange(26, dtype=jnp.int32)[::-1], jnp.arange(26, dtype=jnp.int32) % 2
    grouped = np.asarray(group_by_bucket(jax.random.key(0), order, bucket, 4))
    assert sorted(grouped) == list(range(26))
    batches = grouped[:24].reshape(6, 4) % 2
    assert (batches == batches[:, :1]).all(axis=1).sum() >= 5  # one may hold both buckets
    assert set(grouped[24:]) == {0, 1}  # the last ones of the order, of any bucket
    spec = ModelSpec(1, 1, bucket_lengths=(2, 4))
    assert bucket_index(spec, jnp.array([0, 2, 3, 4, 5], jnp.int32)).tolist() == [0, 0, 1, 1, 1]


@pytest.fixture(scope="module")
def trained():
    member = experiment(task=Bucketed(), dropout=0.2, layers=1)
    return member, segment(member, data())


def test_scores_of_truncated_batches_equal_those_of_whole_ones(trained):
    member, (programs, state, metrics) = trained
    assert np.isfinite(metrics.loss).all()
    dataset = data()
    examples = {name: jnp.asarray(array) for name, array in dataset.test.items()}
    params = jax.tree.map(lambda leaf: leaf[0], state.params)
    inputs = Inputs(examples["x"].T, examples["lengths"])
    want = _outputs(Sums().model_spec({}), member, params, inputs, None)
    sums = programs.score(state.params, dataset.test)
    error = np.sum((np.asarray(want)[:, 0] - dataset.test["y"]) ** 2)
    np.testing.assert_allclose(sums.loss[0], error, rtol=1e-5)
    assert sums.weight[0] == 60


def test_sampled_examples_differ_between_steps_and_not_between_runs():
    member = experiment(task=Online(), batch_size=64, total_examples=384, layers=1)
    (_, first, metrics), (_, again, _) = (segment(member, data()) for _ in range(2))
    assert len(set(np.asarray(metrics.loss)[0].tolist())) == 6
    jax.tree.map(np.testing.assert_array_equal, first, again)


def test_a_score_with_carried_states_equals_that_of_the_long_sequences():
    member = experiment(task=RunningSums(), layers=1)
    dataset = data(100)  # two blocks of 50: the second continues the sequences of the first
    programs = build_programs(Placement((member,), 1, 1), dataset, 1)
    state = programs.init()
    sums = programs.score(state.params, dataset.test)
    params = jax.tree.map(lambda leaf: leaf[0], state.params)
    x, y = dataset.test["x"], dataset.test["y"]
    long_TB = jnp.asarray(np.concatenate([x[:50], x[50:]], axis=1).T)
    h_TBW = layers_of(member, params, Inputs(long_TB)).h_TBW
    out = np.asarray(forward.apply_head(member, fuse_kernels(member, params), h_TBW))[:, :, 0]
    want = np.sum((out[:NUM_STEPS] - y[None, :50]) ** 2) + np.sum(
        (out[NUM_STEPS:] - y[None, 50:]) ** 2
    )
    np.testing.assert_allclose(sums.loss[0], want, rtol=1e-5)


def test_a_bidirectional_model_is_refused_where_a_task_is_causal():
    class Causal(Sums):
        causal = True

    with pytest.raises(UserError, match=r"^bidirectional: the task Causal must not read later"):
        experiment(task=Causal(), bidirectional=True)
    with pytest.raises(UserError, match=r"^bidirectional: expected true or false, got 1$"):
        experiment(bidirectional=1)
    with pytest.raises(UserError, match=r"^dropout: 1 is not between"):
        experiment(dropout=1)


@pytest.mark.parametrize(
    ("fields", "spec", "says"),
    [
        ({}, ModelSpec(3, 1), "^$"),
        ({}, ModelSpec(3, 1, mean_pool=True), "reads the mean"),
        ({"bidirectional": True}, ModelSpec(3, 1), "plain blocks that all read forwards"),
    ],
)
def test_the_reason_why_gates_are_not_shown_is_that_of_the_model(fields, spec, says):
    member = Experiment(hidden_size=2, **fields)
    assert re.search(says, forward.why_not_traced(member, spec))
