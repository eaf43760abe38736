"""Products in bfloat16: what they change, and what stays in float32."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fast_compile import fast_jit

from lstm_jax import Experiment
from lstm_jax.cells import get_cell, scan
from lstm_jax.cells.ordered_matmul import matmul, matmul_rows, sum_rows
from lstm_jax.cells.precision import product, products_in
from lstm_jax.config.blocks import Residual
from lstm_jax.model.fused_params import fuse_kernels
from lstm_jax.report.figures import lyapunov, time_scales
from lstm_jax.tasks.images import Images
from lstm_jax.tasks.translation import Translation
from lstm_jax.train.placement import Placement, build_programs
from lstm_jax.train.step import init_state, train_step

FINE = 1 + 2.0**-10  # it has more bits than bfloat16


def normal(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape, jnp.float32)


def test_operands_are_rounded_and_sums_are_float32():
    def sums(precision):
        ones_1K = jnp.ones((1, 301), jnp.float32)
        with products_in(precision):
            fine = product(FINE * ones_1K, ones_1K.T), sum_rows(FINE * ones_1K.T)
            return jnp.stack([product(ones_1K, ones_1K.T)[0, 0], fine[0][0, 0], fine[1][0]])

    in_float32, in_bfloat16 = fast_jit(lambda: (sums("float32"), sums("bfloat16")))()
    exact = jnp.float32(301 * FINE)
    assert in_float32.tolist() == [301, exact, exact]
    assert in_bfloat16.tolist() == [301, 301, exact]  # a sum in bfloat16 counts to 256


def test_gradients_are_products_of_rounded_operands_in_float32():
    x_TBI, kernel_IO, dy_TBO = normal(2, 3, 5), normal(5, 4, seed=1), normal(2, 3, 4, seed=2)

    @fast_jit
    def gradients(*operands):
        with products_in("bfloat16"):
            return [jax.vjp(f, *operands)[1](dy_TBO) for f in (product, matmul, matmul_rows)]

    x, kernel, dy = (np.asarray(a.astype(jnp.bfloat16), float) for a in (x_TBI, kernel_IO, dy_TBO))
    want = np.einsum("tbo,io->tbi", dy, kernel), np.einsum("tbi,tbo->io", x, dy)
    for gradient in gradients(x_TBI, kernel_IO):
        for ours, wanted in zip(gradient, want, strict=True):
            np.testing.assert_allclose(ours, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["gru", "lru"])
def test_a_cell_in_bfloat16_is_near_the_one_in_float32(name):
    cell, hidden = get_cell(name), 6
    shape = 3 + 1 + cell.num_read * hidden, len(cell.blocks) * hidden
    extra = {n: 0.5 * normal(*w.shape(hidden), seed=3) for n, w in cell.extra.items()}
    arguments = 0.5 * normal(*shape), normal(7, 4, 3, seed=1), extra

    @partial(fast_jit, static_argnums=0)
    def gradient(precision, *arguments):
        with products_in(precision):
            return jax.grad(lambda *a: jnp.vdot(scan.run(cell, *a)[0], w_TBH), (0, 1, 2))(
                *arguments
            )

    w_TBH = normal(7, 4, hidden, seed=2)
    exact, near = (gradient(precision, *arguments) for precision in ("float32", "bfloat16"))
    for a, b in zip(jax.tree.leaves(exact), jax.tree.leaves(near), strict=True):
        assert b.dtype == jnp.float32
        assert 1e-5 < jnp.linalg.norm(a - b) / jnp.linalg.norm(a) < 0.03


def products_in_loops(closed):
    """Yields the operands of all products within the loops of a program."""
    for equation in closed.jaxpr.eqns:
        if equation.primitive.name == "scan":
            yield from all_products(equation.params["jaxpr"].jaxpr)


def all_products(jaxpr):
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield [v.aval for v in equation.invars]
        for sub in jax.tree.leaves(
            list(equation.params.values()),
            is_leaf=lambda v: hasattr(v, "eqns") or hasattr(v, "jaxpr"),
        ):
            inner = getattr(sub, "jaxpr", sub)
            if hasattr(inner, "eqns"):
                yield from all_products(inner)


@pytest.mark.parametrize("cell", ["gru", "lru", "lem"])
def test_every_product_of_a_training_step_has_operands_in_bfloat16(cell):
    """But for sums that are written as products with eight columns of ones, or with a vector."""
    task = Translation(attention="luong")
    member = Experiment(
        task=task, cell=cell, hidden_size=5, batch_size=2, microbatches=1,
        bidirectional=cell == "gru", block=Residual(norm="rms", gate="glu", mlp=2.0),
        precision="bfloat16",
    )  # fmt: skip
    spec = task.model_spec({"source_vocabulary": "abcd", "target_vocabulary": "abc", "widths": [4]})
    batch = {
        "source": jnp.ones((2, 4), jnp.int32), "source_lengths": jnp.array([3, 4], jnp.int32),
        "target": jnp.ones((2, 6), jnp.int32), "target_lengths": jnp.array([5, 2], jnp.int32),
    }  # fmt: skip
    state = jax.eval_shape(partial(init_state, spec), member)
    program = jax.make_jaxpr(partial(train_step, spec, member))(state, batch, jnp.int32(0))
    of_model = [
        operands
        for operands in products_in_loops(program)
        if not any(8 in a.shape or a.ndim == 1 for a in operands)
    ]
    assert len(of_model) > 20
    assert {a.dtype for operands in of_model for a in operands} == {jnp.dtype("bfloat16")}


def test_a_model_in_bfloat16_learns_under_an_identity_of_its_own(digits, fast_compile):
    settings = {
        "task": Images(dataset="digits"), "hidden_size": 8, "batch_size": 32, "microbatches": 1,
        "learning_rate": 1e-2,
    }  # fmt: skip
    losses, digests = [], []
    for precision in ("float32", "bfloat16"):
        member = Experiment(**settings, precision=precision)
        programs = build_programs(Placement((member,), 1, 1), digits, 80)
        state, metrics = programs.segment(programs.init(), 0, 80)
        assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {np.dtype("float32")}
        losses.append(np.asarray(metrics.loss)[0, -20:].mean())
        digests.append(member.digest)
    assert digests[0] == Experiment(**settings).digest != digests[1]
    assert losses[0] != losses[1]
    np.testing.assert_allclose(*losses, rtol=0.05)
    assert losses[1] < 1.5


@pytest.mark.parametrize("figure", [lyapunov.growths, time_scales.layer_time_scales])
def test_figures_of_layers_run_them_in_the_precision_of_the_model(figure):
    member = Experiment(
        cell="gru", layers=2, hidden_size=5, block=Residual(norm="none", gate="glu"),
        precision="bfloat16",
    )  # fmt: skip
    spec = member.task.model_spec({"shapes": {"images": [4, 4]}, "num_classes": 3})
    state = jax.eval_shape(partial(init_state, spec), member)
    fused = jax.eval_shape(partial(fuse_kernels, member), state.params)
    batch = {"images": jnp.ones((2, 4, 4), jnp.uint8)}
    program = jax.make_jaxpr(partial(figure, member))(fused, batch)
    operands = [a.dtype for pair in all_products(program.jaxpr) for a in pair]
    assert len(operands) > 8
    assert {*operands} == {jnp.dtype("bfloat16")}
