"""The bits of a member depend neither on the members beside it nor on the number of devices."""

from functools import partial
from itertools import pairwise
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fast_compile import fast_jit, fused_jit, users_jit

from lstm_jax.cells import get_cell
from lstm_jax.cells.scan import run
from lstm_jax.config.experiment import Experiment
from lstm_jax.config.experiment_values import all_field_specs
from lstm_jax.errors import UserError
from lstm_jax.optim import AdamW
from lstm_jax.runs import checkpoints
from lstm_jax.tasks.images import Images
from lstm_jax.train.placement import (
    Placement,
    build_programs,
    make_placements,
    model_spec_of,
    named_leaves,
    stack_fields,
    stack_states,
    tile_size,
)
from lstm_jax.train.step import EVALUATION_BLOCK

pytestmark = pytest.mark.usefixtures("fused")

DIGITS = Images(dataset="digits")
SMALL = {"task": DIGITS, "hidden_size": 8, "batch_size": 16, "microbatches": 4}
VALUES = [(1e-3, 0), (3e-3, 1), (1e-2, 2), (3e-3, 0)]
# The baseline's sizes: smaller ones hid a bit that depended on the number of devices.
MODELS = {
    "lstm": {"task": DIGITS},
    "layers": {
        **SMALL, "cell": "gru", "layers": 2, "dropout": 0.3, "clip_norm": 0.5,
        "optimizer": AdamW(weight_decay=0.1),
    },
}  # fmt: skip
CAPACITY = 14  # over the end of an epoch of `digits` for the baseline: 10 steps of 128


def members(model):
    return tuple(
        Experiment(**MODELS[model], learning_rate=rate, seed=seed) for rate, seed in VALUES
    )


def digests(state, count):
    """Returns the digest of each member's state."""
    arrays = {name: np.asarray(leaf) for name, leaf in named_leaves(state).items()}
    return [
        checkpoints.fingerprint({name: array[row] for name, array in arrays.items()})
        for row in range(count)
    ]


def trained(placement, dataset, cuts=(0, CAPACITY), max_steps=CAPACITY, how=fused_jit):
    """Returns the digest of each member's state after the segments between the cuts."""
    with mock.patch.object(jax, "jit", how):
        programs = build_programs(placement, dataset, max_steps)
    state = programs.init()
    for start, stop in pairwise(cuts):
        state, _ = programs.segment(state, start, stop)
    return digests(state, len(placement.members))


@pytest.fixture(scope="module")
def solo_digests(fused, digits):
    """Returns a function from a model to its members' digests, each alone on one device."""
    found = {}

    def of(model):
        if model not in found:
            found[model] = [trained(Placement((m,), 1, 1), digits)[0] for m in members(model)]
            assert len(set(found[model])) == len(VALUES)
        return found[model]

    return of


SHAPES = [("lstm", 1, 4), ("lstm", 4, 1), ("layers", 2, 2)]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "devices", "batch_devices"), SHAPES)
def test_a_member_has_its_solo_bits_in_any_grid_on_any_devices(
    digits, solo_digests, model, devices, batch_devices
):
    placement = Placement(members(model), devices, batch_devices)
    assert trained(placement, digits) == solo_digests(model)


@pytest.mark.parametrize("name", ["linoss", "s5"])
def test_the_gradient_of_a_microbatch_has_the_same_bits_in_a_loop_and_alone(name):
    """One device loops over its microbatches; of several, each may have one, and then no loop.

    It is compiled as by a user: without optimisation LinOSS would hide the fault of old.
    """
    cell, rng = get_cell(name), np.random.default_rng(0)
    kernel_KG = rng.normal(size=(9, 8 * len(cell.blocks))).astype(np.float32)
    extra = {
        key: rng.uniform(0.1, 0.9, weight.shape(8)).astype(np.float32)
        for key, weight in cell.extra.items()
    }
    x_CTBI = rng.normal(size=(2, 8, 8, 8)).astype(np.float32)

    def gradient(weights, x_TBI):
        loss = jax.grad(lambda weights: jnp.sum(run(cell, weights[0], x_TBI, weights[1])[0] ** 2))
        return loss(weights)

    weights = kernel_KG, extra
    looped = users_jit(lambda weights, x: jax.lax.map(partial(gradient, weights), x))
    of_loop, alone = jax.tree.map(np.asarray, looped(weights, x_CTBI)), users_jit(gradient)
    for index, x_TBI in enumerate(x_CTBI):
        jax.tree.map(
            lambda array, other, index=index: np.testing.assert_array_equal(array[index], other),
            of_loop,
            alone(weights, x_TBI),
        )


