"""Training equals a plain implementation, and traced numbers act as constants do."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from axis_names import checked
from fast_compile import fast_jit
from textbook import assert_close, assert_equal, textbook, weighted

from lstm_jax.cells import scan, scan_vjp
from lstm_jax.config.experiment import Experiment
from lstm_jax.data.dataset import make_dataset
from lstm_jax.errors import UserError
from lstm_jax.model import forward
from lstm_jax.model.fused_params import fuse_kernels
from lstm_jax.model.layer import CellLayer
from lstm_jax.optim import SGD, AdamW, Constant, Cosine
from lstm_jax.tasks.images import Images, shift_images
from lstm_jax.tasks.task import Inputs, ItemScores, ModelSpec, Task
from lstm_jax.train.placement import stack_fields
from lstm_jax.train.step import EVALUATION_BLOCK, evaluate, init_state, train_segment, train_step

SMALL = {"hidden_size": 8, "batch_size": 16, "microbatches": 2, "total_examples": 1600}
DIGITS = Images(dataset="digits")
initial = fast_jit(init_state, static_argnums=0)
step = fast_jit(train_step, static_argnums=0)  # one program for all members of a group
score = fast_jit(evaluate, static_argnums=0)
shifted = fast_jit(shift_images, static_argnums=2)


def small(**values):
    return Experiment(**{"task": DIGITS, **SMALL, **values})


def arrays(member):
    """Returns a member as it enters a program: its traced fields are arrays []."""
    return jax.tree.map(lambda a: a[0], stack_fields([member]))


@pytest.fixture(scope="module")
def batch(digits):
    return {name: jnp.asarray(array[:16]) for name, array in digits.train.items()}


SPEC = ModelSpec(num_features=8, num_outputs=10)


def initial_state(member, spec=SPEC):
    return initial(spec, arrays(member))


def state_after_steps(member, batch, steps=3, spec=SPEC, compiled_in=False):
    """Returns the state after some steps on the same batch, and the metrics of the last step."""
    state = initial_state(member, spec)
    if compiled_in:  # every number a constant of the program
        numbers = arrays(member)
        take = fast_jit(lambda state, step: train_step(spec, numbers, state, batch, step))
    else:
        take = lambda state, number: step(spec, arrays(member), state, batch, number)  # noqa: E731
    for number in range(steps):
        state, metrics = take(state, jnp.int32(number))
    return state, metrics


# The model equals the notebook's graph and the formulas.


def notebook_logits(params, x_TBI, forget_bias):
    """Returns the logits of the notebook's graph, a `BasicLSTMCell` with gates i, j, f, o."""
    layer = params["input"]
    x_TBH = x_TBI @ layer["kernel"] + layer["bias"][None, None]
    c = h = jnp.zeros_like(x_TBH[0])

    def time_step(state, x_BH):
        c, h = state
        gates = jnp.concatenate([x_BH, h], axis=1) @ params["lstm"]["kernel"]
        i, j, f, o = jnp.split(gates + params["lstm"]["bias"][None], 4, axis=1)
        c = c * jax.nn.sigmoid(f + forget_bias) + jax.nn.sigmoid(i) * jnp.tanh(j)
        return (c, jnp.tanh(c) * jax.nn.sigmoid(o)), None

    (_, h), _ = jax.lax.scan(time_step, (c, h), x_TBH)
    return h @ params["output"]["kernel"] + params["output"]["bias"][None]


def noisy(params):
    """Adds noise to the parameters, so that no number is zero."""
    rng = np.random.default_rng(9)
    return jax.tree.map(lambda a: np.float32(a + 0.3 * rng.normal(size=a.shape)), params)


def uniform(*shape):
    return np.random.default_rng(1).random(shape, np.float32)


def fused_outputs(member, spec, params, x_TBI):
    return forward.apply_model(member, spec, fuse_kernels(member, params), Inputs(x_TBI))


