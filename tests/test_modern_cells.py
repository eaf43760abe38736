"""Each cell since 2016 against its formula in NumPy, and time step by time step to the bit.

A new cell is tested through its line in the table and its formula in `textbook_modern.py`.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fast_compile import fast_jit
from flax import linen as nn
from textbook import FORMULAS, arguments, assert_close, assert_equal, weighted
from textbook_modern import HEADS, MODERN, textbook_numpy

from lstm_jax import linear_scan
from lstm_jax.cells import CELLS, get_cell, scan
from lstm_jax.cells.cell import Block, Weight
from lstm_jax.cells.kernel_form import full_kernels, kernel_rows
from lstm_jax.cells.linear_cell import LinearCell
from lstm_jax.cells.scan import run, stack_kernels
from lstm_jax.cells.staged_cell import StagedCell
from lstm_jax.config.experiment import Experiment
from lstm_jax.errors import UserError
from lstm_jax.model.layer import CellParams
from lstm_jax.model.size import choose_width
from lstm_jax.tasks.task import ModelSpec

every_cell = pytest.mark.parametrize("name", MODERN)
# With heads a cell runs as it does with one, on another kernel.
WITHOUT_HEADS = [name for name in MODERN if name not in HEADS]


def test_each_cell_of_the_table_has_a_formula():
    assert {*FORMULAS, *MODERN} == {*CELLS}


def ours(name, params, x, state, lengths=None, reverse=False, **options):
    *kernels, bias, extra = params
    cell = get_cell(name)
    kernels = full_kernels(cell, jnp.concatenate(kernels), x.shape[2])
    options |= {"initial": state, "lengths_B": lengths, "reverse": reverse}
    return run(cell, stack_kernels(cell, *kernels, bias), x, extra, **options)


@every_cell
def test_outputs_equal_the_formula_and_gradients_its_differences(name):
    """All options at once: initial state, lengths, reverse order, outputs and the final state."""
    lengths = np.array([5, 0, 1, 3], np.int32)
    with jax.enable_x64(True):
        params, x, state = arguments(name, (5, 4, 4, 8), dtype="float64")
        if name.startswith("slstm"):  # its n is at least 1 after a time step
            state = state[0], 1 + jnp.abs(state[1]), *state[2:]
        inputs = params, x, state

        def scalar(*inputs):
            result = ours(name, *inputs, lengths=lengths, reverse=True)
            return weighted(result), result

        gradient, result = fast_jit(jax.grad(scalar, (0, 1, 2), has_aux=True))(*inputs)
        leaves, tree = jax.tree.flatten(jax.tree.map(np.asarray, inputs))
        slopes = jax.tree.leaves(gradient)

    def formula(leaves):
        return textbook_numpy(name, *jax.tree.unflatten(tree, leaves), lengths, True)

    assert_close(result, formula(leaves), 1e-12)
    rng = np.random.default_rng(2)
    for index, slope in enumerate(slopes):
        step = 1e-6 * rng.normal(size=leaves[index].shape)
        above, below = (
            weighted_numpy(formula([*leaves[:index], leaves[index] + d, *leaves[index + 1 :]]))
            for d in (step, -step)
        )
        np.testing.assert_allclose(np.vdot(slope, step), (above - below) / 2, rtol=1e-5, atol=1e-13)


def weighted_numpy(result, seed=1):
    """Returns `textbook.weighted` of a result, without JAX."""
    rng = np.random.default_rng(seed)
    return sum(np.vdot(a, rng.normal(size=a.shape)) for a in jax.tree.leaves(result))


# As the GRU, these have a block that reads x alone beside others that read h: one product over all
# rows, whose bits may depend on their number.
MIXED_BLOCKS = {"mgu", "nbrc"}


@pytest.mark.parametrize("name", [name for name in WITHOUT_HEADS if name not in MIXED_BLOCKS])
def test_time_step_by_time_step_has_the_bits_of_the_sequence(name):
    params, x, _ = arguments(name, (6, 16, 10, 20))
    zeros = tuple(jnp.zeros((16, 20)) for _ in get_cell(name).state)
    # XLA rounds one time step of LinOSS otherwise than a sequence without fusion, and that of the
    # RG-LRU without any optimisation.
    options = {
        "linoss": {"xla_cpu_use_fusion_emitters": True},
        "rglru": {"xla_cpu_use_fusion_emitters": True, "xla_backend_optimization_level": 1},
    }
    call = jax.jit(partial(ours, name), compiler_options=options.get(name))
    outputs, final = call(params, x, zeros)
    state, looped = zeros, []
    for x_BI in x:
        output, state = call(params, x_BI[None], state)
        looped.append(output[0])
    assert_equal((outputs, final), (np.stack(looped), state))
    assert_equal(outputs[-1], final[get_cell(name).output_index])


@pytest.mark.parametrize("name", ["qrnn", "paragru"])
def test_chunks_of_time_steps_change_no_bit_and_no_gradient(name, monkeypatch):
    inputs = arguments(name, (5, 4, 3, 6))

    def last(*inputs):
        _, final = ours(name, *inputs, keep_outputs=False)
        return weighted(final), final

    def both():
        gradient = fast_jit(jax.grad(last, (0, 1, 2), has_aux=True))
        return jax.jit(partial(ours, name))(*inputs), gradient(*inputs)

    whole, whole_last = both()
    monkeypatch.setattr(scan, "CHUNK_STEPS", 2)  # one time step before two chunks
    chunked, chunked_last = both()
    assert_equal(chunked, whole)
    assert_close(chunked_last, whole_last)


@pytest.mark.parametrize("name", ["lru", "paragru"])
def test_the_last_output_without_the_others(name):
    params, x, state = arguments(name, (70, 2, 3, 4))

    def last(keep_outputs, params):
        outputs, final = ours(name, params, x, state, keep_outputs=keep_outputs)
        assert (outputs is None) != keep_outputs
        return weighted(final), final

    without, whole = (
        fast_jit(jax.grad(partial(last, keep), has_aux=True))(params) for keep in (False, True)
    )
    assert_close(without, whole)


@pytest.mark.parametrize("name", ["mingru", "lru"])
def test_the_associative_form_equals_the_sequential_one(name):
    inputs = arguments(name, (9, 2, 3, 4))

    def result(associative):
        def scalar(*inputs):
            result = ours(name, *inputs, associative=associative)
            return weighted(result), result

        return fast_jit(jax.grad(scalar, (0, 1, 2), has_aux=True))(*inputs)

    assert_close(result(True), result(False))


@pytest.mark.parametrize("name", ["mingru", "brc", "mgu_gate_before"])
def test_second_derivatives(name):
    with jax.enable_x64(True):
        inputs = arguments(name, (2, 1, 1, 2), dtype="float64")

        def loss(inputs):
            return weighted(jax.tree.map(jnp.square, ours(name, *inputs)))

        gradient = jax.grad(loss)
        direction = jax.tree.map(lambda a: jnp.cos(jnp.arange(a.size)).reshape(a.shape), inputs)
        curvature = jax.grad(lambda inputs: tree_dot(gradient(inputs), direction))
        above, below = (
            fast_jit(gradient)(jax.tree.map(lambda a, d, e=step: a + e * d, inputs, direction))
            for step in (1e-5, -1e-5)
        )
        differences = jax.tree.map(lambda a, b: (a - b) / 2e-5, above, below)
        assert_close(fast_jit(curvature)(inputs), differences, 1e-7)


def tree_dot(a, b):
    return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, a, b)))


@pytest.mark.parametrize("name", WITHOUT_HEADS)
def test_each_cell_is_lowered_for_each_platform_with_any_number_of_examples(name):
    params, x, state = arguments(name, (5, 2, 4, 4))
    (n,) = jax.export.symbolic_shape("n")
    x, *state = (
        jax.ShapeDtypeStruct(tuple(n if size == 2 else size for size in a.shape), a.dtype)
        for a in (x, *state)
    )
    call = jax.jit(partial(ours, name))
    exported = jax.export.export(call, platforms=("cpu", "cuda", "tpu"))(params, x, tuple(state))
    assert exported.out_avals[0].shape == (5, n, 4)


def test_the_mgu_equals_flax():
    mgu, x, (h,) = arguments("mgu", (1, 4, 3, 6))
    input_kernel, recurrent_kernel, bias, _ = mgu
    f, n = (np.split(kernel, 2, axis=1) for kernel in (input_kernel, recurrent_kernel))
    b_f, b_hn, b_n = np.split(bias, 3)
    dense = {"if": (f[0], b_f), "in": (f[1], b_n), "hf": (n[0], None), "hn": (n[1], b_hn)}
    params = {k: {"kernel": w} | ({} if b is None else {"bias": b}) for k, (w, b) in dense.items()}
    _, expected = fast_jit(nn.MGUCell(6).apply)({"params": params}, h, x[0])
    outputs, _ = fast_jit(partial(ours, "mgu"))(mgu, x, (h,))
    assert_close(outputs[0], expected)


def test_the_slstm_stays_finite_where_its_exponentials_would_not():
    """Input gates of e^-200, then of e^200: c and n alone would vanish and overflow."""
    (kernel, recurrent, bias, extra), x, state = arguments("slstm", (8, 2, 1, 3))
    kernel = kernel.at[:, :3].set(200.0)
    x = jnp.where(jnp.arange(8)[:, None, None] % 3 == 1, 1.0, -1.0) * jnp.ones((8, 2, 1))
    zeros = tuple(map(jnp.zeros_like, state))

    def total(kernel):
        outputs, final = ours("slstm", (kernel, recurrent, bias, extra), x, zeros)
        return jnp.sum(outputs), (outputs, final[1])

    gradient, (outputs, n) = fast_jit(jax.grad(total, has_aux=True))(kernel)
    assert np.isfinite(outputs).all()
    assert np.abs(outputs[0]).min() > 1e-3  # c / n is tanh(z) after the first time step, for any i
    assert (n >= 1).all()
    assert np.isfinite(gradient).all()


def test_the_gradient_by_hand_of_the_slstm_is_that_of_its_formula_at_any_state():
    """A state that no time step has made, such as a decoder's first one, may hold any n."""
    cell, draw = get_cell("slstm"), np.random.default_rng(0).normal
    z_BG, (c, m, h, *dstate) = draw(size=(4, 32)), draw(size=(7, 4, 8))
    n = np.array([0, 0.3, -2, 1.5])[:, None] * np.ones((4, 8))
    state = np.where(n == 0, 0, c), n, m, h

    def both(z_BG, state, dstate):
        _, vjp = jax.vjp(lambda z, state: cell.pointwise(z, state, {}), z_BG, state)
        new, derivatives, residuals = cell.pointwise_fwd(z_BG, state)
        ours = cell.pointwise_bwd(jnp.hstack(derivatives), residuals, dstate)
        return ours, vjp(dstate), new[1]

    with jax.enable_x64(True):
        (dz_BG, dbefore), (expected, before), n = fast_jit(both)(z_BG, state, tuple(dstate))
        assert_close((dz_BG, dbefore[:3]), (expected, before[:3]), 1e-12)
        assert not np.asarray(before[3]).any()  # h, for which ours has None
    assert {*np.unique(np.asarray(n) < 1)} == {False, True}


