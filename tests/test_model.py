"""The modules are Flax's and the notebook's, on the same weights."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.train.model import LSTM, RowLSTM, apply_folded

HIDDEN, FEATURES, ROWS = 5, 3, 6


def assert_close(actual, expected, tolerance=1e-5):
    """Each array to `tolerance` of its largest number; the same tree."""
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            a, b, rtol=0, atol=tolerance * max(1.0, np.max(np.abs(b)))
        ),
        actual,
        expected,
    )


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def apply(module, variables, *arguments, **options):
    return jax.jit(partial(module.apply, **options))(variables, *arguments)


def weighted(result):
    """A scalar that depends on every number of a result."""
    leaves = jax.tree.leaves(result)
    return sum(jnp.vdot(a, normal(seed, *a.shape)) for seed, a in enumerate(leaves))


@pytest.fixture(scope="module")
def variables():
    """Flax's own, with biases other than zero."""
    rnn = nn.RNN(nn.OptimizedLSTMCell(HIDDEN))
    variables = jax.jit(rnn.init)(jax.random.key(0), normal(1, 2, ROWS, FEATURES))
    leaves, tree = jax.tree.flatten(variables)
    return tree.unflatten([a + normal(seed, *a.shape) for seed, a in enumerate(leaves)])


@pytest.mark.parametrize("cell", [nn.OptimizedLSTMCell, nn.LSTMCell])
def test_starts_from_the_same_parameters(cell):
    x = normal(1, 2, ROWS, FEATURES)
    theirs = jax.jit(nn.RNN(cell(HIDDEN)).init)(jax.random.key(0), x)
    ours = jax.jit(LSTM(HIDDEN).init)(jax.random.key(0), x)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


CALLS = [
    {},
    {"reverse": True, "with_carry": True},
    {"reverse": True, "keep_order": True, "return_carry": True},
    {"seq_lengths": [6, 1, 4], "return_carry": True, "with_carry": True},
    {"seq_lengths": [6, 1, 4], "reverse": True, "return_carry": True},
    {"seq_lengths": [6, 1, 4], "reverse": True, "keep_order": True, "with_carry": True},
    {"time_major": True, "reverse": True, "seq_lengths": [6, 1, 4], "return_carry": True},
]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: "-".join(call) or "plain")
def test_is_flax_rnn(variables, call):
    call = dict(call)
    with_carry = call.pop("with_carry", False)
    shape = (ROWS, 3, FEATURES) if call.get("time_major") else (3, ROWS, FEATURES)
    x, carry = normal(2, *shape), (normal(3, 3, HIDDEN), normal(4, 3, HIDDEN))
    if "seq_lengths" in call:
        call["seq_lengths"] = jnp.array(call["seq_lengths"], jnp.int32)

    def value_and_gradient(module):
        def scalar(variables, x, carry):
            initial = carry if with_carry else None
            result = module.apply(variables, x, initial_carry=initial, **call)
            return weighted(result), result

        return jax.jit(jax.value_and_grad(scalar, (0, 1, 2), has_aux=True))(variables, x, carry)

    assert_close(
        value_and_gradient(LSTM(HIDDEN)),
        value_and_gradient(nn.RNN(nn.OptimizedLSTMCell(HIDDEN))),
    )


@pytest.mark.parametrize(("batch", "time_major"), [((), False), ((2, 3), False), ((2, 1, 3), True)])
def test_any_number_of_batch_dimensions(variables, batch, time_major):
    x = normal(2, ROWS, *batch, FEATURES) if time_major else normal(2, *batch, ROWS, FEATURES)
    options = {"time_major": time_major, "return_carry": True}
    ours = apply(LSTM(HIDDEN, **options), variables, x)
    theirs = apply(nn.RNN(nn.OptimizedLSTMCell(HIDDEN), **options), variables, x)
    assert_close(ours, theirs)


def test_options_of_the_call_go_before_those_of_the_module(variables):
    x = normal(2, 3, ROWS, FEATURES)
    module = LSTM(HIDDEN, time_major=True, reverse=True, keep_order=True, return_carry=True)
    options = dict.fromkeys(("time_major", "reverse", "keep_order", "return_carry"), False)
    ours = apply(module, variables, x, **options)
    assert_close(ours, apply(nn.RNN(nn.OptimizedLSTMCell(HIDDEN)), variables, x))


def test_half_precision(variables):
    x = normal(2, 3, ROWS, FEATURES)
    ours = apply(LSTM(HIDDEN, dtype=jnp.bfloat16), variables, x)
    assert ours.dtype == jnp.float32
    assert_close(ours, apply(LSTM(HIDDEN), variables, x), 0.05)


def test_a_sequence_without_rows_ends_where_it_began(variables):
    x, carry = normal(2, 3, ROWS, FEATURES), (normal(3, 3, HIDDEN), normal(4, 3, HIDDEN))
    lengths = jnp.zeros(3, jnp.int32)
    options = {"initial_carry": carry, "seq_lengths": lengths, "return_carry": True}
    end, _ = apply(LSTM(HIDDEN), variables, x, **options)
    jax.tree.map(np.testing.assert_array_equal, end, carry)


def test_wrong_shapes_are_named(variables):
    x = normal(2, 3, ROWS, FEATURES)
    with pytest.raises(ValueError, match=r"seq_lengths.*\(2,\).*\(3,\)"):
        LSTM(HIDDEN).apply(variables, x, seq_lengths=jnp.ones(2, jnp.int32))
    with pytest.raises(ValueError, match=r"initial_carry.*\(2, 5\).*\(3, 5\)"):
        LSTM(HIDDEN).apply(variables, x, initial_carry=(jnp.ones((2, 5)), jnp.ones((3, 5))))
    with pytest.raises(ValueError, match="inputs"):
        LSTM(HIDDEN).apply(variables, x[0, 0])


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
    x = jax.random.uniform(jax.random.key(1), (8, ROWS, FEATURES))
    variables = jax.jit(partial(model.init, method="fold"))(jax.random.key(0))
    whole = apply(model, variables, x)
    folded = apply(model, variables, method="fold")
    chunks = [jax.jit(apply_folded)(folded, chunk) for chunk in jnp.split(x, 4)]
    assert_close(np.concatenate(chunks), whole, 1e-6)