def test_the_fused_model_equals_the_notebooks_graph():
    """Compares the outputs and the gradients of all parameters."""
    params, x_TBI = noisy(initial_state(small()).params), uniform(3, 7, 8)

    def value_and_gradient(function):
        def scalar(params, argument):
            result = function(params, argument)
            return weighted(result), result

        return fast_jit(jax.value_and_grad(scalar, has_aux=True))

    ours = value_and_gradient(lambda p, member: fused_outputs(member, SPEC, p, x_TBI))
    notebooks = value_and_gradient(lambda p, forget_bias: notebook_logits(p, x_TBI, forget_bias))
    for bias in (0.0, 1.0):
        assert_close(ours(params, arrays(small(forget_bias=bias))), notebooks(params, bias))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_stacked_layers_equal_the_formulas_one_upon_the_other(cell):
    """`test_linen.py` compares a layer with Flax's, on the same weights."""
    member, x_TBI = small(cell=cell, layers=2, forget_bias=0.0), uniform(4, 5, 8)
    params = noisy(initial_state(member, ModelSpec(8, 3)).params)
    assert set(params) == {"input", cell, f"{cell}_1", "output"}

    def dense(name, x):
        return x @ params[name]["kernel"] + params[name]["bias"][None, None]

    h_TBH = dense("input", x_TBI)
    for name in (cell, f"{cell}_1"):
        kernel, bias = params[name]["kernel"], params[name]["bias"]
        h_TBH, _ = fast_jit(partial(textbook, cell))((kernel[:8], kernel[8:], bias, {}), h_TBH)
    out_TBO = dense("output", h_TBH)
    for per_step_outputs, out in ((True, out_TBO), (False, out_TBO[-1])):
        spec = ModelSpec(8, 3, per_step_outputs)
        assert_close(fast_jit(partial(fused_outputs, member, spec))(params, x_TBI), out)


def test_the_baseline_is_initialised_as_in_the_notebook():
    member = Experiment(hidden_size=64)
    params = initial_state(member, ModelSpec(28, 10)).params
    shapes = {
        "input": {"kernel": (28, 64), "bias": (64,)},
        "lstm": {"kernel": (128, 256), "bias": (256,)},
        "output": {"kernel": (64, 10), "bias": (10,)},
    }
    assert jax.tree.map(jnp.shape, params) == shapes
    for name in ("input", "output"):
        np.testing.assert_array_equal(params[name]["bias"], np.float32(0.1))
        assert abs(float(jnp.std(params[name]["kernel"])) - 1) < 0.1
    limit = np.sqrt(6 / (128 + 256))
    assert 0.99 * limit < float(jnp.max(jnp.abs(params["lstm"]["kernel"]))) <= limit
    assert not np.any(params["lstm"]["bias"])


def test_orthogonal_recurrent_kernels_keep_lengths():
    kernel = initial_state(small(kernel_init="orthogonal")).params["lstm"]["kernel"]
    for gate in np.split(np.asarray(kernel[8:]), 4, axis=1):
        np.testing.assert_allclose(gate @ gate.T, np.eye(8), atol=1e-5)


def test_chrono_initialisation_spreads_time_scales_up_to_its_span():
    member = small(hidden_size=500, chrono_steps=784)
    bias = initial_state(member, ModelSpec(2, 2)).params["lstm"]["bias"]
    i, g, f, o = np.split(np.exp(np.asarray(bias)), 4)
    np.testing.assert_allclose(i * f, 1, rtol=1e-5)
    np.testing.assert_array_equal(np.concatenate([g, o]), 1)
    assert 1 <= f.min() < 40 < 740 < f.max() <= 783.1
    assert abs(f.mean() - 392) < 40  # uniform
    plain = initial_state(small(hidden_size=500), ModelSpec(2, 2)).params["lstm"]["bias"]
    assert not plain.any()
    gru = initial_state(member.replace({"cell": "gru"}), ModelSpec(2, 2)).params["gru"]["bias"]
    r, u, n_h, n_x = np.split(np.exp(np.asarray(gru)), 4)
    assert 1 <= u.min() < 40 < 740 < u.max() <= 783.1
    np.testing.assert_array_equal(np.concatenate([r, n_h, n_x]), 1)


# A step equals one of optax on the plain model.


OPTIMIZERS = {
    "adam": lambda m: optax.adam(m.learning_rate),
    "adamw": lambda m: optax.adamw(m.learning_rate, weight_decay=m.optimizer.weight_decay),
    "sgd": lambda m: optax.sgd(m.learning_rate, momentum=m.optimizer.momentum),
    "rmsprop": lambda m: optax.rmsprop(m.learning_rate, decay=0.9, eps=1e-8),
}
MEMBERS = {
    "adam": small(learning_rate=3e-3),
    "adamw": small(optimizer=AdamW(weight_decay=0.3), learning_rate=3e-3),
    "sgd": small(optimizer=SGD(momentum=0.7), learning_rate=0.1),
    "rmsprop": small(optimizer="rmsprop", learning_rate=3e-3),
    "clipped": small(optimizer="sgd", learning_rate=0.1, clip_norm=0.5),
    "smoothed": small(task=replace(DIGITS, label_smoothing=0.2), optimizer="sgd"),
}


