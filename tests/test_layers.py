"""Both directions, residual sums, dropout, symbols, means over rows, widths, examples made anew.

One size for all: T = 4 rows, B = 4 sequences, H = 3 units.
"""

from __future__ import annotations

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
from lstm_jax.model.embedding import look_up
from lstm_jax.model.fuse import fuse_kernels
from lstm_jax.model.init import init_params
from lstm_jax.tasks.task import Inputs, ModelSpec, PerExample, Task
from lstm_jax.train.batches import bucket_index, group_by_bucket
from lstm_jax.train.sweep import Placement, build_programs

pytestmark = pytest.mark.usefixtures("fast_compile")

ROWS, BATCH, HIDDEN = 4, 4, 3
LENGTHS = jnp.array([4, 1, 3, 0], jnp.int32)


@dataclass(frozen=True)
class Sums(Task):
    """The sum of a sequence's numbers so far, at every row or of the symbols of a whole one."""

    name: ClassVar[str] = "sums"
    metric: ClassVar[str] = "squared_error"
    higher_is_better: ClassVar[bool] = False
    widths: ClassVar[tuple[int, ...]] = ()

    def model_spec(self, metadata):
        return ModelSpec(9, 1, mean_pool=True, token_inputs=True, bucket_lengths=self.widths)

    def example_lengths(self, batch):
        return batch["lengths"]

    def truncate(self, batch, width):
        return {**batch, "x": batch["x"][:, :width]}

    def inputs(self, batch):
        return Inputs(batch["x"].T, batch["lengths"])

    def per_example(self, outputs, batch, *, training):
        error = (outputs[:, 0] - batch["y"]) ** 2
        return PerExample(error, error, jnp.ones_like(error))


class Cut(Sums):
    widths = (2, 4)


class Fresh(Sums):
    online = True

    def sample(self, key, count):
        x = jax.random.randint(key, (count, ROWS), 0, 9)
        lengths = jnp.full(count, ROWS, jnp.int32)
        return {"x": x, "lengths": lengths, "y": x.sum(axis=1).astype(jnp.float32)}


class EveryRow(Sums):
    def model_spec(self, metadata):
        return ModelSpec(9, 1, per_step_outputs=True, token_inputs=True, carry_state=True)

    def inputs(self, batch):
        return Inputs(batch["x"].T)

    def per_example(self, outputs, batch, *, training):
        error = ((outputs[:, :, 0] - batch["y"][None]) ** 2).ravel()
        return PerExample(error, error, jnp.ones_like(error))


def data(count=60):
    """Sequences of symbols with lengths, half of them short."""
    rng = np.random.RandomState(0)
    lengths = np.where(np.arange(count) % 2, 2, 4).astype(np.int32)
    x = rng.randint(0, 9, (count, ROWS)).astype(np.int32)
    x = np.where(np.arange(ROWS) < lengths[:, None], x, 0)
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


def rows_of(seed=0):
    return jax.random.normal(jax.random.key(seed), (ROWS, BATCH, 2), jnp.float32)


def segment(member, dataset, steps=6):
    programs = build_programs(Placement((member,), 1, 1), dataset, steps)
    return programs, *programs.segment(programs.init(), 0, steps)


def test_reading_both_ways_is_reading_forwards_and_the_flipped_sequence_forwards():
    both = experiment(bidirectional=True, layers=1, cell="gru")
    spec, x_TBI = ModelSpec(2, 2, per_step_outputs=True), rows_of()
    params, out = run(both, spec, x_TBI, LENGTHS)
    halves = []
    for name, flipped in (("gru", False), ("gru_reverse", True)):
        one = experiment(layers=1, cell="gru")
        half = slice(HIDDEN, None) if flipped else slice(HIDDEN)
        kernel = params["output"]["kernel"][half]
        own = {"input": params["input"], "gru": params[name],
               "output": {"kernel": kernel, "bias": jnp.zeros(2)}}  # fmt: skip
        x = scan.flip(x_TBI, LENGTHS) if flipped else x_TBI
        y = _outputs(spec, one, own, Inputs(x, LENGTHS), None)
        halves.append(scan.flip(y, LENGTHS) if flipped else y)
    inside = np.arange(ROWS)[:, None] < np.asarray(LENGTHS)[None]
    want = halves[0] + halves[1] + params["output"]["bias"][None, None]
    np.testing.assert_allclose(np.asarray(out)[inside], np.asarray(want)[inside], atol=1e-5)


def test_a_residual_layer_hands_on_what_it_read_as_well():
    plain, residual = (experiment(residual=r, layers=2) for r in (False, True))
    spec, x_TBI = ModelSpec(2, 1), rows_of()
    params = init_params(plain, spec, jax.random.key(0))
    inputs = Inputs(x_TBI, LENGTHS)
    runs = {member.residual: layers_of(member, params, inputs) for member in (plain, residual)}
    below = layers_of(experiment(layers=1), params, inputs)
    np.testing.assert_allclose(runs[True].h_TBW, runs[False].h_TBW + below.h_TBW, atol=1e-6)
    some = np.asarray(LENGTHS) > 0
    last = runs[False].last_BW + below.last_BW
    np.testing.assert_allclose(np.asarray(runs[True].last_BW)[some], last[some], atol=1e-6)


