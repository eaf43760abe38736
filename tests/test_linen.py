"""The modules equal Flax's own on the same weights."""

from functools import partial

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fast_compile import fast_jit
from textbook import assert_close, weighted

import lstm_jax.nnx
from lstm_jax.cells import get_cell_or_layer
from lstm_jax.cells.linen import GRU, LRU, LSTM, RNN, SLSTM, MinGRU
from lstm_jax.cells.linen_matrices import MLSTM, GatedDeltaNet
from lstm_jax.cells.scan import flip, run, stack_kernels

HIDDEN, NUM_INPUTS, NUM_STEPS = 5, 3, 6


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def apply(module, variables, *arguments, **options):
    return fast_jit(partial(module.apply, **options))(variables, *arguments)


def noisy_variables(cell):
    """Returns the variables of Flax's own layer, with biases other than zero."""
    x = normal(1, 2, NUM_STEPS, NUM_INPUTS)
    leaves, tree = jax.tree.flatten(fast_jit(nn.RNN(cell(HIDDEN)).init)(jax.random.key(0), x))
    return tree.unflatten([a + normal(seed, *a.shape) for seed, a in enumerate(leaves)])


@pytest.fixture(scope="module")
def variables():
    return noisy_variables(nn.OptimizedLSTMCell)


PEERS = [(LSTM, nn.OptimizedLSTMCell), (LSTM, nn.LSTMCell), (GRU, nn.GRUCell), (RNN, nn.SimpleCell)]


@pytest.mark.parametrize(("module", "cell"), PEERS)
def test_initial_parameters_equal_flaxs(module, cell):
    x = normal(1, 2, NUM_STEPS, NUM_INPUTS)
    theirs = nn.RNN(cell(HIDDEN)).init(jax.random.key(0), x)
    ours = module(HIDDEN).init(jax.random.key(0), x)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


CALLS = [
    (LSTM, {}),
    (LSTM, {"reverse": True, "keep_order": True, "return_carry": True, "with_carry": True}),
    (LSTM, {"seq_lengths": [6, 1, 4], "return_carry": True, "with_carry": True}),
    (LSTM, {"seq_lengths": [6, 1, 4], "reverse": True, "keep_order": True, "with_carry": True}),
    (LSTM, {"time_major": True, "reverse": True, "seq_lengths": [6, 1, 4], "return_carry": True}),
    (GRU, {"seq_lengths": [6, 1, 4], "reverse": True, "return_carry": True, "with_carry": True}),
    (RNN, {"seq_lengths": [6, 1, 4], "reverse": True, "return_carry": True, "with_carry": True}),
]


@pytest.mark.parametrize(("module", "call"), CALLS)
def test_a_layer_equals_flaxs_with_each_option(module, call):
    """Outputs, the carry (of GRU and RNN one array) and all gradients are compared."""
    call = dict(call)
    with_carry = call.pop("with_carry", False)
    shape = (NUM_STEPS, 3, NUM_INPUTS) if call.get("time_major") else (3, NUM_STEPS, NUM_INPUTS)
    x, carry = normal(2, *shape), normal(3, 3, HIDDEN)
    carry = (carry, normal(4, 3, HIDDEN)) if module is LSTM else carry
    cell = dict(PEERS[:1] + PEERS[2:])[module]
    variables = noisy_variables(cell)
    if "seq_lengths" in call:
        call["seq_lengths"] = jnp.array(call["seq_lengths"], jnp.int32)

    def value_and_gradient(module):
        def scalar(variables, x, carry):
            initial = carry if with_carry else None
            result = module.apply(variables, x, initial_carry=initial, **call)
            return weighted(result), result

        return fast_jit(jax.value_and_grad(scalar, (0, 1, 2), has_aux=True))(variables, x, carry)

    assert_close(value_and_gradient(module(HIDDEN)), value_and_gradient(nn.RNN(cell(HIDDEN))))


@pytest.mark.parametrize(("batch", "time_major"), [((), False), ((2, 3), False), ((2, 1, 3), True)])
def test_any_number_of_batch_axes(variables, batch, time_major):
    x = normal(2, *((NUM_STEPS, *batch) if time_major else (*batch, NUM_STEPS)), NUM_INPUTS)
    options = {"time_major": time_major, "return_carry": True}
    ours = apply(LSTM(HIDDEN, **options), variables, x)
    theirs = apply(nn.RNN(nn.OptimizedLSTMCell(HIDDEN), **options), variables, x)
    assert_close(ours, theirs)


def test_options_of_the_call_replace_those_of_the_module(variables):
    x = normal(2, 3, NUM_STEPS, NUM_INPUTS)
    module = LSTM(HIDDEN, time_major=True, reverse=True, keep_order=True, return_carry=True)
    options = dict.fromkeys(("time_major", "reverse", "keep_order", "return_carry"), False)
    ours = apply(module, variables, x, **options)
    assert_close(ours, apply(nn.RNN(nn.OptimizedLSTMCell(HIDDEN)), variables, x))