PAIR = {"max_steps": 40}  # of two members of `layers`: one program for several tests


def test_order_and_number_of_members_and_the_capacity_of_a_segment_change_no_bit(
    digits, solo_digests
):
    chosen = [2, 0]
    placement = Placement(tuple(members("layers")[i] for i in chosen), 1, 1)
    assert trained(placement, digits, **PAIR) == [solo_digests("layers")[i] for i in chosen]


@pytest.mark.parametrize("cuts", [(0, 1, 2, 14), (0, 7, 13, 14)])
def test_cutting_into_segments_changes_no_bit(digits, solo_digests, cuts):
    assert trained(Placement(members("lstm")[:1], 1, 1), digits, cuts) == solo_digests("lstm")[:1]


def test_devices_that_share_a_split_score_it_to_the_bits_of_one_device(digits):
    """Of three blocks on two devices, of which the last one is not full."""
    split = {name: array[: 2 * EVALUATION_BLOCK + 1] for name, array in digits.test.items()}
    pair, sums = tuple(Experiment(seed=(0, 1), **SMALL).members()), []
    for batch_devices in (1, 2):
        with mock.patch.object(jax, "jit", fast_jit):
            programs = build_programs(Placement(pair, 1, batch_devices), digits, 1)
        sums.append(programs.score(programs.init().params, split))
    jax.tree.map(np.testing.assert_array_equal, *sums)
    assert sums[0].weight.tolist() == [2 * EVALUATION_BLOCK + 1] * 2


def test_a_state_moved_to_the_host_and_back_trains_to_the_same_bits(digits, solo_digests):
    programs = build_programs(Placement(members("layers")[:2], 1, 1), digits, **PAIR)
    state, _ = programs.segment(programs.init(), 0, 5)
    named = {name: np.asarray(leaf) for name, leaf in named_leaves(state).items()}
    rows = [{name: array[row] for name, array in named.items()} for row in range(2)]
    state, _ = programs.segment(programs.put(stack_states(state, rows)), 5, CAPACITY)
    assert digests(state, 2) == solo_digests("layers")[:2]
    del rows[1]["diverged_at"]
    with pytest.raises(ValueError, match="not those of this model"):
        stack_states(state, rows)


TRACED = {
    "seed": (7, 8),
    "learning_rate": (2e-3, 4e-3),
    "forget_bias": (0.0, 0.5),
    "clip_norm": (0.1, 0.2),
    "dropout": (0.1, 0.2),
    "zoneout": (0.2, 0.3),
    "optimizer.weight_decay": (0.2, 0.3),
    "task.label_smoothing": (0.1, 0.2),
}
BASE = Experiment(zoneout=0.1, **MODELS["layers"])


def three_steps(member, dataset):
    """Returns the digest of a member's state after three steps, by programs compiled before."""
    programs = build_programs(Placement((member,), 1, 1), dataset, CAPACITY)
    state, _ = programs.segment(programs.init(), 0, 3)
    programs.score(state.params, dataset.test)
    return digests(state, 1)[0]


@pytest.fixture(scope="module")
def base_digest(fused, digits):
    return three_steps(BASE, digits)


def test_every_traced_field_is_tested():
    assert set(TRACED) == {path for path, spec in all_field_specs(BASE).items() if spec.traced}


@pytest.mark.parametrize("path", TRACED)
def test_another_traced_value_compiles_nothing_again(digits, base_digest, path):
    """And the seed and the other numbers are what is trained: other bits come out of each."""
    rows = tuple(BASE.replace({path: TRACED[path]}).members())
    assert {row.static_key for row in rows} == {BASE.static_key}
    with jax.no_tracing():
        found = {three_steps(row, digits) for row in rows}
    if path != "forget_bias":  # of cells with a forget gate
        assert len({*found, base_digest}) == 3
    else:
        assert found == {base_digest}


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("batch_size", (16, 32)),
        ("microbatches", (2, 4)),
        ("cell", ("gru", "lstm")),
        ("layers", (1, 2)),
        ("optimizer", ("adamw", "sgd")),
        ("total_examples", (1000, 2000)),
        ("clip_norm", (None, 1.0)),
        ("task.reading", ("rows", "columns")),
    ],
)
def test_each_value_of_a_static_axis_gets_its_own_placement(path, values):
    grid = BASE.replace({path: values, "seed": (0, 1, 2)})
    placements = make_placements(grid.members(), 1, lambda group: 1)
    assert [[m.values[path] for m in p.members] for p in placements] == [[v] * 3 for v in values]


