"""The backend cudnn without a GPU: its weights, results and gradients against JAX's own reference
of cuDNN, its shapes and its calls. These tests have not run on a GPU yet.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fast_compile import fast_jit
from jax.experimental import rnn

from benchmarks.jax_peers import cudnn
from benchmarks.ours import by_cudnn, ours, plain
from benchmarks.task import NUM_BATCHES, Case, Task, make_weights
from lstm_jax import Experiment
from lstm_jax.cells.cudnn import flat_weights, lstm_last_cudnn
from lstm_jax.cells.lstm import lstm_cell
from lstm_jax.cells.scan import run, stack_kernels
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.model import forward, fused_params
from lstm_jax.model.layer import FusedLayer
from lstm_jax.tasks.task import Inputs, ModelSpec
from lstm_jax.train.placement import make_placements, refuse_absent_backend, stack_fields, tile_size
from lstm_jax.train.step import init_state, train_step

pytestmark = pytest.mark.usefixtures("fast_compile")

SHAPES = [(1, 1, 1, 1), (7, 3, 5, 4), (28, 16, 28, 32)]  # T, B, I, H


def arrays(num_steps, batch, num_inputs, hidden):
    """Returns inputs [T,B,I] and a stacked kernel [K,G]."""
    rng = np.random.default_rng(0)

    def normal(*shape):
        return jnp.asarray(0.3 * rng.normal(size=shape), jnp.float32)

    kernels = normal(num_inputs, 4 * hidden), normal(hidden, 4 * hidden), normal(4 * hidden)
    return normal(num_steps, batch, num_inputs), stack_kernels(lstm_cell, *kernels)


def reference(x, h, c, weights, lengths, *, input_size, hidden_size, num_layers, **options):
    """Computes `rnn.lstm` in plain JAX, with the function that JAX's own tests compare it to."""
    sizes = input_size, hidden_size, num_layers
    unpacked = rnn.unpack_lstm_weights(weights, *sizes, options["bidirectional"])
    return rnn.lstm_ref(x, h, c, *unpacked, lengths, *sizes, 0.0, False)


@pytest.fixture
def on_cpu(monkeypatch):
    """Replaces cuDNN's function by the reference; returns the shapes of its calls."""
    calls = []

    def record(x, *arguments, **options):
        calls.append(x.shape)
        return reference(x, *arguments, **options)

    monkeypatch.setattr(rnn, "lstm", record)
    return calls


