"""The recurrence of every cell equals its formula, and its gradient that of autodiff: alone, and
under vmap, map and shard_map.

The cells up to 2015; `test_modern_cells.py` has those after. A cell is tested through its line in
the table, against its formula in `textbook.py`.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fast_compile import fast_jit
from jax.sharding import Mesh, PartitionSpec
from textbook import FORMULAS, arguments, assert_close, assert_equal, textbook, weighted

from lstm_jax.cells import get_cell
from lstm_jax.cells.scan import flip, run, stack_kernels, trace

every_cell = pytest.mark.parametrize("name", FORMULAS)
# One with a gradient by hand, with blocks that read only x, with extra weights, with gates that are
# read back.
each_kind = pytest.mark.parametrize("name", ["lstm", "gru", "lstm_peephole", "lstm_fgr"])


def ours(name, params, x, state=None, lengths=None, reverse=False, keep_outputs=True):
    *kernels, extra = params
    options = {"initial": state, "lengths_B": lengths, "reverse": reverse}
    cell = get_cell(name)
    kernel = stack_kernels(cell, *kernels)
    return run(cell, kernel, x, extra, **options, keep_outputs=keep_outputs)


def ours_last(name, params, x):
    _, final = ours(name, params, x, keep_outputs=False)
    return final[get_cell(name).output_index]


def value_and_gradient(function, *inputs):
    def scalar(*inputs):
        result = function(*inputs)
        return weighted(result), result

    numbers = range(len(inputs))
    return fast_jit(jax.value_and_grad(scalar, numbers, has_aux=True))(*inputs)


@every_cell
def test_outputs_and_gradients_equal_those_of_the_formula(name):
    """All options at once: initial state, lengths, reverse order, outputs and the final state."""
    with jax.enable_x64(True):
        inputs = arguments(name, dtype="float64")
        options = {"lengths": jnp.array([5, 0, 1, 3], jnp.int32), "reverse": True}
        actual = value_and_gradient(partial(ours, name, **options), *inputs)
        expected = value_and_gradient(partial(textbook, name, **options), *inputs)
        assert_close(actual, expected, 1e-10)


@each_kind
def test_the_last_output_without_the_others(name):
    with jax.enable_x64(True):
        params, x, _ = arguments(name, (7, 1, 1, 2), dtype="float64")
        actual = value_and_gradient(partial(ours_last, name), params, x)
        expected = value_and_gradient(lambda *inputs: textbook(name, *inputs)[0][-1], params, x)
        assert_close(actual, expected, 1e-10)


@every_cell
def test_the_scan_equals_a_python_loop_and_the_trace_has_its_activations(name):
    params, x, _ = arguments(name)
    cell, (*kernels, extra) = get_cell(name), params
    kernel = stack_kernels(cell, *kernels)
    call = fast_jit(partial(run, cell))
    outputs, final = call(kernel, x, extra)
    looped, state = [], jax.tree.map(jnp.zeros_like, final)
    for x_BI in x:
        output, state = call(kernel, x_BI[None], extra, initial=state)
        looped.append(output[0])
    assert_close((outputs, final), (np.stack(looped), state), 1e-6)
    activations = fast_jit(partial(trace, cell))(kernel, x, extra)
    assert_close(activations["h"], outputs, 1e-6)
    if "cell" in activations:
        assert_close(activations["cell"][-1], final[cell.state.index("c")], 1e-6)
    for key, array in activations.items():
        assert array.shape == outputs.shape
        if key.endswith("gate"):
            assert 0 < np.min(array) < np.max(array) < 1


@pytest.mark.parametrize("name", ["lstm", "gru", "lstm_peephole", "brc", "lru"])
def test_gradients_are_the_same_under_vmap_map_and_shard_map(name):
    """vmap and map run over members, shard_map over the sequences of a batch, on two devices."""
    members = [arguments(name, (3, 4, 3, 4), seed)[:2] for seed in range(2)]
    lengths = jnp.array([1, 3, 2, 0], jnp.int32)
    mesh = Mesh(np.asarray(jax.devices()), ("data",))
    over_b, whole = PartitionSpec(None, "data"), PartitionSpec()

    def loss(params, x, lengths):
        outputs, final = ours(name, params, x, None, lengths)
        return sum(jnp.sum(jnp.square(a)) for a in (outputs, *final))

    @partial(
        jax.shard_map, mesh=mesh, in_specs=(whole, over_b, PartitionSpec("data")), out_specs=whole
    )
    def sharded(*inputs):
        return jax.lax.psum(loss(*inputs), "data")

    def gradients(members, first):
        gradient = jax.grad(partial(loss, lengths=lengths))
        stacked = jax.tree.map(lambda *a: jnp.stack(a), *members)
        mapped = jax.lax.map(lambda member: gradient(*member), stacked)
        return jax.vmap(gradient)(*stacked), mapped, jax.grad(sharded)(*first, lengths)

    alone = fast_jit(jax.grad(partial(loss, lengths=lengths)))
    looped = [alone(*member) for member in members]
    by_vmap, by_map, by_devices = fast_jit(gradients)(members, members[0])
    stacked = jax.tree.map(lambda *a: jnp.stack(a), *looped)
    assert_close(by_vmap, stacked)
    assert_close(by_map, stacked)
    assert_close(by_devices, looped[0])


def test_a_perturbation_changes_the_time_steps_after_it():
    params, x, _ = arguments("gru")
    cell, (*kernels, _) = get_cell("gru"), params
    activations = fast_jit(partial(trace, cell, stack_kernels(cell, *kernels), x))
    perturbation = jnp.zeros((5, 4, 6)).at[2].set(0.5)
    change = np.asarray(activations(perturbation_TBH=perturbation)["h"] - activations()["h"])
    assert not change[:2].any()
    np.testing.assert_allclose(change[2], 0.5, rtol=1e-5)
    assert (np.abs(change[3]) > 1e-4).any()


@pytest.mark.parametrize("name", ["lstm", "lstm_peephole"])
def test_second_derivatives(name):
    """One cell has a gradient by hand, the other does not."""
    with jax.enable_x64(True):
        inputs = arguments(name, (2, 1, 1, 2), dtype="float64")

        def curvature(function):
            def loss(inputs):
                return weighted(jax.tree.map(jnp.square, function(name, *inputs)))

            return fast_jit(jax.grad(lambda inputs: weighted(jax.grad(loss)(inputs))))(inputs)

        assert_close(curvature(ours), curvature(textbook), 1e-10)


@pytest.mark.parametrize("name", ["gru", "lstm_peephole"])
def test_padding_does_not_change_the_final_state(name):
    params, x, state = arguments(name)
    lengths = jnp.array([0, 5, 2, 1], jnp.int32)
    final_of = fast_jit(lambda *inputs: ours(name, *inputs)[1])
    final = final_of(params, x, state, lengths)
    padding = np.arange(5)[:, None, None] >= lengths[None, :, None]
    assert_equal(final_of(params, jnp.where(padding, 1e3, x), state, lengths), final)
    assert_equal([array[0] for array in final], [array[0] for array in state])


def test_two_flips_give_the_input_back():
    _, x, _ = arguments("rnn")
    lengths = jnp.array([1, 5, 2, 0], jnp.int32)
    assert_equal(flip(flip(x)), x)
    assert_equal(flip(flip(x, lengths), lengths), x)


def test_a_block_has_zeros_for_a_source_that_it_does_not_read():
    """The GRU has one column n, and two blocks: one reads h, the other x."""
    cell, ((*kernels, _), _, _) = get_cell("gru"), arguments("gru")
    kernel = stack_kernels(cell, *kernels)
    assert not kernel[:3, 12:18].any()
    assert not kernel[4:, 18:].any()
    assert_equal(kernel[4:, 12:18], kernels[1][:, 12:])


WRONG = {
    "x_TBI": [(5, 3), (0, 4, 3), (5, 0, 3)],
    "kernel_KG": [(10, 20), (9, 24), (24,)],
    "extra p_f": [(5,), (1, 6)],
    "carry c_BH": [(4, 5), (3, 6)],
    "carry h_BH": [(4, 5), (3, 6)],
    "lengths_B": [(2,), (4, 1)],
}


@pytest.mark.parametrize(
    ("wrong", "shape"), [(k, s) for k, shapes in WRONG.items() for s in shapes]
)
def test_a_wrong_shape_is_an_error_that_names_the_argument(wrong, shape):
    params, x, (c, h) = arguments("lstm_peephole")
    cell, (*kernels, extra) = get_cell("lstm_peephole"), params
    inputs = {"x_TBI": x, "kernel_KG": stack_kernels(cell, *kernels), "carry c_BH": c}
    inputs |= {"carry h_BH": h, "lengths_B": jnp.ones(4, jnp.int32), "extra p_f": extra["p_f"]}
    inputs[wrong] = jnp.zeros(shape, inputs[wrong].dtype)
    initial = inputs.pop("carry c_BH"), inputs.pop("carry h_BH")
    extra = extra | {"p_f": inputs.pop("extra p_f")}
    with pytest.raises(ValueError, match=wrong) as error:
        run(cell, **inputs, extra=extra, initial=initial)
    assert str(shape) in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_arrays_are_an_error_that_names_them():
    (*kernels, extra), x, state = arguments("lstm_peephole")
    cell = get_cell("lstm_peephole")
    kernel = stack_kernels(cell, *kernels)
    with pytest.raises(ValueError, match=r"extra has \[\].*p_i"):
        run(cell, kernel, x)
    with pytest.raises(ValueError, match="carry has 1 arrays; expected c, h"):
        run(cell, kernel, x, extra, initial=state[:1])
    with pytest.raises(TypeError, match="p_i"):
        run(cell, kernel, x, extra | {"p_i": jnp.ones(6, jnp.int32)})