def numbers(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("associative", [False, True])
@pytest.mark.parametrize("kind", ["real", "constant", "complex"])
def test_linear_scan_is_its_formula_with_masks_and_a_carry(kind, associative):
    a, b, h0 = numbers(6, 2, 3, seed=1), numbers(6, 2, 3, seed=2), numbers(2, 3, seed=3)
    if kind == "constant":
        a = a[0, 0]
    if kind == "complex":
        a, b, h0 = (v.astype(jnp.complex64) * np.complex64(0.6 + 0.8j) for v in (a, b, h0))
    if kind != "constant":  # a mask at the last two time steps
        a, b = a.at[4:].set(1), b.at[4:].set(0)
    h, expected = np.asarray(h0), []
    for t in range(6):
        h = np.asarray(a if kind == "constant" else a[t]) * h + np.asarray(b[t])
        expected.append(h)
    scan = jax.jit(partial(linear_scan, associative=associative))
    outputs = scan(a, b, h0)
    assert_close(outputs, np.stack(expected))
    first = scan(a if kind == "constant" else a[:2], b[:2], h0)
    second = scan(a if kind == "constant" else a[2:], b[2:], first[-1])
    assert_close(np.concatenate([first, second]), outputs)
    if not associative:
        assert_equal(np.concatenate([first, second]), outputs)
        assert kind == "constant" or np.array_equal(outputs[5], outputs[3])


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((5, 3), (5, 2), (2,)), r"a has shape \(5, 3\)"),
        (((2,), (5, 2), (3,)), r"h0 has shape \(3,\)"),
        (((2,), (2,), (2,)), r"b has shape \(2,\)"),
    ],
)
def test_a_wrong_shape_of_linear_scan_is_named(shapes, message):
    with pytest.raises(ValueError, match=message):
        linear_scan(*map(jnp.zeros, shapes))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"read": ("h",)}, "a linear cell reads x alone"),
        ({"pointwise": print}, "a linear cell has no pointwise formula"),
        ({"state": ("h", "c"), "read_out": print}, "the output h is the last"),
        ({"state": ("a", "b", "c", "h"), "read_out": print}, "its scan has 3 states"),
        ({"bias_init": {"m": print}}, "the columns with a bias"),
    ],
)
def test_a_contradictory_linear_cell_is_an_error(fields, message):
    with pytest.raises(ValueError, match="cell mine") as error:
        LinearCell("mine", ("n",), coefficients=print, **fields)
    assert message in str(error.value)


