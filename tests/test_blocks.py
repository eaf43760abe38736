"""Residual blocks: their formula, gradients, steps, bits, and what a model does with them.

One size for all: T = 5 time steps, B = 3 sequences, I = 2 inputs, D = 4 numbers between blocks.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fast_compile import fast_jit
from test_sweep import digests

from lstm_jax import Translation
from lstm_jax.cells.norm import EPSILON
from lstm_jax.config.blocks import Residual
from lstm_jax.config.experiment import Experiment
from lstm_jax.errors import UserError
from lstm_jax.model import forward
from lstm_jax.model.convolution import convolve_causally
from lstm_jax.model.dropout import dropout
from lstm_jax.model.fused_params import fuse_kernels
from lstm_jax.model.init import init_params
from lstm_jax.predict.decode import decode
from lstm_jax.tasks.images import Images
from lstm_jax.tasks.task import Inputs, ModelSpec
from lstm_jax.train.placement import Placement, build_programs, named_leaves, stack_states

NUM_STEPS, BATCH, SIZE = 5, 3, 4
LENGTHS = jnp.array([5, 1, 3], jnp.int32)
SPEC = ModelSpec(2, 2)
ALL_ON = Residual(norm="layer", expand=1.5, gate="silu", conv=4, mlp=1.33)
BLOCKS = {
    "plain sum": Residual(),
    "rms, glu": Residual(norm="rms", gate="glu"),
    "wider": Residual(norm="layer", expand=2),
    "wider, no norm": Residual(expand=2, gate="silu", mlp=1),
    "all on": ALL_ON,
}


def experiment(block, **fields):
    return Experiment(**{"block": block, "cell": "rnn", "hidden_size": SIZE, "layers": 2, **fields})


def dense(weights, x):
    return x @ weights["kernel"] + weights["bias"][None]


def norm(name, x_TD):
    if name == "none":
        return x_TD
    if name == "layer":
        x_TD = x_TD - x_TD.mean(axis=1, keepdims=True)
    return x_TD / jnp.sqrt((x_TD**2).mean(axis=1, keepdims=True) + EPSILON)


def textbook(member, params, x_TI):
    """Returns the head's outputs for one sequence, [O], by the formula of `Residual`."""
    block, x = member.block, dense(params["input"], x_TI)
    for index in range(member.layers):
        suffix = f"_{index}" if index else ""
        weights, cell = params.get(f"block{suffix}", {}), params[f"rnn{suffix}"]
        v = norm(block.norm, x)
        u = dense(weights["in"], v) if "in" in weights else v
        if block.conv:
            kernel = weights["conv"]["kernel"]
            before = jnp.concatenate([jnp.zeros((len(kernel) - 1, u.shape[1])), u])
            u = sum(kernel[k][None] * before[k : k + len(u)] for k in range(len(kernel)))
        h, outputs = jnp.zeros(len(cell["bias"])), []
        for u_E in u:
            h = jnp.tanh(jnp.concatenate([u_E, h]) @ cell["kernel"] + cell["bias"])
            outputs.append(h)
        y = jnp.stack(outputs)
        if block.gate == "silu":
            y = y * jax.nn.silu(dense(weights["gate"], v))
        if "out" in weights:
            y = dense(weights["out"], y)
        if block.gate == "glu":
            y = y[:, :SIZE] * jax.nn.sigmoid(y[:, SIZE:])
        x = x + y
        if block.mlp:
            z = dense(weights["mlp_in"], norm(block.norm, x))
            width = z.shape[1] // 2
            x = x + dense(weights["mlp_out"], z[:, :width] * jax.nn.gelu(z[:, width:]))
    h_D = norm(block.norm, x).mean(axis=0) if member.read_out == "mean" else norm(block.norm, x)[-1]
    return h_D @ params["output"]["kernel"] + params["output"]["bias"]


def make(member):
    x_TBI = jax.random.normal(jax.random.key(0), (NUM_STEPS, BATCH, 2), jnp.float32)
    return init_params(member, SPEC, jax.random.key(1)), x_TBI


@pytest.mark.parametrize(("name", "read_out"), [*((n, "last") for n in BLOCKS), ("all on", "mean")])
def test_a_block_and_its_gradients_equal_the_formula(name, read_out):
    member = experiment(BLOCKS[name], read_out=read_out)
    params, x_TBI = make(member)

    def ours(params):
        return forward.apply_model(
            member, SPEC, fuse_kernels(member, params), Inputs(x_TBI, LENGTHS)
        )

    def formula(params):
        each = [textbook(member, params, x_TBI[:n, b]) for b, n in enumerate(LENGTHS.tolist())]
        return jnp.stack(each)

    def with_gradient(function):
        out, vjp = jax.vjp(function, params)
        return out, vjp(jnp.array([[1.0, -2.0], [0.5, 1.0], [-1.0, 0.3]]))

    actual, want = (fast_jit(partial(with_gradient, f))() for f in (ours, formula))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-4), actual, want)


@pytest.mark.parametrize("name", ["plain sum", "all on"])
def test_steps_and_pieces_of_a_sequence_equal_the_whole(name):
    member = experiment(BLOCKS[name])
    params, x_TBI = make(member)
    fused = fuse_kernels(member, params)

    @fast_jit
    def run(x_TBI, carry):
        return forward.run_layers(member, fused, Inputs(x_TBI), keep_outputs=True, carry=carry)

    whole, carry = run(x_TBI, None), forward.initial_carry(member, BATCH)
    step = fast_jit(lambda x_BI, carry: forward.step_layers(member, fused, x_BI, carry))
    for t, x_BI in enumerate(x_TBI):
        h_BD, carry = step(x_BI, carry)
        np.testing.assert_allclose(h_BD, whole.h_TBW[t], atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), carry, whole.carry)
    second = run(x_TBI[2:], run(x_TBI[:2], None).carry)
    np.testing.assert_allclose(second.last_BW, whole.last_BW, atol=1e-5)


