"""The estimate of memory, held against what XLA says of the compiled program."""

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from lstm_jax import Experiment
from lstm_jax.data.load import load
from lstm_jax.errors import SurroundingsError
from lstm_jax.train import memory, sweep
from lstm_jax.train.step import Recipe
from lstm_jax.train.sweep import Placement


@pytest.mark.parametrize(("hidden_size", "seeds"), [(32, 1), (128, 1), (64, 6), (192, 2)])
def test_the_estimate_is_near_what_xla_plans(hidden_size, seeds):
    dataset = load("digits")
    experiment = Experiment(dataset="digits", hidden_size=hidden_size, seed=tuple(range(seeds)))
    placement = Placement(experiment.members(), 1, 1)
    model = sweep.build_model(experiment, hidden_size, dataset)
    mesh = Mesh(np.asarray(jax.devices()[:1]).reshape(1, 1), ("members", "chunks"))
    recipe = Recipe(experiment.batch_size, experiment.chunks, experiment.num_steps)
    init, segment, _ = sweep._compiled(model, recipe, 10, mesh, 1)
    each = [np.zeros(seeds, kind) for kind in (np.float32, np.uint32)]
    order = np.zeros((seeds, len(dataset.train.labels)), np.int32)
    bounds = [np.int32(0)] * 3
    state = jax.eval_shape(init, each[1])
    plan = segment.lower(state, order, *each, *dataset.train, *bounds).compile().memory_analysis()
    planned = plan.argument_size_in_bytes + plan.temp_size_in_bytes
    need = memory.needed(experiment, placement, dataset, "gpu")
    assert 0.6 < need.device / planned < 1.7


def test_what_fits_is_let_through_and_what_does_not_is_named():
    free = memory.free_host_memory()
    assert free is None or free > 2**20
    memory.refuse_what_does_not_fit(memory.Need(1, 1, 1, 2**20), 3, "cpu")
    with pytest.raises(SurroundingsError, match=r"3 members need about 1048576.0 GiB of host"):
        memory.refuse_what_does_not_fit(memory.Need(1, 1, 1, 2**50), 3, "cpu")
