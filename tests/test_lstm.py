"""The public function `lstm`, and `run_unstacked`. `test_scan.py` tests the recurrence itself."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fast_compile import fast_jit
from textbook import arguments as with_params
from textbook import assert_close, assert_equal, textbook, weighted

from lstm_jax.cells.lstm import lstm, lstm_cell
from lstm_jax.cells.scan import run, run_unstacked, stack_kernels


def arguments(shape=(5, 3, 4, 6)):
    """Returns x, input kernel, recurrent kernel, bias, carry; the shape is (T, B, I, H)."""
    (*kernels, _), x, carry = with_params("lstm", shape)
    return x, *kernels, carry


def lstm_last(*inputs, **options):
    """Returns the final carry, without keeping outputs."""
    return run_unstacked(lstm_cell, *inputs, **options, keep_outputs=False)[1]


def test_lstm_equals_the_textbook():
    x, *kernels, carry = arguments()
    lengths = jnp.array([0, 5, 2], jnp.int32)
    ours = fast_jit(partial(lstm, reverse=True))(x, *kernels, carry, lengths)
    assert_close(ours, textbook("lstm", (*kernels, {}), x, carry, lengths, reverse=True))


@pytest.mark.parametrize("options", [{}, {"reverse": True, "lengths_B": np.int32([0, 5, 2])}])
def test_the_carry_is_the_same_without_outputs(options):
    def value_and_gradient(carry_of):
        def scalar(*inputs):
            carry = carry_of(*inputs)
            return weighted(carry), carry

        return fast_jit(jax.value_and_grad(scalar, range(5), has_aux=True))(*arguments())

    (_, last), gradient = value_and_gradient(partial(lstm_last, **options))
    (_, carry), expected = value_and_gradient(lambda *inputs: lstm(*inputs, **options)[1])
    assert_equal(last, carry)
    assert_close(gradient, expected, 1e-6)


def test_half_precision_inputs_have_single_precision_states():
    x, *kernels, carry = arguments()
    rounded = jax.tree.map(lambda a: a.astype(jnp.bfloat16), (x, *kernels))
    both = fast_jit(jax.value_and_grad(lambda *a: weighted(lstm(*a, carry)), range(4)))
    half, gradient = both(*rounded)
    exact = tuple(a.astype(jnp.float32) for a in rounded)
    single, expected = both(*exact)
    assert half.dtype == jnp.float32
    assert half == single
    assert all(g.dtype == jnp.bfloat16 for g in gradient)
    assert_close([g.astype(jnp.float32) for g in gradient], list(expected), 2**-8)


def test_forward_mode_says_what_to_take_instead():
    with pytest.raises(TypeError, match=r"take jax\.grad, jax\.vjp or jax\.jacrev instead of"):
        jax.jvp(lambda x: lstm(x, *arguments()[1:]), (arguments()[0],), (arguments()[0],))


def test_a_gradient_that_is_not_used_costs_nothing():
    inputs = arguments((8, 4, 64, 8))

    def flops(numbers):
        gradient = fast_jit(jax.grad(lambda *a: weighted(lstm_last(*a)), numbers))
        return gradient.lower(*inputs).compile().cost_analysis()["flops"]

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
def test_a_wrong_shape_is_an_error_that_names_the_argument(function, name, shape):
    x, input_kernel, recurrent_kernel, bias, (c, h) = arguments()
    inputs = {"x_TBI": x, "input_kernel_IG": input_kernel, "bias_G": bias}
    inputs |= {"recurrent_kernel_HG": recurrent_kernel, "carry c_BH": c, "carry h_BH": h}
    inputs["lengths_B"] = jnp.zeros(3, jnp.int32)
    inputs[name] = jnp.zeros(shape, inputs[name].dtype)
    carry = inputs.pop("carry c_BH"), inputs.pop("carry h_BH")
    with pytest.raises(ValueError, match=name) as error:
        function(**inputs, carry=carry)
    assert str(shape) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_wrong_dtype_is_an_error_that_names_the_argument():
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
        run(lstm_cell, stack_kernels(lstm_cell, *kernels), x[:, :, :3])
