"""The baseline on `digits`, to the bit, as each version of JAX trains it.

An upgrade that moves the bits fails here. Look at the losses. If they moved by rounding only, write
the new version's record with `python tests/test_golden.py`, and say so in the commit. If they moved
by more, find out why first.
"""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from fast_compile import programs_by, users_jit

from lstm_jax import Experiment
from lstm_jax.data import images
from lstm_jax.runs import checkpoints, provenance
from lstm_jax.tasks.images import Images
from lstm_jax.train.placement import Placement, build_programs, named_leaves

RECORDS = Path(__file__).parent / "golden.json"
STEPS = 60


def train_baseline():
    """Returns the losses of every tenth step, and the SHA-256 of all final parameters."""
    dataset = images.load_images("digits")
    members = tuple(Experiment(task=Images(dataset="digits")).members())
    with programs_by(users_jit):
        programs = build_programs(Placement(members, 1, 1), dataset, STEPS)
        state, metrics = programs.segment(programs.init(), 0, STEPS)
    params = {name: np.asarray(leaf)[0] for name, leaf in named_leaves(state.params).items()}
    identity = provenance.identity(dataset.fingerprint, "")
    return {
        "instruction_set": identity["instruction_set"],
        "data": identity["data"],
        "losses": [float(loss) for loss in np.asarray(metrics.loss)[0, ::10]],
        "parameters_sha256": checkpoints.fingerprint(params),
    }


def test_the_baseline_trains_to_the_recorded_bits():
    records, now = json.loads(RECORDS.read_text()), train_baseline()
    version = f"jax {jax.__version__}"
    assert version in records, f"no golden record of {version}: see the head of this file"
    golden = records[version]
    assert now["data"] == golden["data"]
    assert now["losses"] == pytest.approx(golden["losses"], rel=1e-3)
    # Another instruction set has other bits: there the losses must do.
    if now["instruction_set"] == golden["instruction_set"]:
        assert now == golden


def test_all_recorded_versions_agree_up_to_rounding():
    first, *others = json.loads(RECORDS.read_text()).values()
    for other in others:
        assert other["losses"] == pytest.approx(first["losses"], rel=1e-3)


if __name__ == "__main__":
    records = json.loads(RECORDS.read_text()) if RECORDS.exists() else {}
    records[f"jax {jax.__version__}"] = train_baseline()
    RECORDS.write_text(json.dumps(records, indent=2, sort_keys=True) + "\n")