def test_weights_know_their_shape():
    assert Weight(print, rank=2).shape(3) == (3, 3)


def staged(formula=print, **fields):
    defaults = {"columns": ("f", "n"), "stages": (("f",), ("n",))}
    return StagedCell("mine", formula=formula, **defaults | fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stages": (("f",),)}, "stages of ('f',), columns ('f', 'n')"),
        ({"pointwise": print}, "a staged cell has a formula"),
        ({"state": ("c", "h"), "read": ("c",)}, "one kernel for each column, not ('c',)"),
        ({"blocks": (Block("f"), Block("n", "x"))}, "one block for each column"),
    ],
)
def test_a_contradictory_staged_cell_is_an_error(fields, message):
    with pytest.raises(ValueError, match="cell mine") as error:
        staged(**fields)
    assert message in str(error.value)


@pytest.mark.parametrize(("order", "message"), [([0, 0], "product 0 twice"), ([1], "not call all")])
def test_a_formula_that_does_not_call_each_product_once_is_an_error(order, message):
    def formula(x, products, state, extra):
        return (sum(products[index](state[0])[0] for index in order),)

    with pytest.raises(ValueError, match=f"cell mine: .*{message}"):
        run(staged(formula), jnp.zeros((5, 4)), jnp.zeros((1, 2, 2)))