def test_a_diverged_member_freezes_and_changes_no_other(digits, solo_digests):
    one, two = members("layers")[:2]
    wild = one.replace({"learning_rate": 1e30})  # overflows float32 in its second step
    for mate, own in ((one, 0), (two, 1)):
        programs = build_programs(Placement((wild, mate), 1, 1), digits, **PAIR)
        state, metrics = programs.segment(programs.init(), 0, CAPACITY)
        assert np.all(np.isfinite(np.asarray(metrics.loss)[1, :CAPACITY]))
        assert list(np.asarray(state.diverged_at)) == [1, -1]
        assert digests(state, 2)[1] == solo_digests("layers")[own]


@pytest.fixture(scope="module")
def tiled_digests(digits):
    """As on a GPU or TPU: members under `vmap`, the last tile filled up with copies. It is one
    program for all, so that it may be compiled quickly.
    """
    placement = Placement(members("layers")[:3], 1, 1, tile=4)
    return trained(placement, digits, cuts=(0, 5, 12), how=fast_jit)


@pytest.mark.parametrize("index", [0, 2])
def test_a_member_in_a_tile_has_the_same_bits_beside_any_others(digits, tiled_digests, index):
    placement = Placement(members("layers")[index : index + 1], 1, 1, tile=4)
    assert len(placement.rows) == 4
    assert trained(placement, digits, cuts=(0, 12), how=fast_jit) == [tiled_digests[index]]


def test_tiles_train_as_members_one_after_another_do(digits):
    """Compares the losses up to rounding."""
    losses = []
    for tile, max_steps in ((1, PAIR["max_steps"]), (4, CAPACITY)):
        programs = build_programs(Placement(members("layers")[:2], 1, 1, tile), digits, max_steps)
        losses.append(np.asarray(programs.segment(programs.init(), 0, 12)[1].loss)[:2, :12])
    np.testing.assert_allclose(*losses, rtol=2e-3)


@pytest.mark.parametrize("tile", [1, 2, 4])
def test_placements_hold_every_member_once_and_fill_the_devices(tile):
    grid = list(Experiment(hidden_size=(8, 16, 32), seed=tuple(range(7))).members())
    for devices in (1, 2, 3, 4, 8):
        placements = make_placements(grid, devices, lambda group: tile)
        placed = [member for placement in placements for member in placement.members]
        assert sorted(m.digest for m in placed) == sorted(m.digest for m in grid)
        for placement in placements:
            assert {m.static_key for m in placement.members} == {placement.static_key}
            assert len(placement.rows) % placement.member_devices == 0
            assert tile == 1 or len(placement.rows) == tile * placement.member_devices
            assert placement.member_devices * placement.batch_devices <= devices
            assert 8 % placement.batch_devices == 0
        assert len(placements) <= 3 * (2 if tile == 1 else -(-7 // (tile * devices)))


def test_tiles_hold_one_member_on_cpu_and_for_cudnn_and_eight_elsewhere():
    scan, cudnn = Experiment().static_key, Experiment(backend="cudnn").static_key
    assert [tile_size(*of) for of in (("cpu", scan), ("gpu", scan), ("gpu", cudnn))] == [1, 8, 1]


def test_traced_fields_are_stacked_and_static_fields_stay():
    stacked = stack_fields(members("lstm"))
    np.testing.assert_array_equal(stacked.seed, np.uint32([0, 1, 2, 0]))
    np.testing.assert_array_equal(stacked.learning_rate, np.float32([1e-3, 3e-3, 1e-2, 3e-3]))
    assert (stacked.hidden_size, stacked.clip_norm) == (128, None)
    assert stacked.static_key == members("lstm")[0].static_key
    high = stack_fields([Experiment(seed=2**32 - 1)])
    assert high.seed.dtype == np.uint32
    odd = Experiment(task=Images(dataset="traced"))  # a name as any other
    assert stack_fields([odd]).task.dataset == "traced"


def test_a_member_that_does_not_fit_the_data_is_refused(digits):
    with pytest.raises(UserError, match="batch_size: 2048 is more than the 1,318 training"):
        model_spec_of(Experiment(task=DIGITS, batch_size=2048), digits)
    wide = digits._replace(metadata={**digits.metadata, "shapes": {"images": [8, 9], "labels": []}})
    with pytest.raises(UserError, match="square"):
        model_spec_of(Experiment(task=Images(dataset="digits", shift=1)), wide)
