"""Several processes that train one run. Kills are tested in `tests/faults/test_distributed.py`."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.rounds import Round
from lstm_jax.config.shards import COORDINATOR, SECRET, launch_secret
from lstm_jax.errors import EnvironmentProblem
from lstm_jax.runs.broadcast import broadcast, broadcast_members_left, broadcast_round
from lstm_jax.runs.checkpoints import Saved
from lstm_jax.runs.launcher import launch
from lstm_jax.train import processes
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


@pytest.mark.slow
def test_launch_raises_the_error_of_a_process_that_failed(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
    (tmp_path / "digits").write_text("no directory")
    with pytest.raises(EnvironmentProblem, match=r"cannot (read|write) .*digits"):
        launch(2, ["run", "digits", "--no-report", "--runs-dir", str(tmp_path)])


SWEEP = Experiment(learning_rate=(1e-3, 3e-3), cell=("lstm", "gru"))


@pytest.fixture
def wire(monkeypatch):
    """Lets this process believe that it is one of two. Returns a list of messages to receive
    instead of those that are sent.
    """
    to_receive = []

    def send(compute):
        content = compute()
        return to_receive.pop(0) if to_receive else content

    monkeypatch.setattr(processes.jax, "process_count", lambda: 2)
    monkeypatch.setattr(processes, "broadcast_bytes", send)
    return to_receive


class Payload:
    """Makes a file where its pickle is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_what_is_sent_is_received(wire):
    members = tuple(SWEEP.members())
    assert broadcast_round(lambda: Round(members, 9), SWEEP) == Round(members, 9)
    assert broadcast_round(lambda: None, SWEEP) is None
    arrays = {"a": np.arange(3, dtype=np.uint32), "b": np.float32("nan"), "c": np.zeros((0, 2))}
    sent = {members[0].digest: Saved(4, arrays, "identity", 0.1)}
    received, states = broadcast_members_left(lambda: ([*members], sent), SWEEP)
    assert received == [*members]
    ((digest, state),) = states.items()
    assert digest == members[0].digest
    assert state._replace(arrays={}) == Saved(4, {}, "identity", 0.1)
    for name, array in arrays.items():
        np.testing.assert_array_equal(state.arrays[name], array)
        assert state.arrays[name].dtype == array.dtype


@pytest.mark.parametrize(
    "message",
    [
        *(b"", b"\xff\xfe", b"[" * 100_000, b"{}", b'{"members": [], "until": -1}'),
        b'{"members": [{}], "until": 1}',
        b'{"members": [{"cell": "payload.py:cell", "learning_rate": 0.001}], "until": 1}',
        b'{"members": [{"cell": "gru", "learning_rate": 9.0}], "until": 1}',
        b'{"members": [{"cell": ["gru"], "learning_rate": 0.001}], "until": 1}',
    ],
)
def test_an_unexpected_message_is_one_line(wire, message):
    wire.append(message)
    with pytest.raises(EnvironmentProblem, match="sent something unexpected"):
        broadcast_round(lambda: None, SWEEP)


def test_a_component_that_is_received_is_not_loaded_from_a_file(wire, tmp_path):
    file = tmp_path / "payload.py"
    file.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    sweep = Experiment(optimizer=("adam", "sgd"), seed=(0, 1))
    member = {"optimizer": {"name": f"{file}:Own"}, "seed": 0}
    wire.append(json.dumps({"members": [member], "until": 1}).encode())
    with pytest.raises(EnvironmentProblem, match="sent something unexpected"):
        broadcast_round(lambda: None, sweep)
    assert not (tmp_path / "ran").exists()


def test_a_pickle_that_is_received_runs_no_code(wire, tmp_path):
    content = pickle.dumps(Payload(tmp_path / "ran"))
    nothing_left = json.dumps({"members": [], "states": {}}).encode()
    of_no_member = safetensors.numpy.save({"000000000000 kernel": np.ones(2)})
    for messages in ([content], [nothing_left, content], [nothing_left, of_no_member]):
        wire[:] = messages
        with pytest.raises(EnvironmentProblem, match="sent something unexpected"):
            broadcast_members_left(lambda: ([], {}), SWEEP)
    wire[:] = [content]
    with pytest.raises(EnvironmentProblem, match="sent something unexpected"):
        broadcast(lambda: True, bool)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("other", ["the same", "another", ""])
def test_a_process_that_does_not_know_the_secret_is_refused(monkeypatch, other):
    monkeypatch.setattr(processes.jax, "process_count", lambda: 2)
    monkeypatch.setenv(SECRET, other)
    theirs = np.frombuffer(processes.proofs(2)[1], np.uint8)
    monkeypatch.setattr(
        processes.multihost_utils, "process_allgather", lambda ours: np.stack([ours, theirs])
    )
    monkeypatch.setenv(SECRET, "the same")
    if other == "the same":
        processes.check_secret()
    else:
        with pytest.raises(EnvironmentProblem, match="process 2 of 2 does not know the secret"):
            processes.check_secret()
    assert launch_secret({"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"}) == "7 0"
    assert launch_secret({"SLURM_JOB_ID": "7", SECRET: "of the user"}) == "of the user"


@pytest.mark.parametrize(
    ("address", "binds"), [("127.0.0.1:5", "127.0.0.1:5"), ("10.0.0.1:5", None), (None, None)]
)
def test_at_a_loopback_address_the_coordinator_listens_there_alone(monkeypatch, address, binds):
    seen = {}
    monkeypatch.setattr(processes.jax.distributed, "initialize", lambda *_, **kw: seen.update(kw))
    monkeypatch.setattr(processes.jax.config, "update", lambda *_: None)
    if address:
        monkeypatch.setenv(COORDINATOR, address)
    processes.join()
    assert seen["coordinator_bind_address"] == binds
