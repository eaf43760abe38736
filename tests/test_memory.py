"""The estimate of memory is near what XLA plans for the compiled program, and programs go."""

from functools import lru_cache, partial
from pathlib import Path

import jax
import numpy as np
import pytest
from fast_compile import OPTIONS
from jax.sharding import Mesh
from trained_runs import TINY, tiny_dataset, train_in_memory

from lstm_jax.config.experiment import Experiment
from lstm_jax.data import images
from lstm_jax.errors import EnvironmentProblem
from lstm_jax.tasks.images import Images
from lstm_jax.train import memory_estimate
from lstm_jax.train import placement as placing
from lstm_jax.train.placement import Placement

MODELS = {
    "lstm": {"hidden_size": 64},
    "many": {"hidden_size": 64, "seed": tuple(range(6))},
    "gru layers": {"hidden_size": 192, "cell": "gru", "layers": 2},
}


def planned_bytes(placement, dataset):
    """Returns the bytes of arguments and temporaries that XLA plans for one device."""
    spec = placing.model_spec_of(placement.members[0], dataset)
    mesh = Mesh(np.asarray(jax.devices()[:1]).reshape(1, 1), ("members", "microbatches"))
    init, segment, _ = placing._compiled(placement.static_key, spec, 10, mesh, placement.tile)
    rows = placing.stack_fields(placement.rows)
    state = jax.eval_shape(init, rows)
    order = np.zeros((len(placement.rows), dataset.num_examples), np.int32)
    bounds = [np.int32(0)] * 3
    is_stopped = np.zeros(len(placement.rows), bool)
    lowered = segment.lower(rows, state, order, is_stopped, dataset.train, *bounds)
    # The options skip passes that run after this plan, so they do not change it.
    plan = lowered.compile(compiler_options=OPTIONS).memory_analysis()
    return plan.argument_size_in_bytes + plan.temp_size_in_bytes


@pytest.mark.parametrize(("model", "copies"), [("lstm", 300), ("many", 1), ("gru layers", 1)])
def test_the_estimate_is_near_what_xla_plans(model, copies):
    dataset = images.load_images("digits")
    train = {name: np.concatenate([array] * copies) for name, array in dataset.train.items()}
    dataset = dataset._replace(train=train)
    experiment = Experiment(task=Images(dataset="digits"), **MODELS[model])
    placement = Placement(tuple(experiment.members()), 1, 1)
    estimate = memory_estimate.estimate_memory(placement, dataset, "gpu")
    assert 0.75 < estimate.device / planned_bytes(placement, dataset) < 1.35


def test_each_number_of_the_estimate_grows_as_it_should():
    dataset = images.load_images("digits")
    member = Experiment(task=Images(dataset="digits"))
    estimate = partial(memory_estimate.estimate_memory, dataset=dataset, platform="gpu")
    single = estimate(Placement((member,), 1, 1))
    assert single.parameters == 8 * 128 + 128 + 256 * 512 + 512 + 128 * 10 + 10
    assert single.state == 4 * (
        3 * single.parameters + 2
    )  # the weights, Adam's moments, two counts
    sgd = estimate(Placement((member.replace({"optimizer": "sgd"}),), 1, 1))
    assert sgd.state == 4 * (2 * single.parameters + 1)
    members = tuple(member.replace({"seed": (0, 1, 2, 3)}).members())
    on_one, on_four = estimate(Placement(members, 1, 1)), estimate(Placement(members, 4, 1))
    assert on_one.device - single.device == 3 * 2 * (single.state + 4 * dataset.num_examples)
    assert on_four.device == single.device
    assert on_four.host == on_one.host > single.host
    assert estimate(Placement(members[:1], 1, 1, tile=4)).device > on_one.device
    on_cpu = memory_estimate.estimate_memory(Placement(members, 2, 2), dataset, "cpu")
    assert on_cpu.host == on_one.host + 4 * on_cpu.device  # there the devices' memory is the host's


def test_the_estimate_holds_all_splits_of_the_data():
    dataset = images.load_images("digits")
    placement = Placement((Experiment(task=Images(dataset="digits")),), 1, 1)
    before = memory_estimate.estimate_memory(placement, dataset, "gpu")
    for name in ("train", "validation", "test"):
        split = getattr(dataset, name)
        twice = {key: np.concatenate([array, array]) for key, array in split.items()}
        after = memory_estimate.estimate_memory(placement, dataset._replace(**{name: twice}), "gpu")
        order = 2 * 4 * len(split["labels"]) if name == "train" else 0  # in and out of a segment
        assert after.device - before.device == memory_estimate.num_bytes(split) + order
        assert after.host - before.host == memory_estimate.num_bytes(split)


def test_only_what_does_not_fit_is_refused_with_its_size():
    free = memory_estimate.free_host_memory()
    assert free is None or free > 2**20
    memory_estimate.refuse_what_does_not_fit(
        memory_estimate.MemoryEstimate(1, 1, 1, 2**20), 3, "cpu"
    )
    with pytest.raises(EnvironmentProblem, match=r"3 members need about 1048576.0 GiB of host"):
        memory_estimate.refuse_what_does_not_fit(
            memory_estimate.MemoryEstimate(1, 1, 1, 2**50), 3, "cpu"
        )


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux counts memory maps")
def test_a_sweep_of_many_programs_does_not_use_up_the_memory_maps(monkeypatch):
    """Each program takes hundreds of the 65,530, and LLVM fails where there are no more."""
    monkeypatch.setattr(placing, "_compiled", lru_cache(1)(placing._compiled.__wrapped__))
    counts = []
    for hidden_size in (3, 4, 5, 6):
        member = Experiment(task=Images(dataset="digits"), **TINY | {"hidden_size": hidden_size})
        train_in_memory(member.replace({"total_steps": 2}), tiny_dataset())
        counts.append(len(Path("/proc/self/maps").read_text().splitlines()))
    grown = counts[1] - counts[0], counts[3] - counts[1]
    assert grown[1] < max(100, grown[0] / 2), counts