def test_the_last_inputs_of_a_convolution_are_those_of_each_sequence():
    x_TBW = jax.random.normal(jax.random.key(0), (NUM_STEPS, BATCH, SIZE), jnp.float32)
    before_BPW = jax.random.normal(jax.random.key(1), (BATCH, 3, SIZE), jnp.float32)
    _, after_BPW = convolve_causally(x_TBW, jnp.ones((4, SIZE)), LENGTHS, before_BPW)
    for row, length in enumerate(LENGTHS.tolist()):
        read = np.concatenate([before_BPW[row], x_TBW[:length, row]])
        np.testing.assert_array_equal(after_BPW[row], read[-3:])


@pytest.mark.slow
def test_a_block_has_its_solo_bits_in_a_sweep_and_after_it_was_resumed(digits):
    fields = {"task": Images(dataset="digits"), "batch_size": 8, "microbatches": 2, "layers": 1}
    pair = tuple(experiment(ALL_ON, dropout=0.1, seed=seed, **fields) for seed in (0, 1))
    sweep = build_programs(Placement(pair, 2, 1), digits, 8)
    state, _ = sweep.segment(sweep.init(), 0, 3)
    named = {name: np.asarray(leaf) for name, leaf in named_leaves(state).items()}
    rows = [{name: array[row] for name, array in named.items()} for row in range(2)]
    state, metrics = sweep.segment(sweep.put(stack_states(state, rows)), 3, 8)
    assert np.isfinite(metrics.loss).all()
    solo = build_programs(Placement(pair[1:], 1, 1), digits, 8)
    alone, _ = solo.segment(solo.init(), 0, 8)
    assert digests(alone, 1) == digests(state, 2)[1:]


def test_variational_dropout_has_one_mask_a_sequence():
    h_TBW, key = jnp.ones((NUM_STEPS, BATCH, 50)), jax.random.key(0)
    for variational in (False, True):
        member = experiment("plain", dropout=0.5, variational_dropout=variational)
        kept = np.asarray(dropout(member, key, h_TBW)) > 0
        assert (kept == kept[:1]).all() == variational
        assert not (kept == kept[:, :1]).all()
        assert 0.3 < kept.mean() < 0.7


def test_dropout_reaches_all_that_a_block_adds_and_all_between_plain_layers():
    """With everything dropped only the inputs are left, and above plain layers nothing of them."""

    def run(block, scale):
        member = experiment(block, dropout=0.999)
        params, x_TBI = make(member)
        keys = list(jax.random.split(jax.random.key(0)))
        outputs = forward.run_layers(
            member, fuse_kernels(member, params), Inputs(scale * x_TBI), keys, keep_outputs=True
        )
        return outputs.h_TBW, params, x_TBI

    run = fast_jit(run, static_argnums=0)
    np.testing.assert_array_equal(run("plain", 1.0)[0], run("plain", 2.0)[0])
    h_TBD, params, x_TBI = run(ALL_ON, 1.0)
    want = [norm(ALL_ON.norm, dense(params["input"], x_TI)) for x_TI in x_TBI.swapaxes(0, 1)]
    np.testing.assert_allclose(h_TBD.swapaxes(0, 1), want, atol=1e-5)


@pytest.mark.parametrize("attention", ["none", "luong"])
def test_a_decoder_of_blocks_writes_a_sentence(attention):
    task = Translation(attention=attention)
    member = experiment(ALL_ON, task=task, cell="lstm")
    metadata = {"source_vocabulary": "abcd", "target_vocabulary": "abcdef", "widths": [4]}
    spec = task.model_spec(metadata)
    batch = {
        "source": jnp.ones((2, 4), jnp.int32), "source_lengths": jnp.array([3, 4], jnp.int32),
        "target": jnp.ones((2, 6), jnp.int32), "target_lengths": jnp.array([5, 2], jnp.int32),
    }  # fmt: skip

    def write():
        fused = fuse_kernels(member, init_params(member, spec, jax.random.key(0)))
        outputs = forward.apply_model(member, spec, fused, task.inputs(batch), jax.random.key(1))
        return outputs, decode(member, fused, batch, beam=3, steps=6)

    outputs, (tokens_BS, _) = jax.eval_shape(write)
    assert outputs.shape[1:] == (2, spec.num_outputs)
    assert tokens_BS.shape == (2, 6)


def test_what_does_not_fit_together_is_refused_in_one_line():
    assert Experiment(block="plain", read_out="last").digest == Experiment().digest
    with pytest.raises(UserError, match=r"block\.norm: plain has no such field; residual has it"):
        Experiment().replace({"block.norm": "rms"})
    with pytest.raises(UserError, match=r"block\.norm: 'batch' is not one of none, layer, rms"):
        Residual(norm="batch")
    member = experiment("plain", read_out="mean")
    with pytest.raises(UserError, match=r"read_out: the task .* asks at every time step"):
        forward.reads_mean(member, SPEC._replace(per_step_outputs=True))
    with pytest.raises(UserError, match=r"cudnn .* in a plain block"):
        Experiment(backend="cudnn", block="residual")
    both = experiment(ALL_ON, bidirectional=True, task=Translation())
    spec = both.task.model_spec(
        {"source_vocabulary": "abcd", "target_vocabulary": "abcdef", "widths": [4]}
    )
    with pytest.raises(UserError, match=r"block\.conv: .* use 0"):
        init_params(both, spec, jax.random.key(0))
