"""Every shipped experiment is built, planned and stepped once, at its own sizes."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from lstm_jax.data.load import load
from lstm_jax.lookup import available, load_experiment
from lstm_jax.train.memory import needed
from lstm_jax.train.sweep import build, place


@pytest.mark.parametrize("name", available())
def test_a_shipped_experiment_steps(name):
    """On the bundled data, at the first hidden size of its grid."""
    experiment = replace(load_experiment(name), dataset="digits")
    dataset = load("digits", reading=experiment.reading)
    placements = place(experiment.members(), len(jax.devices()), experiment.chunks)
    assert sum(len(placement.members) for placement in placements) == len(experiment.members())
    one = placements[0]._replace(members=placements[0].members[:1], member_devices=1)
    assert needed(experiment, one, dataset, "cpu").parameters > 0
    programs = build(experiment, one, dataset, capacity=1)
    state, metrics = programs.segment(programs.init(), 0, 1)
    assert np.all(np.isfinite(np.asarray(metrics.loss)))
    assert np.all(np.asarray(state.diverged_at) == -1)