def test_dropout_keeps_the_mean_drops_its_share_and_none_without_a_key():
    member = experiment(dropout=0.25)
    h = jnp.ones((200, 100))
    dropped = np.asarray(forward.dropout(member, jax.random.key(1), h))
    assert set(np.unique(dropped)) == {0.0, np.float32(1 / 0.75)}
    assert abs(dropped.mean() - 1) < 0.02
    assert forward.dropout(member, None, h) is h
    spec = ModelSpec(2, 1)
    whole, first, second = (run(member, spec, rows_of(), key=k)[1]
                            for k in (None, jax.random.key(1), jax.random.key(2)))  # fmt: skip
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(whole, run(experiment(), spec, rows_of())[1])


def test_a_table_is_looked_up_as_one_hot_products_look_it_up():
    table = jax.random.normal(jax.random.key(0), (9, HIDDEN))
    symbols = jnp.array([[3, 8, 3], [0, 3, 8]], jnp.int32)
    given = jax.random.normal(jax.random.key(1), (2, 3, HIDDEN))

    def by(function):
        return fast_jit(jax.value_and_grad(lambda t: jnp.sum(function(t) * given)))(table)

    one_hot = by(lambda t: jax.nn.one_hot(symbols, 9, dtype=jnp.float32) @ t)
    for ours, theirs in zip(by(lambda t: look_up(t, symbols)), one_hot, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_a_mean_over_rows_leaves_padding_out():
    h_TBW = rows_of()
    mean = np.asarray(forward.mean_over_time(h_TBW, LENGTHS))
    for column, length in enumerate(LENGTHS.tolist()):
        want = h_TBW[:length, column].mean(axis=0) if length else np.zeros(2)
        np.testing.assert_allclose(mean[column], want, atol=1e-6)


def test_batches_are_of_examples_alike_and_each_is_seen_once():
    order, width = jnp.arange(26, dtype=jnp.int32)[::-1], jnp.arange(26, dtype=jnp.int32) % 2
    alike = np.asarray(group_by_bucket(jax.random.key(0), order, width, 4))
    assert sorted(alike) == list(range(26))
    batches = alike[:24].reshape(6, 4) % 2
    assert (batches == batches[:, :1]).all(axis=1).sum() >= 5  # but for the one on the border
    assert set(alike[24:]) == {0, 1}  # by the order, not by width
    spec = ModelSpec(1, 1, bucket_lengths=(2, 4))
    assert bucket_index(spec, jnp.array([0, 2, 3, 4, 5], jnp.int32)).tolist() == [0, 0, 1, 1, 1]


@pytest.fixture(scope="module")
def trained():
    member = experiment(task=Cut(), dropout=0.2, layers=1)
    return member, segment(member, data())


def test_batches_cut_to_their_width_train_the_same_model(trained):
    member, (programs, state, metrics) = trained
    assert np.isfinite(metrics.loss).all()
    dataset = data()
    examples = {name: jnp.asarray(array) for name, array in dataset.test.items()}
    params = jax.tree.map(lambda leaf: leaf[0], state.params)
    want = _outputs(Sums().model_spec({}), member, params, Inputs(examples["x"].T, examples["lengths"]),
                    None)  # fmt: skip
    sums = programs.score(state.params, dataset.test)
    error = np.sum((np.asarray(want)[:, 0] - dataset.test["y"]) ** 2)
    np.testing.assert_allclose(sums.loss[0], error, rtol=1e-5)
    assert sums.weight[0] == 60


def test_examples_made_anew_differ_from_step_to_step_and_not_from_run_to_run():
    member = experiment(task=Fresh(), batch_size=64, total_examples=384, layers=1)
    (_, first, metrics), (_, again, _) = (segment(member, data()) for _ in range(2))
    assert len(set(np.asarray(metrics.loss)[0].tolist())) == 6
    for one, two in zip(jax.tree.leaves(first), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_carried_score_is_that_of_the_long_sequences():
    member = experiment(task=EveryRow(), layers=1)
    dataset = data(100)  # two blocks of 50: the second goes on where the first ended
    programs = build_programs(Placement((member,), 1, 1), dataset, 1)
    state = programs.init()
    sums = programs.score(state.params, dataset.test)
    params = jax.tree.map(lambda leaf: leaf[0], state.params)
    x, y = dataset.test["x"], dataset.test["y"]
    long_TB = jnp.asarray(np.concatenate([x[:50], x[50:]], axis=1).T)
    h_TBW = layers_of(member, params, Inputs(long_TB)).h_TBW
    out = np.asarray(forward.apply_head(fuse_kernels(member, params), h_TBW))[:, :, 0]
    want = np.sum((out[:ROWS] - y[None, :50]) ** 2) + np.sum((out[ROWS:] - y[None, 50:]) ** 2)
    np.testing.assert_allclose(sums.loss[0], want, rtol=1e-5)


def test_both_directions_are_refused_where_the_future_must_not_be_seen():
    class Causal(Sums):
        causal = True

    with pytest.raises(UserError, match=r"^bidirectional: the task sums must not see"):
        experiment(task=Causal(), bidirectional=True)
    with pytest.raises(UserError, match=r"^bidirectional: expected true or false, got 1$"):
        experiment(bidirectional=1)
    with pytest.raises(UserError, match=r"^dropout: 1 is not between"):
        experiment(dropout=1)
