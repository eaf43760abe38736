"""Layers of a user's own file: `init`, `apply` and `step`, and cells of Flax."""

from contextlib import nullcontext
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fast_compile import fast_jit
from test_docs import write_blocks
from test_sweep import digests

from lstm_jax.cells import scan
from lstm_jax.config.experiment import Experiment
from lstm_jax.config.search import Study
from lstm_jax.errors import UserError
from lstm_jax.model import forward
from lstm_jax.model.fused_params import fuse_kernels
from lstm_jax.model.init import init_params
from lstm_jax.runs.datasets import check_members
from lstm_jax.runs.task_checks import check_step
from lstm_jax.tasks.images import Images
from lstm_jax.tasks.task import Inputs, ModelSpec
from lstm_jax.train.placement import Placement, build_programs, named_leaves, stack_states

NUM_STEPS, BATCH, HIDDEN = 5, 3, 4
LENGTHS = jnp.array([5, 1, 3], jnp.int32)
SPEC = ModelSpec(2, 2)
LAYERS = ("min_gru.py:MinGRU", "flax_cell.py:MGUCell")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Returns a folder with the layer of docs/extend.md and a cell of Flax."""
    folder = tmp_path_factory.mktemp("layers")
    write_blocks("docs/extend.md", folder)
    (folder / "flax_cell.py").write_text("from flax.linen import MGUCell")
    return folder


def experiment(files, layer, **fields):
    return Experiment(cell=f"{files}/{layer}", hidden_size=HIDDEN, **fields)


@partial(fast_jit, static_argnums=0)
def _run(member, fused, inputs, carry):
    return forward.run_layers(member, fused, inputs, keep_outputs=True, carry=carry)


def run(member, fused, x_TBI, lengths_B=None, carry=None):
    return _run(member, fused, Inputs(x_TBI, lengths_B), carry)


def make(member):
    x_TBI = jax.random.normal(jax.random.key(0), (NUM_STEPS, BATCH, 2), jnp.float32)
    params = init_params(member, SPEC, jax.random.key(1))
    return params, fuse_kernels(member, params), x_TBI


def test_a_layer_is_its_formula_between_the_dense_layers(files):
    params, fused, x_TBI = make(experiment(files, LAYERS[0]))
    names = {"input/kernel", "input/bias", "layer/kernel", "output/kernel", "output/bias"}
    assert set(named_leaves(params)) == names
    member = experiment(files, LAYERS[0])
    apply = fast_jit(forward.apply_model, static_argnums=(0, 1))
    outputs = apply(member, SPEC, fused, Inputs(x_TBI, LENGTHS))
    arrays = jax.tree.map(np.asarray, params)
    for b, length in enumerate(LENGTHS.tolist()):
        h = np.zeros(HIDDEN)
        for x in np.asarray(x_TBI)[:length, b]:
            v = x @ arrays["input"]["kernel"] + arrays["input"]["bias"]
            z = v @ arrays["layer"]["kernel"][:-1] + arrays["layer"]["kernel"][-1]
            u = 1 / (1 + np.exp(-z[:HIDDEN]))
            h = u * h + (1 - u) * z[HIDDEN:]
        want = h @ arrays["output"]["kernel"] + arrays["output"]["bias"]
        np.testing.assert_allclose(outputs[b], want, atol=1e-5)


@pytest.mark.parametrize("layer", LAYERS)
def test_steps_and_pieces_of_a_sequence_equal_the_whole(files, layer):
    member = experiment(files, layer, layers=2, block="residual")
    _, fused, x_TBI = make(member)
    whole = run(member, fused, x_TBI)
    carry = forward.initial_carry(member, BATCH)
    step = fast_jit(lambda x_BI, carry: forward.step_layers(member, fused, x_BI, carry))
    for t, x_BI in enumerate(x_TBI):
        h_BW, carry = step(x_BI, carry)
        np.testing.assert_allclose(h_BW, whole.h_TBW[t], atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), carry, whole.carry)
    first = run(member, fused, x_TBI[:2])
    second = run(member, fused, x_TBI[2:], carry=first.carry)
    np.testing.assert_allclose(second.last_BW, whole.last_BW, atol=1e-5)


def test_a_layer_reads_in_both_directions(files):
    both = experiment(files, LAYERS[0], bidirectional=True)
    params, fused, x_TBI = make(both)
    assert {"layer", "layer_reverse"} < set(params)
    h_TBW = run(both, fused, x_TBI, LENGTHS).h_TBW
    own = {**params, "layer": params["layer_reverse"]}
    member = experiment(files, LAYERS[0])
    ran = run(member, fuse_kernels(member, own), scan.flip(x_TBI, LENGTHS), LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        backwards = ran.h_TBW[:length, row][::-1]
        np.testing.assert_allclose(h_TBW[:length, row, HIDDEN:], backwards, atol=1e-5)


def test_a_layer_has_its_solo_bits_in_a_sweep_and_after_it_was_resumed(files, digits):
    fields = {"task": Images(dataset="digits"), "batch_size": 16, "microbatches": 2, "dropout": 0.1}
    pair = tuple(experiment(files, LAYERS[0], seed=s, **fields) for s in (0, 1))
    sweep = build_programs(Placement(pair, 2, 1), digits, 8)
    state, _ = sweep.segment(sweep.init(), 0, 3)
    named = {name: np.asarray(leaf) for name, leaf in named_leaves(state).items()}
    rows = [{name: array[row] for name, array in named.items()} for row in range(2)]
    state, metrics = sweep.segment(sweep.put(stack_states(state, rows)), 3, 8)
    assert np.isfinite(metrics.loss).all()
    solo = build_programs(Placement(pair[1:], 1, 1), digits, 8)
    alone, _ = solo.segment(solo.init(), 0, 8)
    assert digests(alone, 1) == digests(state, 2)[1:]


@pytest.mark.parametrize(
    ("code", "by", "message"),
    [
        ('return {"kernel": ', "return {}, {1: ", "init returned tuple; expected a dict"),
        ("return h_TBH, last", "return h_TBH[0], last", r"expected a tuple of outputs \[T,B,W\]"),
        (
            "return h_TBH, last",
            "return h_TBH.swapaxes(0, 1), last",
            r"returned \(float32\[2, 1",
        ),
        ("return h_BH, h_BH", "return h_BH, (h_BH,)", r"step returned .* as `apply` has them"),
        ("def step", "def steps", "MinGRU is no Cell, and as a layer it has no step; see docs"),
    ],
)
def test_a_layer_that_is_none_is_refused_in_one_line(files, tmp_path, code, by, message):
    text = (files / "min_gru.py").read_text()
    assert code in text
    (tmp_path / "min_gru.py").write_text(text.replace(code, by))
    with pytest.raises(UserError, match=message):
        make(experiment(tmp_path, LAYERS[0]))


def test_a_module_of_flax_and_a_file_without_a_name_are_told_what_to_write(tmp_path):
    path = tmp_path / "flaxlayer.py"
    path.write_text(
        "import flax.linen as nn\nfrom flax.linen import RNNCellBase\n"
        "from lstm_jax.cells.layer import Layer\nclass Causal(nn.Module): pass\n"
    )
    with pytest.raises(UserError, match="Causal is a Flax module; wrap it in a Layer, see docs/ex"):
        make(Experiment(cell=f"{path}:Causal"))
    with pytest.raises(UserError, match="has no cell 'causal'; there is none"):  # no base class
        make(Experiment(cell=f"{path}:causal"))
    with pytest.raises(UserError, match=r"flaxlayer.py has Causal; write .*flaxlayer.py:Causal$"):
        Experiment(cell=f"{path}")
    path.write_text("(")
    with pytest.raises(UserError, match=r"a file is not enough; write .*flaxlayer.py:NAME$"):
        Experiment(cell=f"{path}")


@pytest.mark.parametrize(
    ("code", "by", "message"),
    [
        ("return h_BH, h_BH", "return h_BH, 2 * h_BH", "step computes another output than its ap"),
        ("return h_TBH, last", "return h_TBH, 2 * last", "another carry .*, in numbers of up to"),
        # The bias is zero at first.
        ('append_ones(x_BI) @ params["kernel"]', 'x_BI @ params["kernel"][:-1]', "another output"),
        ("h_BH = a * carry + b\n", "h_BH = b + 1.000001 * a * carry\n", None),
    ],
)
def test_a_step_that_computes_something_else_than_apply_is_refused(
    files, tmp_path, code, by, message
):
    text = (files / "min_gru.py").read_text()
    assert code in text
    (tmp_path / "min_gru.py").write_text(text.replace(code, by))
    refused = pytest.raises(UserError, match=message) if message else nullcontext()
    with refused:
        check_step(experiment(tmp_path, LAYERS[0]))


def test_members_of_an_own_layer_are_checked_once_before_training(files, monkeypatch, digits):
    member = experiment(files, LAYERS[0], task=Images(dataset="digits"), layers=(1, 2))
    checked = []
    monkeypatch.setattr("lstm_jax.runs.datasets.check_step", lambda m: checked.append(m.cell))
    check_members(Study(member), {member.task.data_key: digits}, print)
    assert checked == [member.cell]
