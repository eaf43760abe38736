"""The recurrence of every cell is its formula, its gradient autodiff's, under each gradient_transformation.

A new cell is tested by its line in the table, and by its formula in `textbook.py`.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fast_compile import fast_jit
from jax.sharding import Mesh, PartitionSpec
from textbook import FORMULAS, arguments, assert_close, assert_equal, textbook, weighted

from lstm_jax.cells import CELLS, get_cell
from lstm_jax.cells.scan import flip, run, stack_kernels, trace

every_cell = pytest.mark.parametrize("name", CELLS)
# With a pair of its own, with blocks of x alone, with extra weights, with gates read back.
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


def value_and_gradient(function, *given):
    def scalar(*given):
        result = function(*given)
        return weighted(result), result

    numbers = range(len(given))
    return fast_jit(jax.value_and_grad(scalar, numbers, has_aux=True))(*given)


@every_cell
def test_it_is_the_formula_and_its_gradient_autodiffs(name):
    """All at once: an initial state, lengths, reverse order, outputs and the end."""
    assert name in FORMULAS, "write the paper's formula into tests/textbook.py"
    with jax.enable_x64(True):
        given = arguments(name, dtype="float64")
        options = {"lengths": jnp.array([5, 0, 1, 3], jnp.int32), "reverse": True}
        actual = value_and_gradient(partial(ours, name, **options), *given)
        options["lengths_B"] = options.pop("lengths")
        assert_close(actual, value_and_gradient(partial(textbook, name, **options), *given), 1e-10)


@each_kind
def test_the_last_output_from_zeros(name):
    with jax.enable_x64(True):
        params, x, _ = arguments(name, (7, 1, 1, 2), dtype="float64")
        actual = value_and_gradient(partial(ours_last, name), params, x)
        expected = value_and_gradient(lambda *given: textbook(name, *given)[0][-1], params, x)
        assert_close(actual, expected, 1e-10)


@every_cell
def test_the_scan_is_a_python_loop_and_the_trace_is_of_it(name):
    params, x, _ = arguments(name)
    cell, (*kernels, extra) = get_cell(name), params
    kernel = stack_kernels(cell, *kernels)
    call = fast_jit(partial(run, cell))
    outputs, end = call(kernel, x, extra)
    looped, state = [], jax.tree.map(jnp.zeros_like, end)
    for row in x:
        output, state = call(kernel, row[None], extra, initial=state)
        looped.append(output[0])
    assert_close((outputs, end), (np.stack(looped), state), 1e-6)
    looks = fast_jit(partial(trace, cell))(kernel, x, extra)
    assert_close(looks["h"], outputs, 1e-6)
    if "cell" in looks:
        assert_close(looks["cell"][-1], end[cell.state.index("c")], 1e-6)
    for key, array in looks.items():
        assert array.shape == outputs.shape
        if key.endswith("gate"):
            assert 0 < np.min(array) < np.max(array) < 1


@pytest.mark.parametrize("name", ["lstm", "gru", "lstm_peephole"])
def test_vmap_and_map_are_loops_and_shard_map_is_the_whole_batch(name):
    """Gradients of the end and of the outputs, over members and over the devices of a mesh."""
    members = [arguments(name, (3, 4, 3, 4), seed)[:2] for seed in range(2)]
    lengths = jnp.array([1, 3, 2, 0], jnp.int32)
    mesh = Mesh(np.asarray(jax.devices()), ("data",))
    over_b, whole = PartitionSpec(None, "data"), PartitionSpec()

    def loss(params, x, lengths):
        outputs, end = ours(name, params, x, None, lengths)
        return sum(jnp.sum(jnp.square(a)) for a in (outputs, *end))

    @partial(
        jax.shard_map,
        mesh=mesh,
        in_specs=(whole, over_b, PartitionSpec("data")),
        out_specs=whole,
    )
    def sharded(*given):
        return jax.lax.psum(loss(*given), "data")

    def gradients(members, first):
        gradient = jax.grad(partial(loss, lengths=lengths))
        stacked = jax.tree.map(lambda *a: jnp.stack(a), *members)
        mapped = jax.lax.map(lambda given: gradient(*given), stacked)
        return jax.vmap(gradient)(*stacked), mapped, jax.grad(sharded)(*first, lengths)

    alone = fast_jit(jax.grad(partial(loss, lengths=lengths)))
    looped = [alone(*given) for given in members]
    by_vmap, by_map, by_devices = fast_jit(gradients)(members, members[0])
    stacked = jax.tree.map(lambda *a: jnp.stack(a), *looped)
    assert_close(by_vmap, stacked)
    assert_close(by_map, stacked)
    assert_close(by_devices, looped[0])


def test_a_nudge_is_seen_by_the_rows_after():
    params, x, _ = arguments("gru")
    cell, (*kernels, _) = get_cell("gru"), params
    look = fast_jit(partial(trace, cell, stack_kernels(cell, *kernels), x))
    perturbation = jnp.zeros((5, 4, 6)).at[2].set(0.5)
    change = np.asarray(look(perturbation_TBH=perturbation)["h"] - look()["h"])
    assert not change[:2].any()
    np.testing.assert_allclose(change[2], 0.5, rtol=1e-5)
    assert (np.abs(change[3]) > 1e-4).any()


@pytest.mark.parametrize("name", ["lstm", "lstm_peephole"])
def test_second_derivatives(name):
    """Of a cell with a pair of its own, and of one without."""
    with jax.enable_x64(True):
        given = arguments(name, (2, 1, 1, 2), dtype="float64")

        def curvature(function):
            def loss(given):
                return weighted(jax.tree.map(jnp.square, function(name, *given)))

            return fast_jit(jax.grad(lambda given: weighted(jax.grad(loss)(given))))(given)

        assert_close(curvature(ours), curvature(textbook), 1e-10)


@pytest.mark.parametrize("name", ["gru", "lstm_peephole"])
def test_padding_is_never_seen(name):
    params, x, state = arguments(name)
    lengths = jnp.array([0, 5, 2, 1], jnp.int32)
    end_of = fast_jit(lambda *given: ours(name, *given)[1])
    end = end_of(params, x, state, lengths)
    padding = np.arange(5)[:, None, None] >= lengths[None, :, None]
    assert_equal(end_of(params, jnp.where(padding, 1e3, x), state, lengths), end)
    assert_equal([part[0] for part in end], [part[0] for part in state])


def test_flip_twice_is_nothing():
    _, x, _ = arguments("rnn")
    lengths = jnp.array([1, 5, 2, 0], jnp.int32)
    assert_equal(flip(flip(x)), x)
    assert_equal(flip(flip(x, lengths), lengths), x)


def test_a_block_of_zeros_has_no_gradient_and_no_effect():
    """The GRU's candidate takes from x and from h apart; its column serves both."""
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
def test_a_shape_that_does_not_fit_is_named(wrong, shape):
    params, x, (c, h) = arguments("lstm_peephole")
    cell, (*kernels, extra) = get_cell("lstm_peephole"), params
    given = {"x_TBI": x, "kernel_KG": stack_kernels(cell, *kernels), "carry c_BH": c}
    given |= {"carry h_BH": h, "lengths_B": jnp.ones(4, jnp.int32), "extra p_f": extra["p_f"]}
    given[wrong] = jnp.zeros(shape, given[wrong].dtype)
    initial = given.pop("carry c_BH"), given.pop("carry h_BH")
    extra = extra | {"p_f": given.pop("extra p_f")}
    with pytest.raises(ValueError, match=wrong) as error:
        run(cell, **given, extra=extra, initial=initial)
    assert str(shape) in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_missing_or_too_much_is_named():
    (*kernels, extra), x, state = arguments("lstm_peephole")
    cell = get_cell("lstm_peephole")
    kernel = stack_kernels(cell, *kernels)
    with pytest.raises(ValueError, match=r"extra has \[\].*p_i"):
        run(cell, kernel, x)
    with pytest.raises(ValueError, match="carry has 1 arrays; expected c, h"):
        run(cell, kernel, x, extra, initial=state[:1])
    with pytest.raises(TypeError, match="p_i"):
        run(cell, kernel, x, extra | {"p_i": jnp.ones(6, jnp.int32)})
