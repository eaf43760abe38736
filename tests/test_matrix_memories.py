"""Layers with a matrix for each head against their papers' formulas in NumPy, in both forms."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fast_compile import fast_jit
from test_modern_cells import weighted_numpy
from textbook import assert_close, assert_equal, weighted
from textbook_modern import exp, sigmoid, softplus

from lstm_jax.cells import LAYERS, get_cell_or_layer
from lstm_jax.cells.matrix_memory import MLSTMLayer
from lstm_jax.config.experiment import Experiment
from lstm_jax.errors import UserError
from lstm_jax.model import size
from lstm_jax.model.block import make_blocks
from lstm_jax.tasks.task import ModelSpec

every_layer = pytest.mark.parametrize("name", LAYERS)


def silu(v):
    return v * sigmoid(v)


def layer_norm(v):
    return (v - v.mean()) / np.sqrt(v.var() + 1e-6)


def mlstm(params, x, carry, heads):
    """Equations 19 to 27 of the paper, without its m: C and n are here C exp(m) and n exp(m)."""
    memory, m = carry
    scaled, size = memory * exp(m)[:, None, None], memory.shape[1]
    z = x @ params["kernel"][:-1] + params["kernel"][-1]
    q, k, v, o = z[: 4 * heads * size].reshape(4, heads, size)
    i, f = z[4 * heads * size :].reshape(2, heads)
    outputs = []
    for n in range(heads):
        written = np.outer(k[n] / np.sqrt(size), np.append(v[n], 1))
        scaled[n] = sigmoid(f[n]) * scaled[n] + exp(i[n]) * written
        read = scaled[n].T @ q[n]
        outputs.append(sigmoid(o[n]) * layer_norm(read[:-1] / max(abs(read[-1]), 1)))
    m = np.maximum(np.log(sigmoid(f)) + m, i)
    return np.concatenate(outputs), (scaled / exp(m)[:, None, None], m)


def gated_deltanet(params, x, carry, heads, most=1):
    memory, size = carry.copy(), carry.shape[1]
    z = x @ params["kernel"][:-1] + params["kernel"][-1]
    q, k, v, o = z[: 4 * heads * size].reshape(4, heads, size)
    d, b = z[4 * heads * size :].reshape(2, heads)
    outputs = []
    for n in range(heads):
        query, key, value = silu(q[n]), silu(k[n]), silu(v[n])
        query, key = (w / np.sqrt(w @ w + 1e-6 * size) for w in (query, key))
        memory[n] = exp(-exp(params["a"][n]) * softplus(d[n])) * memory[n]
        memory[n] += np.outer(key, most * sigmoid(b[n]) * (value - memory[n].T @ key))
        read = memory[n].T @ query / np.sqrt(size)
        outputs.append(silu(o[n]) * read / np.sqrt(np.mean(read**2) + 1e-6))
    return np.concatenate(outputs), memory


FORMULAS = {
    "mlstm": mlstm,
    "gated_deltanet": gated_deltanet,
    "gated_deltanet_neg": partial(gated_deltanet, most=2),
}


def textbook(name, params, x_TBI, carry, lengths):
    """Returns all outputs, zeros after the end of a sequence, and the carry at its end."""
    heads, head_size = jax.tree.leaves(carry)[0].shape[1:3]
    outputs = np.zeros((*x_TBI.shape[:2], heads * head_size))
    final = []
    for b, length in enumerate(lengths):
        state = jax.tree.map(lambda a, b=b: a[b], carry)
        for t, x in enumerate(x_TBI[:length, b]):
            outputs[t, b], state = FORMULAS[name](params, x, state, heads)
        final.append(state)
    return outputs, true_scale(jax.tree.map(lambda *a: np.stack(a), *final))


def true_scale(carry):
    """Returns the memory; that of the mLSTM without its m, through which no gradient goes."""
    if not isinstance(carry, tuple):
        return carry
    memory, m = carry
    return memory * (np if isinstance(m, np.ndarray) else jnp).exp(m)[..., None, None]


def arguments(name, shape=(19, 3, 2, 6), dtype="float32"):
    """Returns the layer, its parameters, inputs and a carry: random normal numbers."""
    num_steps, batch, num_inputs, hidden = shape
    layer, rng = get_cell_or_layer(name), np.random.default_rng(0)
    params = layer.init(jax.random.key(0), num_inputs, hidden)
    _, carry = jax.eval_shape(layer.step, params, jnp.zeros((batch, num_inputs), "float32"), None)
    x = np.zeros((num_steps, batch, num_inputs))
    normal = jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape), dtype), (params, x))
    return (
        layer,
        *normal,
        jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape), dtype), carry),
    )


@every_layer
@pytest.mark.parametrize("chunkwise", [False, True])
def test_outputs_equal_the_formula_and_gradients_its_differences(name, chunkwise):
    """A chunk and three time steps, from a carry, with lengths."""
    lengths = np.array([19, 0, 7], np.int32)
    with jax.enable_x64(True):
        layer, *inputs = arguments(name, dtype="float64")
        layer = layer.associative() if chunkwise else layer

        def scalar(params, x, carry):
            h_TBW, carry = layer.apply(params, x, jnp.asarray(lengths), carry)
            inside = jnp.arange(len(x), dtype=jnp.int32)[:, None, None] < lengths[None, :, None]
            result = jnp.where(inside, h_TBW, 0), true_scale(carry)
            return weighted(result), result

        gradient, result = fast_jit(jax.grad(scalar, (0, 1, 2), has_aux=True))(*inputs)
        leaves, tree = jax.tree.flatten(jax.tree.map(np.asarray, tuple(inputs)))
        slopes = jax.tree.leaves(gradient)

    def formula(leaves):
        return textbook(name, *jax.tree.unflatten(tree, leaves), lengths)

    assert_close(result, formula(leaves), 1e-11)
    rng = np.random.default_rng(2)
    for index, slope in enumerate(slopes):
        step = 1e-6 * rng.normal(size=leaves[index].shape)
        above, below = (
            weighted_numpy(formula([*leaves[:index], leaves[index] + d, *leaves[index + 1 :]]))
            for d in (step, -step)
        )
        np.testing.assert_allclose(np.vdot(slope, step), (above - below) / 2, rtol=1e-5, atol=1e-13)


@pytest.mark.parametrize("name", ["mlstm", "gated_deltanet"])
def test_time_step_by_time_step_has_the_bits_of_the_sequence(name):
    layer, params, x, _ = arguments(name, (18, 16, 9, 20))
    outputs, final = jax.jit(layer.apply)(params, x, None, None)
    step, looped, carry = jax.jit(layer.step), [], jax.tree.map(jnp.zeros_like, final)
    for x_BI in x:
        h_BW, carry = step(params, x_BI, carry)
        looped.append(h_BW)
    assert_equal((outputs, final), (jnp.stack(looped), carry))


@pytest.mark.parametrize("chunkwise", [False, True])
def test_the_mlstm_stays_finite_where_its_exponentials_would_not(chunkwise):
    """Input and forget gates of e^-200, then of e^200 and 1."""
    layer, params, _, _ = arguments("mlstm", (8, 2, 1, 8))
    layer = replace(layer, chunkwise=chunkwise)
    kernel = params["kernel"].at[:1, 32:].set(200.0)
    x = jnp.where(jnp.arange(8)[:, None, None] % 3 == 1, 1.0, -1.0) * jnp.ones((8, 2, 1))

    def total(kernel):
        h_TBW, _ = layer.apply({"kernel": kernel}, x, None, None)
        return jnp.sum(h_TBW), h_TBW

    gradient, h_TBW = fast_jit(jax.grad(total, has_aux=True))(kernel)
    assert np.isfinite(h_TBW).all()
    assert np.isfinite(gradient).all()
    assert np.abs(h_TBW[1]).min() > 1e-6


@pytest.mark.parametrize("name", ["mlstm", "gated_deltanet"])
def test_both_forms_are_lowered_for_each_platform_with_any_number_of_examples(name):
    layer, params, x, carry = arguments(name)
    (n,) = jax.export.symbolic_shape("n")
    x = jax.ShapeDtypeStruct((19, n, 2), x.dtype)
    carry = jax.tree.map(lambda a: jax.ShapeDtypeStruct((n, *a.shape[1:]), a.dtype), carry)
    for form in (layer, layer.associative()):
        call = jax.jit(lambda *inputs, form=form: form.apply(inputs[0], inputs[1], None, inputs[2]))
        exported = jax.export.export(call, platforms=("cpu", "cuda", "tpu"))(params, x, carry)
        assert exported.out_avals[0].shape == (19, n, 8)


def test_a_member_trains_the_form_of_its_backend_and_has_the_parameters_that_it_says():
    member = Experiment(cell="mlstm", hidden_size=62, backend="associative")
    (block,) = make_blocks(member)
    assert block.layers[0].layer == MLSTMLayer(chunkwise=True)
    assert block.width == 64  # the next multiple of 4 heads
    spec = ModelSpec(num_features=1, num_outputs=10)
    assert size.num_parameters(member, spec) == 2 * 62 + 63 * (4 * 64 + 8) + 65 * 10
    assert abs(size.choose_width(member, spec, 16_000)[1] - 16_000) < 320
    with pytest.raises(UserError, match="not slstm; use scan"):
        make_blocks(Experiment(cell="slstm", backend="associative"))
