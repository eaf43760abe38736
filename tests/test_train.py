"""Training: learns what can be learned, sums in a fixed order, starts as it always has."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lstm_jax import Experiment
from lstm_jax.data.load import Dataset, Split, load
from lstm_jax.experiment import Member
from lstm_jax.train.model import RowLSTM
from lstm_jax.train.step import (
    Recipe,
    evaluate,
    init_state,
    rate_factor,
    shift_images,
    train_step,
)
from lstm_jax.train.sweep import Placement, build


@pytest.fixture(scope="module")
def digits():
    return load("digits")


initial = jax.jit(init_state, static_argnums=0)
step = jax.jit(train_step, static_argnums=(0, 1))  # one program for all tests of a recipe
shifted = jax.jit(shift_images, static_argnums=2)


def start(dataset, hidden_size=16):
    model = RowLSTM(hidden_size=hidden_size, num_features=dataset.train.images.shape[2])
    batch = jax.tree.map(lambda a: jnp.asarray(a[:32]), tuple(dataset.train))
    return model, initial(model, jnp.uint32(0)), batch


def test_a_step_is_adam_on_the_mean_cross_entropy(digits):
    """Against the plain form: one batch, integer labels, optax's own Adam."""
    model, state, (images, labels) = start(digits)

    def loss_of(params):
        logits = model.apply({"params": params}, images.astype(jnp.float32) / 255)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    loss, gradient = jax.jit(jax.value_and_grad(loss_of))(state.params)
    adam = optax.adam(3e-3)
    with jax.numpy_dtype_promotion("standard"):
        updates, _ = adam.update(gradient, adam.init(state.params))
    recipe = Recipe(32, 4, 100)
    after, metrics = step(model, recipe, state, images, labels, jnp.float32(3e-3), jnp.int32(0))
    np.testing.assert_allclose(metrics.loss, loss, rtol=1e-5)
    # Adam's first step is the sign of the gradient: compared where that is no rounding.
    wanted = optax.apply_updates(state.params, updates)
    for got, want, slope in zip(
        *map(jax.tree.leaves, (after.params, wanted, gradient)), strict=True
    ):
        clear = np.abs(slope) > 1e-5
        np.testing.assert_allclose(got[clear], want[clear], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("chunks", [1, 2, 8, 32])
def test_chunks_change_the_gradient_by_rounding_only(digits, chunks):
    model, state, (images, labels) = start(digits)
    one, other = (
        step(model, Recipe(32, c, 100), state, images, labels, jnp.float32(1e-3), jnp.int32(0))
        for c in (4, chunks)
    )
    for a, b in zip(
        jax.tree.leaves(one[0].adam.mu), jax.tree.leaves(other[0].adam.mu), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_a_state_that_is_not_finite_stays_as_it_was(digits):
    model, state, (images, labels) = start(digits)
    broken = jax.tree.map(lambda leaf: leaf, state)
    broken.params["output"]["bias"] = broken.params["output"]["bias"].at[0].set(jnp.nan)
    take = partial(step, model, Recipe(32, 4, 100))
    after, metrics = take(broken, images, labels, jnp.float32(1e-3), jnp.int32(7))
    assert np.isnan(metrics.loss)
    assert after.diverged_at == 7
    later, _ = take(after, images, labels, jnp.float32(1e-3), jnp.int32(8))
    assert later.diverged_at == 7
    for a, b in zip(jax.tree.leaves(later.params), jax.tree.leaves(broken.params), strict=True):
        np.testing.assert_array_equal(a, b)


def test_evaluation_counts_every_example_once(digits):
    """137 examples fill no whole number of blocks."""
    model, state, _ = start(digits)
    images, labels = (jnp.asarray(array[:137]) for array in digits.train)
    logits = jax.jit(model.apply)({"params": state.params}, images.astype(jnp.float32) / 255)
    score = jax.jit(partial(evaluate, model))(state.params, images, labels)
    assert score.correct == jnp.sum(jnp.argmax(logits, -1) == labels)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    np.testing.assert_allclose(score.loss, losses.mean(), rtol=1e-5)


def first_bright_row(num_examples, seed):
    """A probe whose answer is known: the class is the one bright row among dark noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 8, num_examples).astype(np.int32)
    images = rng.integers(0, 60, (num_examples, 8, 8)).astype(np.uint8)
    images[np.arange(num_examples), labels] += 180
    return Split(images, labels)


def test_a_probe_whose_answer_is_known_is_learned_whole():
    probe = Dataset("probe", *(first_bright_row(n, n) for n in (960, 96, 384)), 8, "", (8, 8))
    experiment = Experiment(batch_size=32, chunks=2)
    programs = build(experiment, Placement((Member(32, 1e-2, 0),), 1, 1), probe, 300)
    state, metrics = programs.segment(programs.init(), 0, 300)
    assert np.asarray(programs.score(state.params, probe.test).correct) == [384]
    loss = np.asarray(metrics.loss)[0]
    assert loss[-1] < loss[0] / 20


GOLDEN_LOSSES = [2.799574, 3.462831, 2.810111, 2.874076, 2.643017]


def test_golden_first_steps(digits):
    """The losses of the first steps of `digits`, as they have been since the first release.

    Change them only with a change that is meant to alter training (initial values, batch order,
    loss, optimiser), and say so in the commit: every result published before is then another one.
    """
    experiment = Experiment(dataset="digits", hidden_size=16, batch_size=32, chunks=4)
    programs = build(experiment, Placement((Member(16, 1e-3, 0),), 1, 1), digits, 5)
    _, metrics = programs.segment(programs.init(), 0, 5)
    np.testing.assert_allclose(np.asarray(metrics.loss)[0], GOLDEN_LOSSES, rtol=2e-4)


@pytest.mark.parametrize("warmup", [0, 1, 10])
def test_the_rate_rises_then_falls_to_zero(warmup):
    recipe = Recipe(32, 4, 100, schedule="cosine", warmup_steps=warmup)
    factors = np.asarray(jax.vmap(partial(rate_factor, recipe))(jnp.arange(101, dtype=jnp.int32)))
    peak = int(np.argmax(factors))
    assert factors[peak] == 1.0
    assert max(warmup - 1, 0) <= peak <= warmup
    assert np.all(factors[:100] > 0)
    assert np.all(np.diff(factors[: peak + 1]) > 0)
    assert np.all(np.diff(factors[max(peak, warmup) :]) < 0)
    assert factors[100] == pytest.approx(0, abs=1e-6)


def test_a_constant_rate_is_exactly_the_learning_rate():
    assert rate_factor(Recipe(32, 4, 100), jnp.int32(7)) == 1.0


def test_a_shift_moves_each_image_as_a_whole_and_loses_only_its_edge():
    images = np.zeros((200, 8, 8), np.uint8)
    images[:, 4, 3] = 7
    moved = np.asarray(shifted(jax.random.key(0), jnp.asarray(images), 2))
    assert (moved.shape, moved.dtype) == (images.shape, np.uint8)
    assert np.all(moved.sum(axis=(1, 2)) == 7)
    _, rows, columns = np.nonzero(moved)
    seen = set(zip(rows - 4, columns - 3, strict=True))
    assert seen == {(i, j) for i in range(-2, 3) for j in range(-2, 3)}


def test_a_shift_moves_the_channels_of_a_pixel_together():
    images = np.arange(1, 4 * 12 + 1, dtype=np.uint8).reshape(1, 4, 12)  # 4 x 4 pixels of 3
    for seed in range(20):
        moved = np.asarray(shifted(jax.random.key(seed), jnp.asarray(images), 1))[0]
        pixels = {tuple(pixel) for pixel in moved.reshape(-1, 3)}
        assert pixels <= {tuple(pixel) for pixel in images.reshape(-1, 3)} | {(0, 0, 0)}


def test_clipping_bounds_the_gradient_adam_sees(digits):
    model, state, (images, labels) = start(digits)
    arguments = (state, images, labels, jnp.float32(1e-3), jnp.int32(0))
    free, clipped = (
        step(model, Recipe(32, 4, 100, clip_norm=bound), *arguments)[0] for bound in (1e6, 0.5)
    )
    assert optax.tree.norm(free.adam.mu) > 0.06  # mu is a tenth of the first gradient
    np.testing.assert_allclose(optax.tree.norm(clipped.adam.mu), 0.05, rtol=1e-5)


def test_weight_decay_shrinks_what_the_gradient_leaves_alone(digits):
    model, state, (images, labels) = start(digits)
    recipe = Recipe(32, 4, 100, weight_decay=0.5)
    after, _ = step(model, recipe, state, images * 0, labels, jnp.float32(0.1), jnp.int32(0))
    before = state.params["input"]["kernel"]  # of black images it gets no gradient
    np.testing.assert_allclose(after.params["input"]["kernel"], before * 0.95, rtol=1e-6)


def test_orthogonal_recurrent_kernels_keep_lengths():
    model = RowLSTM(hidden_size=16, num_features=8, kernel_init="orthogonal")
    kernel = initial(model, jnp.uint32(0)).params["lstm"]["kernel"]
    for gate in np.split(np.asarray(kernel[16:]), 4, axis=1):
        np.testing.assert_allclose(gate @ gate.T, np.eye(16), atol=1e-5)


def test_chrono_initialisation_spreads_memories_up_to_its_span():
    model = RowLSTM(hidden_size=500, num_features=2, chrono_steps=784)
    bias = initial(model, jnp.uint32(0)).params["lstm"]["bias"]
    i, g, f, o = np.split(np.exp(np.asarray(bias)), 4)
    np.testing.assert_allclose(i * f, 1, rtol=1e-5)
    np.testing.assert_array_equal(np.concatenate([g, o]), 1)
    assert 1 <= f.min() < 40 < 740 < f.max() <= 783.1
    assert abs(f.mean() - 392) < 40  # uniform
    plain = initial(model.clone(chrono_steps=0), jnp.uint32(0)).params["lstm"]["bias"]
    assert not plain.any()
