"""What the diagnostics show is what the network did."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.cells import recurrence
from lstm_jax.cells.lstm import lstm_cell
from lstm_jax.data.load import arranged, load
from lstm_jax.report import diagnose
from lstm_jax.train.model import RowLSTM
from lstm_jax.train.step import fold, scale


@pytest.fixture(scope="module")
def model():
    return RowLSTM(hidden_size=12, num_features=8)


@pytest.fixture(scope="module")
def params(model):
    return model.init(jax.random.key(0), method="fold")["params"]


@pytest.fixture(scope="module")
def folded(model, params):
    return jax.jit(fold, static_argnums=0)(model, params)


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(load("digits").test.images[:20])


def test_the_trace_ends_where_the_recurrence_ends(folded, images):
    kernel, x_TBI = folded.kernel_KG, scale(images).swapaxes(0, 1)
    trace = jax.jit(partial(recurrence.trace, lstm_cell))(kernel, x_TBI)
    _, (c, h) = recurrence.run(lstm_cell, kernel, x_TBI)
    np.testing.assert_allclose(trace["cell"][-1], c, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(trace["h"][-1], h, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        trace["h"], trace["output gate"] * jnp.tanh(trace["cell"]), rtol=1e-5, atol=1e-6
    )
    for gate in (trace["input gate"], trace["forget gate"], trace["output gate"]):
        assert 0 < gate.min() < gate.max() < 1


def test_the_last_belief_is_the_models_answer(model, params, folded, images):
    beliefs = jax.jit(diagnose.beliefs)(folded, images)
    logits = model.apply({"params": params}, scale(images))
    np.testing.assert_allclose(beliefs[-1], jax.nn.softmax(logits), rtol=1e-4, atol=1e-6)
    assert beliefs.shape == (8, 20, 10)


def test_the_gradient_flow_is_that_of_a_finite_difference(folded, images):
    """Along the gradient itself, at one row: the loss changes by its norm."""
    labels = jnp.zeros(1, jnp.int32)
    flow = jax.jit(diagnose.gradient_flow)(folded, images[:1], labels)
    x_TBI = scale(images[:1]).swapaxes(0, 1)

    def loss(nudge_TBH):
        h_BH = recurrence.trace(lstm_cell, folded.kernel_KG, x_TBI, nudge_TBH=nudge_TBH)["h"][-1]
        h_BD = jnp.concatenate([h_BH, jnp.ones((1, 1))], axis=1)
        return -jax.nn.log_softmax(h_BD @ folded.output_kernel_DC)[0, 0]

    zeros, slopes = jnp.zeros((8, 1, 12)), jax.jit(jax.grad(loss))
    for row in (0, 4, 7):
        slope = slopes(zeros)[row]
        step = zeros.at[row].set(1e-2 * slope / jnp.linalg.norm(slope))
        difference = (loss(step) - loss(-step)) / 2e-2
        assert difference == pytest.approx(float(flow[row]), rel=2e-2)


def test_a_gradient_too_long_to_be_squared_has_its_length(folded, images):
    long = folded._replace(output_kernel_DC=folded.output_kernel_DC * 1e25)
    flow = jax.jit(diagnose.gradient_flow)(long, images, jnp.zeros(20, jnp.int32))
    assert jnp.isfinite(flow).all()
    assert flow[-1] > 1e24


def test_gates_are_summed_up_over_images_and_units(folded, images):
    found = jax.jit(diagnose.gates)(folded, images)
    look = jax.jit(partial(recurrence.trace, lstm_cell))
    trace = look(folded.kernel_KG, scale(images).swapaxes(0, 1))
    np.testing.assert_allclose(
        found["forget gate"].mean_T, trace["forget gate"].mean((1, 2)), rtol=1e-5
    )
    np.testing.assert_allclose(found["cell"].sd_T, trace["cell"].std((1, 2)), rtol=1e-4)
    np.testing.assert_allclose(
        found["input gate"].high_T, (trace["input gate"] > 0.95).mean((1, 2))
    )


def test_reading_arranges_the_same_pixels():
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4)).astype(np.uint8)
    shapes = {"rows": (3, 4, 4), "columns": (3, 4, 4), "pixels": (3, 16, 1), "permuted": (3, 16, 1)}
    for reading, shape in shapes.items():
        found = arranged(images, reading)
        assert found.shape == shape
        for one, other in zip(found, images, strict=True):
            np.testing.assert_array_equal(np.sort(one.ravel()), np.sort(other.ravel()))
    np.testing.assert_array_equal(arranged(images, "columns")[0], images[0].T)
    np.testing.assert_array_equal(arranged(images, "pixels")[0, :, 0], images[0].ravel())
    order = arranged(np.arange(16).reshape(1, 4, 4), "permuted")[0, :, 0]
    np.testing.assert_array_equal(arranged(images, "permuted")[2, :, 0], images[2].ravel()[order])
    assert list(order) != sorted(order)
