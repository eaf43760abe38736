"""Whatever happens to one of several processes of a run, all of them end, and nothing is lost."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_faults import command, finish, finished, start

SWEEP = (
    *("--hidden-size", "8", "--cell", "lstm", "gru", "--learning-rate", "1e-3", "3e-3"),
    *("--seed", "0", "1", "2", "--total-examples", "6400", "--checkpoint-every", "10"),
    "--no-report",
)
ALONE = (
    "--hidden-size",
    "8",
    "--total-examples",
    "12800",
    "--checkpoint-every",
    "10",
    "--no-report",
)


def run(runs, argv, processes, devices):
    many = ("--processes", str(processes)) if processes > 1 else ()
    process = start(command(runs, *argv, *many), JAX_NUM_CPU_DEVICES=str(devices))
    assert finish(process)[0] == 0
    return finished(runs)


def ranks_in_training(tmp_path, argv):
    """Starts two processes; returns their launcher and their ids, the main process first."""
    process = start(command(tmp_path, *argv, "--processes", "2"), JAX_NUM_CPU_DEVICES="1")
    while "loss" not in process.stdout.readline():
        assert process.poll() is None
    ids = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return process, sorted(map(int, ids))


@pytest.fixture(scope="module", params=[SWEEP, ALONE], ids=["twelve members", "one member"])
def whole(request, tmp_path_factory):
    """The arguments, and the results of one process with four devices."""
    return request.param, run(tmp_path_factory.mktemp("whole"), request.param, 1, 4)


@pytest.mark.parametrize(("processes", "devices"), [(2, 2), (4, 1)])
def test_the_bits_do_not_depend_on_the_number_of_processes(whole, tmp_path, processes, devices):
    argv, digests = whole
    assert run(tmp_path, argv, processes, devices) == digests


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_all_processes_end_with_one_and_any_number_of_them_resumes(
    whole, tmp_path, tally, rank, number
):
    argv, digests = whole
    process, ids = ranks_in_training(tmp_path, argv)
    os.kill(ids[rank], number)
    started = time.monotonic()
    code, lines = finish(process)
    seconds = time.monotonic() - started
    assert not any(Path(f"/proc/{pid}").exists() for pid in ids)
    errors = [line for line in lines if "lstm_jax: " in line]
    assert len(errors) == 1, lines
    assert code == (3 if number == signal.SIGKILL else 75)
    assert "the same command goes on" in errors[0]
    assert seconds < 30
    survived = run(tmp_path, argv, 1 + rank, 2 - rank) == digests
    tally(f"{signal.Signals(number).name} of process {rank} of 2", 1, int(survived))
    assert survived


def test_the_processes_end_with_their_launcher(tmp_path):
    process, ids = ranks_in_training(tmp_path, SWEEP)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in ids):
        assert time.monotonic() < deadline
        time.sleep(0.5)


STRANGER = """
import os, pickle, sys
import jax, numpy as np
from jax.experimental import multihost_utils

class Payload:
    def __reduce__(self):
        return os.system, (f"touch {sys.argv[2]}",)

jax.distributed.initialize(sys.argv[1], 2, 1, initialization_timeout=60)
content = np.frombuffer(pickle.dumps(Payload()), np.uint8)
multihost_utils.process_allgather(np.zeros(32, np.uint8))
multihost_utils.broadcast_one_to_all(np.int32(len(content)), is_source=True)
multihost_utils.broadcast_one_to_all(np.pad(content, (0, 1024 - len(content))), is_source=True)
"""


@pytest.mark.parametrize("secret", ["of the launch", None])
def test_a_stranger_who_joins_runs_nothing(tmp_path, tally, secret):
    """A second program takes the place of the second process and sends a pickle with a command.

    Without a secret it can take part, but what it sends is not run.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    joining = dict(zip(names, (address, "2", "0"), strict=True))
    joining |= {"LSTM_JAX_SECRET": secret} if secret else {}
    process = start(command(tmp_path, *ALONE, "--join"), JAX_NUM_CPU_DEVICES="1", **joining)
    stranger = subprocess.Popen(
        [sys.executable, "-c", STRANGER, address, str(tmp_path / "ran")],
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "1"},
        stderr=subprocess.DEVNULL,
    )
    try:
        code, lines = finish(process)
    finally:
        stranger.kill()
        stranger.wait()
    ran = (tmp_path / "ran").exists()
    tally(f"a stranger as process 2, secret of the launch: {bool(secret)}", 1, int(not ran))
    assert not ran
    if secret:
        assert code == 3
        assert "does not know the secret of this launch" in lines[-1]