def initial_params(name, num_inputs, hidden):
    module = CellParams(Experiment(cell=name), get_cell(name), num_inputs, hidden)
    return fast_jit(module.init)(jax.random.key(0))["params"]


def test_heads_have_blocks_of_parameters_and_biases_by_unit_of_the_head():
    slstm = initial_params("slstm_heads", 3, 8)
    assert slstm["kernel"].shape == (3 + 2, 4 * 8)
    assert not slstm["kernel"][3:].any()
    np.testing.assert_allclose(slstm["bias"][8:16], [5, -7] * 4)
    assert initial_params("paragru_heads", 4, 6)["kernel"].shape == (2, 3 * 6)
    assert choose_width(Experiment(cell="slstm_heads"), ModelSpec(8, 10), 9_000)[0] == 40


@pytest.mark.parametrize(
    ("name", "num_inputs", "hidden", "message"),
    [
        ("slstm_heads", 3, 6, "slstm_heads has 4 heads, and 4 does not divide the 6 units"),
        ("paragru_heads", 3, 6, "paragru_heads has 2 heads, and 2 does not divide the 3 inputs"),
        ("paragru_heads", 4, 7, "paragru_heads has 2 heads, and 2 does not divide the 7 units"),
    ],
)
def test_heads_that_do_not_divide_a_layer_are_an_error(name, num_inputs, hidden, message):
    with pytest.raises(UserError, match=message):
        kernel_rows(get_cell(name), num_inputs, hidden)


def test_the_scornn_starts_as_rotations_of_up_to_a_right_angle():
    kernel = initial_params("scornn", 3, 21)["kernel"]
    run_kernels = fast_jit(partial(full_kernels, get_cell("scornn"), num_inputs=3))(kernel)
    inputs, square = map(np.asarray, run_kernels)
    assert 0.005 < np.abs(inputs).max() < 0.01
    np.testing.assert_allclose(square.T @ square, np.eye(21), atol=1e-5)
    signs = np.where(np.arange(21) < 19, 1, -1)  # the last tenth is turned round
    cosines = signs * np.diag(square)
    assert -1e-5 < cosines.min() < 0.5 < cosines[:20].max() < 1
    np.testing.assert_allclose(cosines[:20:2], cosines[1:20:2], atol=1e-5)  # by pairs of units


def test_the_lem_starts_uniform_up_to_one_over_the_root_of_its_units():
    params = initial_params("lem", 3, 16)
    for array in params["kernel"], params["bias"]:
        assert 0.23 < np.abs(array).max() < 0.25
