"""The recurrence is a textbook LSTM, its backward pass the gradient, under every transformation."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh, PartitionSpec

from lstm_jax.cells.lstm import flip, lstm, lstm_last, lstm_last_stacked, stack_kernels

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}


def textbook(x_TBI, input_kernel, recurrent_kernel, bias, carry=None, lengths=None, reverse=False):
    """All outputs and the carry at the end of each sequence."""
    rows, batch, _ = x_TBI.shape
    lengths = jnp.full(batch, rows, jnp.int32) if lengths is None else lengths
    t_T = jnp.arange(rows, dtype=jnp.int32)
    if reverse:
        order = (t_T[::-1, None] + lengths[None]) % rows
        x_TBI = x_TBI[order, jnp.arange(batch, dtype=jnp.int32)[None]]
    zeros = jnp.zeros((batch, len(recurrent_kernel)), x_TBI.dtype)
    carry = carry or (zeros, zeros)

    def cell(state, row):
        (c, h), end = state
        t, x = row
        i, g, f, o = jnp.split(x @ input_kernel + h @ recurrent_kernel + bias[None], 4, axis=1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        new = c, h
        end = jax.tree.map(partial(jnp.where, (t < lengths)[:, None]), new, end)
        return (new, end), h

    (_, end), outputs = jax.lax.scan(cell, (carry, carry), (t_T, x_TBI))
    return outputs, end


def arguments(shape=(5, 3, 4, 6), seed=0, dtype="float32"):
    """x, input kernel, recurrent kernel, bias, carry."""
    rows, batch, features, hidden = shape
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), dtype)

    kernels = normal(features, 4 * hidden), normal(hidden, 4 * hidden), normal(4 * hidden)
    return normal(rows, batch, features), *kernels, (normal(batch, hidden), normal(batch, hidden))


def weighted(result, seed=1):
    """A scalar that depends on every number of a result."""
    rng = np.random.default_rng(seed)
    leaves = jax.tree.leaves(result)
    return sum(jnp.vdot(a, jnp.asarray(rng.normal(size=a.shape), a.dtype)) for a in leaves)


def assert_close(actual, expected, tolerance=1e-5):
    """Each array to `tolerance` of its largest number."""
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            a, b, rtol=0, atol=tolerance * max(1.0, np.max(np.abs(b)))
        ),
        actual,
        expected,
    )


def assert_equal(actual, expected):
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


@partial(jax.jit, static_argnames=("function", "reverse"))
def value_and_gradient(function, given, lengths, reverse):
    def scalar(*given):
        result = function(*given, lengths=lengths, reverse=reverse)
        return weighted(result), result

    (_, value), gradient = jax.value_and_grad(scalar, range(len(given)), has_aux=True)(*given)
    return value, gradient


def ours(*given, lengths, reverse):
    return lstm(*given, lengths_B=lengths, reverse=reverse)


@settings(max_examples=16, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    shape=st.sampled_from([(5, 3, 4, 6), (1, 1, 1, 1)]),
    dtype=st.sampled_from(["float32", "float64"]),
    with_carry=st.booleans(),
    with_lengths=st.booleans(),
    reverse=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_the_textbook_and_its_autodiff(
    shape, dtype, with_carry, with_lengths, reverse, seed
):
    with jax.enable_x64(dtype == "float64"):
        x, *kernels, carry = arguments(shape, seed, dtype)
        rows, batch = shape[:2]
        lengths = np.random.default_rng(seed).integers(0, rows + 1, batch).astype(np.int32)
        given = (x, *kernels, carry) if with_carry else (x, *kernels)
        lengths = jnp.asarray(lengths) if with_lengths else None
        actual = value_and_gradient(ours, given, lengths, reverse)
        expected = value_and_gradient(textbook, given, lengths, reverse)
        assert_close(actual, expected, TOLERANCE[dtype])


@pytest.mark.parametrize("with_lengths", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_last_is_the_carry(with_lengths, reverse):
    given = arguments()
    lengths = jnp.array([0, 5, 2], jnp.int32) if with_lengths else None
    both = partial(lstm, lengths_B=lengths, reverse=reverse)
    last = partial(lstm_last, lengths_B=lengths, reverse=reverse)
    assert_equal(jax.jit(last)(*given), jax.jit(both)(*given)[1])
    gradients = [
        jax.jit(jax.grad(lambda *a, f=f: weighted(f(*a)), range(5)))(*given)
        for f in (last, lambda *a: both(*a)[1])
    ]
    assert_close(*gradients, 1e-6)


def test_stacked_is_the_same():
    x, *kernels, _ = arguments()
    stacked = jax.jit(lambda x, *kernels: lstm_last_stacked(x, stack_kernels(*kernels)))
    assert_equal(stacked(x, *kernels), jax.jit(lstm_last)(x, *kernels))


def test_scan_is_a_python_loop():
    x, *kernels, carry = arguments()
    call = jax.jit(lstm)
    outputs, end = call(x, *kernels, carry)
    looped = []
    for row in x:
        output, carry = call(row[None], *kernels, carry)
        looped.append(output[0])
    assert_close((outputs, end), (np.stack(looped), carry), 1e-6)


def test_padding_is_never_seen_by_the_carry():
    x, *kernels, carry = arguments()
    lengths = jnp.array([0, 5, 2], jnp.int32)
    last = jax.jit(lstm_last)
    c, h = last(x, *kernels, carry, lengths)
    assert_equal((c[0], h[0]), (carry[0][0], carry[1][0]))
    for b in (1, 2):
        alone = last(
            x[: lengths[b], b : b + 1], *kernels, jax.tree.map(lambda a, b=b: a[b : b + 1], carry)
        )
        assert_close((c[b], h[b]), jax.tree.map(lambda a: a[0], alone), 1e-6)
    slope = jax.grad(lambda x, *rest: weighted(lstm_last(x, *rest)))
    gradient = jax.jit(slope)(x, *kernels, carry, lengths)
    padding = np.arange(5)[:, None] >= lengths[None]
    assert not np.any(np.asarray(gradient)[padding])


def test_flip_twice_is_nothing():
    x = arguments()[0]
    lengths = jnp.array([1, 5, 2], jnp.int32)
    assert_equal(flip(flip(x)), x)
    assert_equal(flip(flip(x, lengths), lengths), x)


def test_vmap_and_map_are_loops():
    members = [arguments(seed=seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *a: jnp.stack(a), *members)
    gradient = jax.jit(jax.grad(lambda *given: weighted(lstm(*given)), range(5)))
    looped = jax.tree.map(lambda *a: jnp.stack(a), *[gradient(*given) for given in members])
    assert_close(jax.vmap(gradient)(*stacked), looped)
    assert_close(jax.lax.map(lambda given: gradient(*given), stacked), looped)


@pytest.mark.parametrize("lengths", [None, np.array([1, 5, 2, 0], np.int32)])
def test_shard_map_over_the_batch_is_the_whole_batch(lengths):
    x, *kernels, _ = arguments((5, 4, 3, 6))
    mesh = Mesh(np.asarray(jax.devices()), ("data",))
    over_b, whole = PartitionSpec(None, "data"), PartitionSpec()

    def loss(kernels, x, lengths):
        return jnp.sum(jnp.square(lstm(x, *kernels, None, lengths)[1][1]))

    def sharded(kernels, x, lengths):
        value = jax.shard_map(
            lambda *args: jax.lax.psum(loss(*args), "data"),
            mesh=mesh,
            in_specs=(whole, over_b, None if lengths is None else PartitionSpec("data")),
            out_specs=whole,
        )(kernels, x, lengths)
        return value

    lengths = None if lengths is None else jnp.asarray(lengths)
    actual = jax.jit(jax.value_and_grad(sharded))(tuple(kernels), x, lengths)
    assert_close(actual, jax.jit(jax.value_and_grad(loss))(tuple(kernels), x, lengths))


def test_half_precision_has_a_single_precision_state():
    x, *kernels, carry = arguments()
    rounded = jax.tree.map(lambda a: a.astype(jnp.bfloat16), (x, *kernels))
    both = jax.jit(jax.value_and_grad(lambda *a: weighted(lstm(*a, carry)), range(4)))
    half, gradient = both(*rounded)
    exact = tuple(a.astype(jnp.float32) for a in rounded)
    single, expected = both(*exact)
    assert half.dtype == jnp.float32
    assert half == single
    assert all(g.dtype == jnp.bfloat16 for g in gradient)
    assert_close([g.astype(jnp.float32) for g in gradient], list(expected), 2**-8)


def test_second_derivatives():
    with jax.enable_x64(True):
        given = arguments((3, 2, 2, 3), dtype="float64")

        def curvature(function):
            def loss(*given):
                return weighted(jax.tree.map(jnp.square, function(*given)))

            def slope(*given):
                return weighted(jax.grad(loss, range(5))(*given))

            return jax.jit(jax.grad(slope, range(5)))(*given)

        assert_close(curvature(lstm), curvature(textbook), 1e-10)


def test_forward_mode_is_a_clear_error():
    with pytest.raises(TypeError, match="custom_vjp"):
        jax.jvp(lambda x: lstm(x, *arguments()[1:]), (arguments()[0],), (arguments()[0],))


def test_a_gradient_nobody_asks_for_costs_nothing():
    given = arguments((8, 4, 64, 8))

    def flops(numbers):
        gradient = jax.jit(jax.grad(lambda *a: weighted(lstm_last(*a)), numbers))
        return gradient.lower(*given).compile().cost_analysis()["flops"]

    input_product = 2 * 8 * 4 * 64 * 32
    assert flops((0, 1, 2, 3)) - flops((1, 2, 3)) >= 0.9 * input_product
    assert flops((0, 1, 2, 3)) - flops((0,)) >= 0.9 * input_product


WRONG = {
    "x_TBI": [(5, 3), (0, 3, 4), (5, 0, 4)],
    "input_kernel_IG": [(3, 24), (4, 20), (24,)],
    "recurrent_kernel_HG": [(6, 20), (5, 24), (24,)],
    "bias_G": [(6,), (24, 1)],
    "carry c_BH": [(2, 6), (3, 5)],
    "carry h_BH": [(2, 6), (3, 5)],
    "lengths_B": [(2,), (3, 1)],
}
CASES = [(name, shape) for name, shapes in WRONG.items() for shape in shapes]


@pytest.mark.parametrize("function", [lstm, lstm_last])
@pytest.mark.parametrize(("name", "shape"), CASES)
def test_a_shape_that_does_not_fit_is_named(function, name, shape):
    x, input_kernel, recurrent_kernel, bias, (c, h) = arguments()
    given = {"x_TBI": x, "input_kernel_IG": input_kernel, "bias_G": bias}
    given |= {"recurrent_kernel_HG": recurrent_kernel, "carry c_BH": c, "carry h_BH": h}
    given["lengths_B"] = jnp.zeros(3, jnp.int32)
    given[name] = jnp.zeros(shape, given[name].dtype)
    carry = given.pop("carry c_BH"), given.pop("carry h_BH")
    with pytest.raises(ValueError, match=name) as error:
        function(**given, carry=carry)
    assert str(shape) in str(error.value)
    assert "\n" not in str(error.value)


def test_numbers_of_the_wrong_kind_are_named():
    x, *kernels, carry = arguments()
    with pytest.raises(TypeError, match="x_TBI"):
        lstm(x.astype(jnp.int32), *kernels)
    with pytest.raises(TypeError, match="bias_G"):
        lstm(x, *kernels[:2], kernels[2].astype(jnp.uint8))
    with pytest.raises(TypeError, match="carry c_BH"):
        lstm(x, *kernels, (carry[0].astype(jnp.int32), carry[1]))
    with pytest.raises(TypeError, match="lengths_B"):
        lstm(x, *kernels, lengths_B=jnp.ones(3))
    with pytest.raises(ValueError, match=r"kernel_KG.*\(11, 24\)"):
        lstm_last_stacked(x[:, :, :3], stack_kernels(*kernels))