@pytest.fixture
def known_workspace(monkeypatch):
    """Replaces the one call to cuDNN that shapes need: the size of its memory for the gradient."""
    if rnn.gpu_rnn is None:
        pytest.skip("this jaxlib has no lowering for cuDNN")
    monkeypatch.setattr(
        rnn.gpu_rnn,
        "compute_rnn_workspace_reserve_space_sizes",
        lambda *_: (64, 128),
        raising=False,
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_cudnn_equals_our_recurrence_and_its_gradients(on_cpu, shape):
    x, kernel = arrays(*shape)

    def both(last):
        def total(kernel):
            c, h = last(x, kernel)
            return jnp.sum(jnp.sin(c) + h), (c, h)

        return fast_jit(jax.value_and_grad(total, has_aux=True))(kernel)

    (_, ours), gradient = both(lambda x, kernel: run(lstm_cell, kernel, x)[1])
    (_, theirs), gradient_theirs = both(lstm_last_cudnn)
    np.testing.assert_allclose(theirs, ours, atol=1e-5)
    np.testing.assert_allclose(gradient_theirs, gradient, rtol=1e-4, atol=1e-5)


def test_a_member_trains_the_same_with_scan_and_cudnn(on_cpu):
    spec = ModelSpec(num_features=4, num_outputs=10)
    rng = np.random.default_rng(1)
    images = jnp.asarray(rng.integers(0, 256, (16, 6, 4)), jnp.uint8)
    labels = jnp.asarray(rng.integers(0, 10, 16), jnp.int32)

    def five_steps(backend):
        member = Experiment(
            hidden_size=8, batch_size=16, microbatches=2, learning_rate=1e-2, backend=backend
        )
        member = jax.tree.map(lambda a: jnp.asarray(a[0]), stack_fields([member]))
        take_step = fast_jit(partial(train_step, spec))
        state, losses = fast_jit(partial(init_state, spec))(member), []
        batch = {"images": images, "labels": labels}
        for step in range(5):
            state, metrics = take_step(member, state, batch, jnp.int32(step))
            losses.append(float(metrics.loss))
        return losses

    np.testing.assert_allclose(five_steps("cudnn"), five_steps("scan"), rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_and_the_calls_of_cudnn(known_workspace, shape):
    x, kernel = arrays(*shape)
    _, batch, _, hidden = shape
    c, h = jax.eval_shape(lstm_last_cudnn, x, kernel)
    assert (c.shape, h.shape) == ((batch, hidden),) * 2
    gradient = jax.grad(lambda kernel: lstm_last_cudnn(x, kernel)[1].sum())
    assert jax.eval_shape(gradient, kernel).shape == kernel.shape
    program = str(jax.make_jaxpr(gradient)(kernel))
    assert "rnn_fwd" in program
    assert "rnn_bwd" in program


def test_the_peer_of_the_benchmark_trains_the_same_model(on_cpu, tmp_path):
    case = Case(hidden_size=8, batch_size=16, rows=6, features=4)
    rng = np.random.default_rng(2)
    images = rng.random((NUM_BATCHES, 16, 6, 4), np.float32)
    labels = rng.integers(0, 10, (NUM_BATCHES, 16), np.int32)
    task = Task(case, tmp_path, make_weights(case, 0), images, labels)
    with (
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):  # the defaults, which the peers' code needs
        ours, theirs = (peer(task)["jitted loop"]()(0, 5) for peer in (plain, cudnn))
    assert theirs == pytest.approx(ours, rel=1e-5)


@pytest.mark.parametrize("backend", ["scan", "cudnn"])
def test_a_run_on_a_gpu_calls_the_backend_it_names(monkeypatch, on_cpu, tmp_path, backend):
    """The benchmark's own peer is run: its placement depends on the backend and the platform."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    whole = np.random.default_rng(3).integers(0, 256, (200, 6, 4)).astype(np.uint8)
    np.savez(tmp_path / "whole.npz", images=whole, labels=np.zeros(200, np.int32))
    case = Case(hidden_size=8, batch_size=16, rows=6, features=4, platform="gpu")
    task = Task(case, tmp_path, make_weights(case, 0), np.zeros(1), np.zeros(1))
    settings = {"scan": ours, "cudnn": by_cudnn}[backend](task)
    assert 0 < next(iter(settings.values()))()(0, 3) < 20
    assert bool(on_cpu) == (backend == "cudnn")


def test_flat_weights_hold_each_weight_once():
    _, kernel = arrays(7, 3, 5, 4)
    weights = flat_weights(kernel, 5)
    assert weights.shape == (rnn.get_num_params_in_lstm(5, 4, 1, False),)
    assert np.count_nonzero(weights) == kernel.size


def test_cudnn_needs_a_gpu_and_takes_one_member_at_a_time():
    experiment = Experiment(seed=(0, 1, 2), backend="cudnn")
    with pytest.raises(EnvironmentProblem, match="cudnn needs an NVIDIA GPU"):
        refuse_absent_backend(experiment)
    refuse_absent_backend(replace(experiment, backend="scan"))
    placements = make_placements(experiment.members(), 1, partial(tile_size, "gpu"))
    assert [placement.tile for placement in placements] == [1]
    assert tile_size("gpu", Experiment()) > 1


@pytest.mark.parametrize(
    ("per_step_outputs", "lengths"), [(True, None), (False, jnp.ones(3, jnp.int32))]
)
def test_a_task_that_cudnn_cannot_run_is_an_error(per_step_outputs, lengths):
    x, kernel = arrays(*SHAPES[1])
    head = jnp.ones((x.shape[0], 2))
    spec = ModelSpec(num_features=5, num_outputs=2, per_step_outputs=per_step_outputs)
    fused = fused_params.FusedParams(((FusedLayer(kernel, {}),),), head, None)
    with pytest.raises(UserError, match="cudnn gives the last output"):
        forward.apply_model(Experiment(backend="cudnn"), spec, fused, Inputs(x, lengths))