def test_half_precision_has_single_precision_outputs(variables):
    x = normal(2, 3, NUM_STEPS, NUM_INPUTS)
    ours = apply(LSTM(HIDDEN, dtype=jnp.bfloat16), variables, x)
    assert ours.dtype == jnp.float32
    assert_close(ours, apply(LSTM(HIDDEN), variables, x), 0.05)


def test_the_final_carry_of_an_empty_sequence_is_its_initial_one(variables):
    x, carry = normal(2, 3, NUM_STEPS, NUM_INPUTS), (normal(3, 3, HIDDEN), normal(4, 3, HIDDEN))
    lengths = jnp.zeros(3, jnp.int32)
    options = {"initial_carry": carry, "seq_lengths": lengths, "return_carry": True}
    final, _ = apply(LSTM(HIDDEN), variables, x, **options)
    jax.tree.map(np.testing.assert_array_equal, final, carry)


def test_a_wrong_shape_is_an_error_that_names_the_argument(variables):
    x = normal(2, 3, NUM_STEPS, NUM_INPUTS)
    with pytest.raises(ValueError, match=r"seq_lengths.*\(2,\).*\(3,\)"):
        LSTM(HIDDEN).apply(variables, x, seq_lengths=jnp.ones(2, jnp.int32))
    with pytest.raises(ValueError, match=r"initial_carry.*\(2, 5\).*\(3, 5\)"):
        LSTM(HIDDEN).apply(variables, x, initial_carry=(jnp.ones((2, 5)), jnp.ones((3, 5))))
    with pytest.raises(ValueError, match="inputs"):
        LSTM(HIDDEN).apply(variables, x[0, 0])


OWN = [(MinGRU, 1), (LRU, 3), (SLSTM, 4)]


@pytest.mark.parametrize(("module", "num_states"), OWN)
def test_a_layer_of_our_own_is_its_cell(module, num_states):
    """Parameters start as the cell says; the layer reads backwards, with lengths and a carry."""
    x, lengths = normal(2, 3, NUM_STEPS, NUM_INPUTS), jnp.array([6, 1, 4], jnp.int32)
    carry = tuple(jnp.abs(normal(3 + i, 3, HIDDEN)) + 1 for i in range(num_states))
    layer = module(HIDDEN, return_carry=True)
    variables = fast_jit(layer.init)(jax.random.key(0), x)
    weights, cell = dict(variables["params"]["cell"]), module.cell
    kernel_names = ("kernel", "recurrent_kernel") if cell.read else ("kernel",)
    assert set(weights) == {*kernel_names, "bias", *cell.extra}
    recurrent = weights.pop("recurrent_kernel", np.zeros((0, len(cell.columns) * HIDDEN)))
    kernels = weights.pop("kernel"), recurrent, weights.pop("bias")
    assert_close(kernels[2][HIDDEN] == 5, module is SLSTM)
    initial = carry if num_states > 1 else carry[0]
    final, outputs = apply(
        layer, variables, x, initial_carry=initial, seq_lengths=lengths, reverse=True
    )
    expected, state = fast_jit(
        lambda x: run(
            cell, stack_kernels(cell, *map(jnp.asarray, kernels)), x, weights, initial=carry,
            lengths_B=lengths, reverse=True,
        )
    )(x.swapaxes(0, 1))  # fmt: skip
    assert_close(outputs.swapaxes(0, 1), expected)
    assert_close(jax.tree.leaves(final), list(state))


MATRICES = [
    (MLSTM, "mlstm", {}),
    (GatedDeltaNet, "gated_deltanet", {"chunkwise": True}),
    (GatedDeltaNet, "gated_deltanet_neg", {"negative": True}),
]


@pytest.mark.parametrize(("module", "name", "fields"), MATRICES)
def test_a_layer_of_matrices_is_that_of_a_run(module, name, fields):
    """On the same parameters; it reads backwards, with two batch axes, lengths and a carry."""
    x, lengths = (
        normal(2, 3, 2, NUM_STEPS, NUM_INPUTS),
        jnp.array([[6, 9], [4, 0], [1, 6]], "int32"),
    )
    layer, function = module(8, return_carry=True, **fields), get_cell_or_layer(name)
    function = function.associative() if layer.chunkwise else function
    variables = fast_jit(layer.init)(jax.random.key(0), x)
    params = jax.tree.map(lambda a: a + normal(1, *a.shape), variables["params"]["cell"])
    shapes = layer.carry_shapes().values()
    carry = tuple(normal(3 + i, 3, 2, *shape) for i, shape in enumerate(shapes))
    carry = carry if len(carry) > 1 else carry[0]
    final, outputs = apply(
        layer, {"params": {"cell": params}}, x, initial_carry=carry, seq_lengths=lengths,
        reverse=True, keep_order=True,
    )  # fmt: skip

    def of_run(params, x_TBI, carry):
        ends = jnp.minimum(lengths.reshape(6), NUM_STEPS)
        h_TBH, carry = function.apply(params, flip(x_TBI, ends), ends, carry)
        return carry, flip(h_TBH, ends)

    x_TBI = x.reshape(6, NUM_STEPS, NUM_INPUTS).swapaxes(0, 1)
    carry = jax.tree.map(lambda a: a.reshape(6, *a.shape[2:]), carry)
    expected, h_TBH = fast_jit(of_run)(params, x_TBI, carry)
    assert_close(outputs.reshape(6, NUM_STEPS, 8).swapaxes(0, 1), h_TBH)
    assert_close(
        jax.tree.leaves(final), [a.reshape(3, 2, *a.shape[1:]) for a in jax.tree.leaves(expected)]
    )


