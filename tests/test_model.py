"""The model is the notebook's, on the same weights."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from textbook import assert_close, weighted

from lstm_jax.train.model import RowLSTM, apply_folded

FEATURES = 3


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def apply(module, variables, *arguments, **options):
    return jax.jit(partial(module.apply, **options))(variables, *arguments)


def unfolded(params, x_BTI, forget_bias):
    """The notebook's graph, layer after layer: `BasicLSTMCell`, gates i, j, f, o."""
    layer = params["input"]
    x_BTH = x_BTI @ layer["kernel"] + layer["bias"][None, None]
    c = h = jnp.zeros_like(x_BTH[:, 0])
    for t in range(x_BTH.shape[1]):
        gates = jnp.concatenate([x_BTH[:, t], h], axis=1) @ params["lstm"]["kernel"]
        i, j, f, o = jnp.split(gates + params["lstm"]["bias"][None], 4, axis=1)
        c = c * jax.nn.sigmoid(f + forget_bias) + jax.nn.sigmoid(i) * jnp.tanh(j)
        h = jnp.tanh(c) * jax.nn.sigmoid(o)
    return h @ params["output"]["kernel"] + params["output"]["bias"][None]


@pytest.mark.parametrize("forget_bias", [0.0, 1.0])
def test_row_lstm_is_the_notebook(forget_bias):
    model = RowLSTM(hidden_size=8, num_features=FEATURES, num_classes=4, forget_bias=forget_bias)
    x = jax.random.uniform(jax.random.key(1), (7, 3, FEATURES))
    params = jax.jit(model.init)(jax.random.key(0), x)["params"]
    params["lstm"]["bias"] = normal(2, 32)

    def value_and_gradient(function):
        def scalar(params):
            result = function(params)
            return weighted(result), result

        return jax.jit(jax.value_and_grad(scalar, has_aux=True))(params)

    ours = value_and_gradient(lambda params: model.apply({"params": params}, x))
    theirs = value_and_gradient(partial(unfolded, x_BTI=x, forget_bias=forget_bias))
    assert_close(ours, theirs)


def test_row_lstm_starts_as_the_notebook_does():
    model = RowLSTM(hidden_size=64, num_features=28)
    params = jax.jit(partial(model.init, method="fold"))(jax.random.key(0))["params"]
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


def test_folding_once_serves_every_chunk():
    model = RowLSTM(hidden_size=8, num_features=FEATURES)
    x = jax.random.uniform(jax.random.key(1), (8, 6, FEATURES))
    variables = jax.jit(partial(model.init, method="fold"))(jax.random.key(0))
    whole = apply(model, variables, x)
    folded = apply(model, variables, method="fold")
    chunks = [jax.jit(apply_folded)(folded, chunk) for chunk in jnp.split(x, 4)]
    assert_close(np.concatenate(chunks), whole, 1e-6)
