"""Several processes that train one run. Kills are tested in `tests/faults/test_distributed.py`."""

import pytest

from lstm_jax.config.experiment import Experiment
from lstm_jax.errors import EnvironmentProblem
from lstm_jax.runs.launcher import launch
from lstm_jax.train.placement import make_placements


@pytest.mark.parametrize("microbatches", [1, 2, 4, 8])
@pytest.mark.parametrize("tile", [1, 3])
@pytest.mark.parametrize("count", [1, 3, 4, 5, 24, 31])
@pytest.mark.parametrize(("devices", "local"), [(1, 1), (4, 4), (4, 2), (4, 1)])
def test_a_placement_uses_the_devices_of_all_processes_or_of_one(
    microbatches, tile, count, devices, local
):
    """A process without a device in a program could not take part in it."""
    members = tuple(Experiment(seed=tuple(range(count)), microbatches=microbatches).members())
    placements = make_placements(members, devices, lambda _: tile, local)
    assert [m for placement in placements for m in placement.members] == list(members)
    for placement in placements:
        used = placement.member_devices * placement.batch_devices
        assert used == devices or used <= local
        assert microbatches % placement.batch_devices == 0
        assert len(placement.rows) % placement.member_devices == 0


def test_launch_raises_the_error_of_a_process_that_failed(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
    (tmp_path / "digits").write_text("no directory")
    with pytest.raises(EnvironmentProblem, match=r"cannot (read|write) .*digits"):
        launch(2, ["run", "digits", "--no-report", "--runs-dir", str(tmp_path)])