def test_layers_of_matrices_start_as_those_of_a_run_and_refuse_other_widths_and_carries():
    x = normal(2, 3, NUM_STEPS, NUM_INPUTS)
    layer = GatedDeltaNet(24, heads=3, param_dtype=jnp.bfloat16, dtype=jnp.bfloat16)
    params = fast_jit(layer.init)(jax.random.key(0), x)["params"]["cell"]
    assert {name: (a.shape, a.dtype) for name, a in params.items()} == {
        "kernel": ((NUM_INPUTS + 1, 4 * 24 + 2 * 3), jnp.bfloat16), "a": ((3,), jnp.bfloat16),
    }  # fmt: skip
    assert apply(layer, {"params": {"cell": params}}, x).dtype == jnp.float32
    for features, says in ((6, "multiple of heads, 4"), (4, "at least 8")):
        with pytest.raises(ValueError, match=says):
            jax.eval_shape(MLSTM(features).init, jax.random.key(0), x)
    with pytest.raises(ValueError, match="has 1 arrays; expected C and n, m"):
        jax.eval_shape(partial(MLSTM(8).init, initial_carry=x), jax.random.key(0), x)
    with pytest.raises(TypeError, match="int32; expected floats"):
        jax.eval_shape(MLSTM(8).init, jax.random.key(0), x.astype(jnp.int32))


def test_nnx_has_the_modules_of_linen():
    for module in (LSTM, GRU, RNN, MinGRU, LRU, SLSTM, MLSTM, GatedDeltaNet):
        assert getattr(lstm_jax.nnx, module.__name__).linen_class is module


def test_an_nnx_layer_has_the_parameters_and_the_bits_of_linen():
    """The bits of outputs, gradients and a time step are compared."""
    x, rngs = normal(2, 3, NUM_STEPS, NUM_INPUTS), flax.nnx.Rngs(0)
    theirs = LSTM(HIDDEN, return_carry=True)
    ours = lstm_jax.nnx.LSTM(NUM_INPUTS, HIDDEN, rngs=rngs, return_carry=True)
    params = theirs.init(flax.nnx.Rngs(0).params(), x)["params"]
    graph, state = flax.nnx.split(ours)
    jax.tree.map(np.testing.assert_array_equal, flax.nnx.to_pure_dict(state), params)

    def run_all(apply, params):
        options = {"seq_lengths": jnp.array([6, 1, 4], jnp.int32), "reverse": True}

        def scalar(params):
            carry, outputs = apply(params, x, **options)
            return weighted(outputs), apply(params, carry, x[:, 0], method="step")

        return fast_jit(jax.value_and_grad(scalar, has_aux=True))(params)

    def of_nnx(state, *arguments, method="__call__", **options):
        return getattr(flax.nnx.merge(graph, state), method)(*arguments, **options)

    actual, gradient = run_all(of_nnx, state)
    expected = run_all(lambda params, *a, **k: theirs.apply({"params": params}, *a, **k), params)
    both = (actual, flax.nnx.to_pure_dict(gradient)), expected
    jax.tree.map(np.testing.assert_array_equal, *both)


@pytest.mark.parametrize("module", [LSTM, RNN, MinGRU, LRU, SLSTM, MLSTM, GatedDeltaNet])
def test_step_by_step_has_the_bits_of_the_sequence(module):
    x, layer = normal(2, 3, NUM_STEPS, NUM_INPUTS), module(8)
    variables, outputs = fast_jit(layer.init)(jax.random.key(0), x), []
    step = jax.jit(partial(layer.apply, method="step"))
    carry = jax.tree.map(jnp.zeros_like, jax.eval_shape(step, variables, None, x[:, 0])[0])
    for t in range(NUM_STEPS):
        carry, output = step(variables, carry, x[:, t])
        outputs.append(output)
    whole = jax.jit(layer.apply)(variables, x)
    np.testing.assert_array_equal(np.stack(outputs, axis=1), whole)
