"""Activations, beliefs and gradient flow are the network's own, for any cell and depth."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fast_compile import fast_jit

from lstm_jax import Experiment
from lstm_jax.cells import CELLS, get_cell
from lstm_jax.model import forward, fused_params
from lstm_jax.predict import inference
from lstm_jax.report.figures.activations import is_gate, summarise_activations
from lstm_jax.report.figures.gradients import (
    EXPLODING,
    enlarge_recurrent,
    flow_curve,
    gradient_flow,
)
from lstm_jax.tasks.images import Images
from lstm_jax.train.placement import named_leaves
from lstm_jax.train.step import init_state

MEMBER = Experiment(task=Images(dataset="digits"), hidden_size=5)
WITHOUT_GATES = ("rnn", "irnn", "indrnn", "cornn", "unicornn", "scornn", "lru", "s5", "linoss")
MODELS = [("lstm", 2), ("gru", 1), ("lstm_peephole", 1)]


@pytest.fixture(scope="module")
def batch(digits):
    return {name: jnp.asarray(array[:20]) for name, array in digits.test.items()}


class Model:
    """A member with its initial parameters."""

    def __init__(self, member, dataset, initial):
        self.spec = member.task.model_spec(dataset.metadata)
        self.member = inference.ready(member)
        self.params = initial(self.spec, self.member)
        self.fused = inference.fuse_kernels(member, self.params)


@pytest.fixture(scope="module", params=MODELS, ids=lambda p: f"{p[0]}-{p[1]}")
def any_model(request, digits):
    cell, layers = request.param
    initial = fast_jit(lambda spec, member: init_state(spec, member).params, static_argnums=0)
    return Model(replace(MEMBER, cell=cell, layers=layers), digits, initial)


@pytest.fixture(scope="module")
def lstm(digits):
    return Model(MEMBER, digits, inference._compiled_init)


def test_the_last_belief_is_the_models_answer(any_model, batch):
    model = any_model
    beliefs = inference.compiled_beliefs(model.member, model.fused, batch)
    answer = inference.compiled_answers(model.spec, model.member, model.fused, batch)
    np.testing.assert_allclose(beliefs[-1], answer, rtol=1e-4, atol=1e-6)
    assert beliefs.shape == (8, 20, 10)


def test_the_gradient_flow_agrees_with_finite_differences(any_model, batch):
    """Along the gradient itself, at one time step, the loss changes by its norm."""
    model, example = any_model, {name: array[:1] for name, array in batch.items()}
    task, inputs = model.member.task, model.member.task.inputs(example)
    flow = fast_jit(gradient_flow, static_argnums=0)(model.spec, model.member, model.fused, example)

    def loss_of(perturbation_TBH):
        h_TBH = forward.trace_last_layer(model.member, model.fused, inputs, perturbation_TBH)["h"]
        outputs = forward.apply_head(model.member, model.fused, h_TBH[-1])
        return task.score_items(outputs, example, training=False).loss[0]

    zeros, loss = jnp.zeros((8, 1, 5)), fast_jit(loss_of)
    gradient = fast_jit(jax.grad(loss_of))(zeros)
    for t in (0, 4, 7):
        step = zeros.at[t].set(1e-2 * gradient[t] / jnp.linalg.norm(gradient[t]))
        difference = (loss(step) - loss(-step)) / 2e-2
        assert difference == pytest.approx(float(flow[t]), rel=3e-2)


def test_the_norm_of_a_gradient_too_large_to_be_squared_is_finite(lstm, batch):
    long = lstm.fused._replace(head_DO=lstm.fused.head_DO * 1e25)
    flow = fast_jit(gradient_flow, static_argnums=0)(lstm.spec, lstm.member, long, batch)
    assert jnp.isfinite(flow).all()
    assert flow[-1] > 1e24


def test_gradients_vanish_with_the_first_weights_and_explode_with_larger_recurrent_ones():
    member = Experiment(hidden_size=64)
    spec = member.task.model_spec({"shapes": {"images": [28, 28]}, "num_classes": 10})
    params = inference.initial_params(member, spec)
    rng = np.random.default_rng(0)
    strokes = rng.random((9, 28, 28)) < 0.1
    images = (strokes * rng.integers(0, 256, strokes.shape)).astype(np.uint8)
    batch = {"images": images, "labels": np.zeros(9, np.int32)}
    first = flow_curve(spec, member, params, batch)[1]
    larger = flow_curve(spec, member, enlarge_recurrent(member, params, EXPLODING), batch)[1]
    assert first[0] < first[-1] / 10
    assert larger[0] > larger[-1] * 10


def test_summaries_are_quantiles_and_fractions_over_examples_and_units(lstm, batch):
    summaries = fast_jit(summarise_activations)(lstm.member, lstm.fused, batch)
    inputs = lstm.member.task.inputs(batch)
    activations = fast_jit(forward.trace_last_layer)(lstm.member, lstm.fused, inputs)
    for name, values in activations.items():
        assert not is_gate(name) or 0 < values.min() < values.max() < 1
    assert set(summaries) == {"input gate", "forget gate", "output gate", "cell", "h"}
    forget, cell = activations["forget gate"], activations["cell"]
    np.testing.assert_allclose(
        summaries["forget gate"].median_T, np.median(forget, (1, 2)), rtol=1e-5
    )
    np.testing.assert_allclose(summaries["forget gate"].open_T, (forget > 0.95).mean((1, 2)))
    np.testing.assert_allclose(
        summaries["cell"].upper_T, np.quantile(cell, 0.75, (1, 2)), rtol=1e-4
    )
    np.testing.assert_allclose(summaries["cell"].closed_T, (cell < -1).mean((1, 2)))


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_has_summaries_of_its_output_gates_and_cell_state(digits, batch, name):
    """Traces only; compiles nothing."""
    member = inference.ready(replace(MEMBER, cell=name, hidden_size=8))  # 8: heads divide it
    fused = jax.eval_shape(
        fused_params.fuse_kernels,
        member,
        inference.param_shapes(member, member.task.model_spec(digits.metadata)),
    )
    summaries = jax.eval_shape(summarise_activations, member, fused, batch)
    assert "h" in summaries
    assert ("cell" in summaries) == ("c" in get_cell(name).state)
    assert any(map(is_gate, summaries)) == (name not in WITHOUT_GATES)


def test_shapes_are_those_of_the_initial_values(any_model, digits):
    member = MEMBER.replace_unchecked(
        {"cell": any_model.member.cell, "layers": any_model.member.layers}
    )
    shapes = named_leaves(inference.param_shapes(member, any_model.spec))
    assert {n: leaf.shape for n, leaf in shapes.items()} == {
        n: leaf.shape for n, leaf in named_leaves(any_model.params).items()
    }


def test_seeds_and_forget_biases_of_one_group_compile_nothing_again(lstm, batch):
    other = MEMBER.replace({"forget_bias": 3.0, "seed": 2**32 - 1})
    inference.compiled_answers(lstm.spec, lstm.member, lstm.fused, batch)
    with jax.no_tracing():
        fused = inference.fuse_kernels(other, inference.initial_params(other, lstm.spec))
        inference.compiled_answers(lstm.spec, inference.ready(other), fused, batch)
