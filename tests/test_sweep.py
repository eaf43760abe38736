"""The bits of a member are its own: whatever runs beside it, and on however many devices."""

from itertools import pairwise

import jax
import numpy as np
import pytest

from lstm_jax import Experiment
from lstm_jax.data.load import load
from lstm_jax.experiment import Member
from lstm_jax.runs import checkpoints
from lstm_jax.train.sweep import Placement, build, name_arrays, place

# The baseline's sizes: smaller ones hid a bit that depended on the number of devices.
EXPERIMENT = Experiment(dataset="digits")
MEMBERS = tuple(
    Member(128, rate, seed) for rate, seed in [(1e-3, 0), (3e-3, 1), (1e-2, 2), (3e-3, 0)]
)


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def trained(placement, dataset, cuts=(0, 45), capacity=45):
    """Digest of each member's state after the segments between the cuts; 10 steps are an epoch."""
    programs = build(EXPERIMENT, placement, dataset, capacity)
    state = programs.init()
    for start, stop in pairwise(cuts):
        state, _ = programs.segment(state, start, stop)
    arrays = {name: np.asarray(leaf) for name, leaf in name_arrays(state).items()}
    return [
        checkpoints.fingerprint({name: array[row] for name, array in arrays.items()})
        for row in range(len(placement.members))
    ]


@pytest.fixture(scope="module")
def alone(digits):
    """Each member's digest on one device, by itself."""
    return [trained(Placement((member,), 1, 1), digits)[0] for member in MEMBERS]


def test_members_differ(alone):
    assert len(set(alone)) == len(MEMBERS)


@pytest.mark.parametrize(("members", "chunks"), [(1, 1), (1, 2), (1, 4), (2, 1), (2, 2), (4, 1)])
def test_a_member_of_any_sweep_on_any_devices_equals_itself_alone(digits, alone, members, chunks):
    assert trained(Placement(MEMBERS, members, chunks), digits) == alone


def test_order_and_number_of_members_change_no_bit(digits, alone):
    chosen = [2, 0]
    placement = Placement(tuple(MEMBERS[i] for i in chosen), 1, 2)
    assert trained(placement, digits) == [alone[i] for i in chosen]


@pytest.mark.parametrize("cuts", [(0, 1, 2, 45), (0, 10, 45), (0, 20, 40, 45)])
def test_cutting_into_segments_changes_no_bit(digits, alone, cuts):
    assert trained(Placement(MEMBERS[:1], 1, 1), digits, cuts) == alone[:1]


def test_the_capacity_of_a_segment_changes_no_bit(digits, alone):
    assert trained(Placement(MEMBERS[:1], 1, 1), digits, capacity=100) == alone[:1]


def test_other_rates_seeds_and_steps_trace_nothing_again(digits):
    first = build(EXPERIMENT, Placement(MEMBERS[:2], 1, 1), digits, 10)
    first.segment(first.init(), 0, 10)
    with jax.no_tracing():
        second = build(EXPERIMENT, Placement(MEMBERS[2:], 1, 1), digits, 10)
        state, _ = second.segment(second.init(), 0, 10)
        second.segment(state, 10, 13)


def test_a_diverged_member_freezes_and_the_others_do_not_notice(digits, alone):
    wild = Member(128, 1e30, 0)  # overflows float32 in its second step
    experiment_rates = (MEMBERS[0], wild, MEMBERS[1])
    programs = build(EXPERIMENT, Placement(experiment_rates, 1, 1), digits, 45)
    state, metrics = programs.segment(programs.init(), 0, 45)
    assert np.all(np.isfinite(np.asarray(metrics.loss)[[0, 2]]))
    assert list(np.asarray(state.diverged_at)) == [-1, 1, -1]
    arrays = {name: np.asarray(leaf) for name, leaf in name_arrays(state).items()}
    digest = [checkpoints.fingerprint({k: v[row] for k, v in arrays.items()}) for row in (0, 2)]
    assert digest == alone[:2]


def test_in_tiles_a_member_has_the_same_bits_whatever_is_beside_it(digits):
    """As on a GPU or TPU: members under `vmap`, the last tile filled up with copies."""
    together = trained(Placement(MEMBERS[:3], 1, 1, tile=3), digits, cuts=(0, 5, 12))
    for index in (0, 2):
        alone = trained(Placement(MEMBERS[index : index + 1], 1, 1, tile=3), digits, cuts=(0, 12))
        assert alone == [together[index]]


def test_tiles_train_as_one_after_another_does(digits):
    """Up to rounding, and over the end of an epoch of ten steps."""
    losses = []
    for tile in (1, 3):
        programs = build(EXPERIMENT, Placement(MEMBERS[:3], 1, 1, tile), digits, 12)
        losses.append(programs.segment(programs.init(), 0, 12)[1].loss)
    np.testing.assert_allclose(*losses, rtol=2e-3)


@pytest.mark.parametrize("tile", [1, 2, 4])
def test_placements_hold_every_member_once_and_fill_the_devices(tile):
    grid = Experiment(hidden_size=(8, 16, 32), seed=tuple(range(7))).members()
    for devices in (1, 2, 3, 4, 8):
        placements = place(grid, devices, chunks=8, tile=tile)
        placed = [member for placement in placements for member in placement.members]
        assert sorted(map(str, placed)) == sorted(map(str, grid))
        for placement in placements:
            assert {m.hidden_size for m in placement.members} == {placement.hidden_size}
            assert len(placement.rows) % placement.member_devices == 0
            assert tile == 1 or len(placement.rows) == tile * placement.member_devices
            assert placement.member_devices * placement.chunk_devices <= devices
            assert 8 % placement.chunk_devices == 0
        assert len(placements) <= 3 * (2 if tile == 1 else -(-7 // (tile * devices)))