@fast_jit
def plain_gradient(params, batch, smoothing):
    """Returns ((loss, logits), gradient) of the notebook's graph on a whole batch."""
    x_TBI = (batch["images"].astype(jnp.float32) / 255).swapaxes(0, 1)

    def loss_of(params):
        logits = notebook_logits(params, x_TBI, 1.0)
        target = optax.smooth_labels(jax.nn.one_hot(batch["labels"], 10), smoothing)
        return optax.softmax_cross_entropy(logits, target).mean(), logits

    return jax.value_and_grad(loss_of, has_aux=True)(params)


def global_norm(tree):
    """Returns the norm of all numbers of a tree together."""
    return np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(tree)))


@pytest.mark.parametrize("name", MEMBERS)
def test_steps_equal_those_of_optax_on_the_plain_model(batch, name):
    """From the same weights: the whole batch at once, layer after layer, autodiff, optax.

    A step of Adam or RMSProp is the gradient by its own size: where that is rounding, so is the
    step. These are held where the first gradient is clear, `sgd` everywhere.
    """
    member = MEMBERS[name]
    state = initial_state(member)
    optimizer = OPTIMIZERS[member.optimizer.name](member)
    if member.clip_norm is not None:
        optimizer = optax.chain(optax.clip_by_global_norm(member.clip_norm), optimizer)
    update = fast_jit(optimizer.update)
    params, opt_state, first = state.params, optimizer.init(state.params), None
    for at in range(3):
        (loss, logits), gradient = plain_gradient(params, batch, member.task.label_smoothing)
        state, metrics = step(SPEC, arrays(member), state, batch, jnp.int32(at))
        norm = global_norm(gradient)
        np.testing.assert_allclose(metrics.loss, loss, rtol=1e-4)
        assert metrics.metric == np.mean(np.argmax(logits, -1) == batch["labels"])
        np.testing.assert_allclose(metrics.gradient_norm, norm, rtol=1e-3)
        with jax.numpy_dtype_promotion("standard"):
            updates, opt_state = update(gradient, opt_state, params)
        params = jax.tree.map(np.add, params, updates)
        if name != "adamw":
            np.testing.assert_allclose(metrics.update_norm, global_norm(updates), rtol=1e-2)
        first = gradient if first is None else first
    assert (member.clip_norm is None) or norm > member.clip_norm  # it was clipped
    for got, want, slope in zip(*map(jax.tree.leaves, (state.params, params, first)), strict=True):
        clear = np.abs(slope) > (0 if member.optimizer.name == "sgd" else 1e-4)
        np.testing.assert_allclose(got[clear], want[clear], rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("microbatches", [1, 16])
def test_microbatches_change_the_gradient_by_rounding_only(batch, microbatches):
    states = [
        state_after_steps(small(microbatches=count, optimizer="sgd"), batch, 1)[0]
        for count in (microbatches, 2)
    ]
    assert_close(*(state.optimizer for state in states))


PLAIN = {"optimizer": "sgd", "learning_rate": 0.1}
TRACED = [
    {**PLAIN, "forget_bias": 0.3},
    {**PLAIN, "clip_norm": 0.7},
    {**PLAIN, "optimizer.momentum": 0.35},
    {**PLAIN, "task": replace(DIGITS, label_smoothing=0.15)},
    {"optimizer": "adamw", "optimizer.weight_decay": 0.25},
]


@pytest.mark.parametrize("values", TRACED, ids=lambda values: list(values)[-1])
def test_a_traced_number_gives_the_same_steps_as_a_constant(batch, values):
    """Another number gives another result, from the same program."""
    member = small().replace(values)
    traced, _ = state_after_steps(member, batch)
    constant, _ = state_after_steps(member, batch, compiled_in=True)
    assert_close(traced.params, constant.params, 2e-5)
    neutral = {"forget_bias": 1.0, "clip_norm": 1e6}
    neutral |= {"optimizer.weight_decay": 0.0, "optimizer.momentum": 0.0}
    off = {k: neutral[k] for k in values if k in neutral} or {"task.label_smoothing": 0.0}
    without, _ = state_after_steps(member.replace(off), batch)
    kernels = [state.params["output"]["kernel"] for state in (traced, without)]
    assert np.max(np.abs(kernels[0] - kernels[1])) > 1e-4


def test_weight_decay_shrinks_parameters_without_a_gradient(batch):
    member = small(optimizer=AdamW(weight_decay=0.5), learning_rate=0.1)
    black = {**batch, "images": batch["images"] * 0}
    before = initial_state(member).params["input"]["kernel"]  # of black images it gets no gradient
    after = state_after_steps(member, black, 1)[0].params["input"]["kernel"]
    np.testing.assert_allclose(after, before * 0.95, rtol=1e-6)


def test_clipping_leaves_a_short_gradient_as_it_is(batch):
    """Scaling it up to the norm would be another optimiser."""
    short, metrics = state_after_steps(small(optimizer="sgd", clip_norm=1e3), batch, 1)
    free, _ = state_after_steps(small(optimizer="sgd"), batch, 1)
    assert metrics.gradient_norm < 100
    assert_close(short.optimizer, free.optimizer)
    assert_close(short.params, free.params)


def test_dropout_draws_another_mask_in_each_step(batch):
    """The same state on the same batch: only the mask can change the loss."""
    member, state = small(dropout=0.5), initial_state(small(dropout=0.5))
    losses = [
        float(step(SPEC, arrays(member), state, batch, jnp.int32(number))[1].loss)
        for number in (0, 1, 2, 0)
    ]
    assert len(set(losses[:3])) == 3
    assert losses[3] == losses[0]  # a mask is a function of the seed and the step


def test_dropout_draws_another_mask_in_each_microbatch(batch):
    """With one mask for both microbatches, their order would not change the loss."""
    swapped = {name: jnp.roll(array, 8, axis=0) for name, array in batch.items()}

    def losses(member):
        state = initial_state(member)
        return [
            float(step(SPEC, arrays(member), state, each, jnp.int32(0))[1].loss)
            for each in (batch, swapped)
        ]

    plain, dropped = losses(small()), losses(small(dropout=0.5))
    assert plain[0] == pytest.approx(plain[1], rel=1e-6)
    assert abs(dropped[0] - dropped[1]) > 1e-3 * dropped[0]


def test_a_state_that_is_not_finite_stays_as_it_was(batch):
    member, state = small(), initial_state(small())
    state.params["output"]["bias"] = state.params["output"]["bias"].at[0].set(jnp.nan)
    after, metrics = step(SPEC, arrays(member), state, batch, jnp.int32(7))
    assert np.isnan(metrics.loss)
    assert (after.diverged_at, metrics.update_norm) == (7, 0)
    later, _ = step(SPEC, arrays(member), after, batch, jnp.int32(8))
    assert later.diverged_at == 7
    assert_equal((later.params, later.optimizer), (state.params, state.optimizer))


# The schedule and the augmentation.


@pytest.mark.parametrize("warmup", [0, 1, 10])
def test_the_learning_rate_rises_and_then_falls_to_zero(warmup):
    member = small(schedule=Cosine(warmup_steps=warmup))
    assert member.num_steps == 100
    steps = np.arange(101, dtype=np.int32)
    factors = np.asarray(fast_jit(jax.vmap(partial(member.schedule.factor, num_steps=100)))(steps))
    peak = int(np.argmax(factors))
    assert factors[peak] == 1.0
    assert max(warmup - 1, 0) <= peak <= warmup
    assert np.all(factors[:100] > 0)
    assert np.all(np.diff(factors[: peak + 1]) > 0)
    assert np.all(np.diff(factors[max(peak, warmup) :]) < 0)
    assert factors[100] == pytest.approx(0, abs=1e-6)


def test_a_constant_schedule_is_exactly_the_learning_rate():
    assert Constant().factor(jnp.int32(7), 100) == 1.0


def test_the_schedule_scales_the_step(batch):
    member = small(optimizer=SGD(momentum=0.0), schedule=Cosine(warmup_steps=10))
    norms = []
    for at in (0, 4, 9):
        _, metrics = step(SPEC, arrays(member), initial_state(member), batch, jnp.int32(at))
        norms.append(metrics.update_norm / metrics.gradient_norm / member.learning_rate)
    np.testing.assert_allclose(norms, [0.1, 0.5, 1.0], rtol=1e-5)


def test_a_shift_moves_each_image_as_a_whole():
    black = np.zeros((200, 8, 8), np.uint8)
    black[:, 4, 3] = 7
    moved = np.asarray(shifted(jax.random.key(0), jnp.asarray(black), 2))
    assert (moved.shape, moved.dtype) == (black.shape, np.uint8)
    assert np.all(moved.sum(axis=(1, 2)) == 7)
    _, rows, columns = np.nonzero(moved)
    seen = set(zip(rows - 4, columns - 3, strict=True))
    assert seen == {(i, j) for i in range(-2, 3) for j in range(-2, 3)}


def test_a_shift_moves_the_channels_of_a_pixel_together():
    colours = np.arange(1, 4 * 12 + 1, dtype=np.uint8).reshape(1, 4, 12)  # 4 x 4 pixels of 3
    for seed in range(20):
        moved = np.asarray(shifted(jax.random.key(seed), jnp.asarray(colours), 1))[0]
        pixels = {tuple(pixel) for pixel in moved.reshape(-1, 3)}
        assert pixels <= {tuple(pixel) for pixel in colours.reshape(-1, 3)} | {(0, 0, 0)}


def test_a_shift_as_large_as_the_image_is_refused():
    metadata = {"shapes": {"images": [8, 8]}, "num_classes": 10}
    replace(DIGITS, shift=7).model_spec(metadata)
    with pytest.raises(UserError, match="8 moves images of 8 rows out of sight"):
        replace(DIGITS, shift=8).model_spec(metadata)


def test_no_shift_leaves_a_batch_as_it_is(batch):
    assert DIGITS.augment(batch, jax.random.key(0)) is batch
    moved = replace(DIGITS, shift=1).augment(batch, jax.random.key(0))
    assert_equal(moved["labels"], batch["labels"])
    assert not np.array_equal(moved["images"], batch["images"])


# A task with an output at each time step, some of which do not count.


@dataclass(frozen=True)
class Echo(Task):
    """Repeats the number of each time step. Those after a sequence's end do not count."""

    name: ClassVar[str] = "echo"
    metric: ClassVar[str] = "error"
    higher_is_better: ClassVar[bool] = False

    def model_spec(self, metadata: dict[str, Any]) -> ModelSpec:
        return ModelSpec(num_features=1, num_outputs=1, per_step_outputs=True)

    def total_weight(self, batch):
        return jnp.sum(batch["lengths"]).astype(jnp.float32)

    def inputs(self, batch):
        return Inputs(batch["x"].swapaxes(0, 1)[:, :, None], batch["lengths"])

    def score_items(self, outputs, batch, *, training):
        x_TB = batch["x"].swapaxes(0, 1)
        loss_TB = (outputs[:, :, 0] - x_TB) ** 2
        t_T1 = jnp.arange(len(x_TB), dtype=jnp.int32)[:, None]
        weight_TB = (t_T1 < batch["lengths"][None]).astype(jnp.float32)
        return ItemScores(loss_TB.ravel(), jnp.sqrt(loss_TB).ravel(), weight_TB.ravel())


def echo_batch(size, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "x": rng.normal(size=(size, 6)).astype(np.float32),
        "lengths": rng.integers(0, 7, size).astype(np.int32),
    }


@pytest.mark.parametrize("size", [16, EVALUATION_BLOCK + 7])
def test_loss_and_metric_are_means_over_the_unmasked_items(size):
    """Checks a step, whose microbatches have unequal weights, and a score."""
    member = small(task=Echo(), microbatches=4)
    spec, data = Echo().model_spec({}), echo_batch(size)
    params = noisy(initial_state(member, spec).params)
    run = fast_jit(partial(fused_outputs, member, spec))
    outputs = np.asarray(run(params, data["x"].T[:, :, None]))
    errors = (outputs[:, :, 0].T - data["x"]).astype(np.float64)
    counts = np.arange(6)[None] < data["lengths"][:, None]
    sums = score(spec, arrays(member), params, data)
    assert float(sums.weight) == counts.sum()
    np.testing.assert_allclose(sums.loss, (errors**2)[counts].sum(), rtol=1e-4)
    np.testing.assert_allclose(sums.metric, np.abs(errors)[counts].sum(), rtol=1e-4)
    some = {name: array[: member.batch_size] for name, array in data.items()}
    state = initial_state(member, spec)._replace(params=params)
    _, metrics = step(spec, arrays(member), state, some, jnp.int32(0))
    counts[member.batch_size :] = False
    np.testing.assert_allclose(metrics.loss, (errors**2)[counts].mean(), rtol=1e-4)
    np.testing.assert_allclose(metrics.metric, np.abs(errors)[counts].mean(), rtol=1e-4)
    # What does not count does not enter the gradient either.
    counted = np.arange(6)[None] < some["lengths"][:, None]
    spoilt = {**some, "x": np.where(counted, some["x"], np.float32(9))}
    moments = [
        step(spec, arrays(member), state, each, jnp.int32(0))[0].optimizer
        for each in (some, spoilt)
    ]
    assert_close(*moments, 1e-6)


def test_scores_are_taken_without_smoothing(digits):
    data = {name: array[:60] for name, array in digits.test.items()}
    params = initial_state(small()).params
    sums = [
        score(SPEC, arrays(small(task=replace(DIGITS, label_smoothing=share))), params, data)
        for share in (0.0, 0.5)
    ]
    assert_equal(*sums)


# From the first step to the last.


def trained(member, spec, dataset, steps):
    """Returns the state after one segment of so many steps, and the metrics of each step [S]."""
    order, bounds = np.zeros(dataset.num_examples, np.int32), np.int32([-1, 0, steps])
    inputs = arrays(member), initial_state(member, spec), order, False, dataset.train, *bounds
    state, _, metrics = fast_jit(partial(train_segment, spec, steps, None))(*inputs)
    return state, metrics


def bright_row_images(num_examples, seed):
    """Returns a probe task: the class is the index of the one bright row among dark noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 8, num_examples).astype(np.int32)
    pixels = rng.integers(0, 60, (num_examples, 8, 8)).astype(np.uint8)
    pixels[np.arange(num_examples), labels] += 180
    return {"images": pixels, "labels": labels}


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_probe_task_is_learned_completely(cell):
    splits = [bright_row_images(n, n) for n in (960, 96, 384)]
    probe = make_dataset("probe", *splits, num_classes=8)
    member = small(cell=cell, hidden_size=24, batch_size=32, learning_rate=1e-2)
    spec = ModelSpec(num_features=8, num_outputs=8)
    state, metrics = trained(member, spec, probe, 300)
    assert score(spec, arrays(member), state.params, probe.test).metric == 384
    assert metrics.loss[-1] < metrics.loss[0] / 20


# Axes are what their names say.


@pytest.mark.parametrize("cell", ["lstm", "gru", "lstm_peephole"])
def test_each_axis_letter_has_one_size_in_a_step(monkeypatch, batch, cell):
    """Has jaxtyping check the axes while a step of two layers is traced."""
    called = set()

    def watched(module, name):
        function = checked(getattr(module, name))

        def seen(*args, **options):
            called.add(name)
            return function(*args, **options)

        monkeypatch.setattr(module, name, seen)

    watched(scan, "run")
    watched(scan, "recur")
    watched(scan, "stack_kernels")
    watched(CellLayer, "fuse")
    watched(scan_vjp, "sum_over_rows")
    member = small(cell=cell, layers=2)
    state = jax.eval_shape(partial(init_state, SPEC), arrays(member))
    abstract = jax.eval_shape(lambda: batch)
    jax.eval_shape(partial(train_step, SPEC), arrays(member), state, abstract, jnp.int32(0))
    assert called == {"run", "recur", "stack_kernels", "fuse", "sum_over_rows"}


def test_an_axis_that_contradicts_its_name_is_found():
    def matmul(x_BI, kernel_IH):
        return x_BI @ kernel_IH

    right = checked(matmul)(jnp.ones((2, 3)), jnp.ones((3, 4)))
    assert right.shape == (2, 4)
    with pytest.raises(Exception, match="kernel_IH"):
        checked(matmul)(jnp.ones((2, 3)), jnp.ones((4, 4)))
    with pytest.raises(Exception, match="x_BI"):
        checked(matmul)(jnp.ones((2, 3, 1)), jnp.ones((3, 4)))
