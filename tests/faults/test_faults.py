"""Real processes, real signals, real damage. They take minutes: `make faults`, not `make test`."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from run_commands import SMALL

from lstm_jax.errors import EnvironmentProblem
from lstm_jax.runs.directory import locked

ROOT = Path(__file__).parent.parent.parent
MEMORY = (  # online examples and dropout: both are functions of the step alone
    *("--task.length", "20", "--cell", "gru", "--layers", "2", "--dropout", "0.2", "--seed", "0"),
    *("--block", "residual", "--block.norm", "rms", "--block.conv", "4"),
    *SMALL,
)


def command(runs, *argv, name="digits"):
    """Returns the arguments of lstm_jax that run an experiment in a folder."""
    return ["run", name, "--runs-dir", str(runs), *argv]


def start(argv, *program, **environment):
    """Starts Python with lstm_jax, or with another program, and these arguments."""
    return subprocess.Popen(
        [sys.executable, *(program or ("-m", "lstm_jax")), *argv],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | environment,
    )


def finish(process):
    """Waits for a process and returns its exit code and its lines."""
    out, _ = process.communicate(timeout=1200)  # of a busy machine
    return process.returncode, out.splitlines()


def finished(runs):
    """Returns the SHA-256 of the parameters of finished members, by digest."""
    results = {}
    for path in runs.glob("*/*/record.json"):
        members = json.loads(path.read_text())["members"]
        results |= {key: member["parameters_sha256"] for key, member in members.items()}
    return results


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    runs = tmp_path_factory.mktemp("whole")
    assert finish(start(command(runs, *SMALL)))[0] == 0
    return runs


def test_an_online_task_with_dropout_survives_ten_kills(tmp_path, tally):
    """The kills come at random moments. Each start has one or two devices, at random."""
    whole, killed = (command(tmp_path / n, *MEMORY, name="two_troubles") for n in ("whole", "runs"))
    assert finish(start(whole))[0] == 0
    draw, kills = random.Random(2), 0
    for _ in range(10):
        process = start(killed, JAX_NUM_CPU_DEVICES=draw.choice("12"))
        for _ in range(draw.randint(1, 3)):  # about one line per segment; then within the next one
            process.stdout.readline()
        time.sleep(draw.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    assert finish(start(killed))[0] == 0
    survived = finished(tmp_path / "runs") == finished(tmp_path / "whole")
    tally("SIGKILL: two residual blocks of a GRU with dropout, adding", kills, kills * survived)
    assert survived
    assert kills > 5, "it was over before it was killed"


def test_a_run_survives_kills_around_every_kind_of_write(whole, tmp_path, tally):
    """Twenty random moments before and after an fsync, a rename or a removal."""
    program = str(Path(__file__).parent / "killed_at.py")
    code, lines = finish(start(command(tmp_path / "count", *SMALL), program, "0"))
    assert code == 0
    moments = random.Random(0).sample(range(1, int(lines[-1]) + 1), 20)
    survived = 0
    for number in moments:
        runs = tmp_path / str(number)
        process = start(command(runs, *SMALL), program, str(number))
        assert finish(process)[0] == -signal.SIGKILL
        code, lines = finish(start(command(runs, *SMALL)))
        assert code == 0, lines
        survived += finished(runs) == finished(whole)
    tally("SIGKILL before and after writes, fsyncs and renames", len(moments), survived)
    assert survived == len(moments)


def _race(directory, barrier, queue):
    barrier.wait()
    try:
        with locked(directory):
            queue.put("held")
            barrier.wait()  # until the other has tried
    except EnvironmentProblem as error:
        queue.put("refused" if f"in use by process {os.getpid()}" not in str(error) else "wrong")
        barrier.wait()


def test_one_of_two_simultaneous_starts_gets_the_lock(tmp_path, tally):
    """In each of fifty races one process gets the lock, and the other is told which one has it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lstm_jax.runs.directory"])
    survived = 0
    for race in range(50):
        queue, barrier = context.Queue(), context.Barrier(2)
        racers = [
            context.Process(target=_race, args=(tmp_path / str(race), barrier, queue))
            for _ in range(2)
        ]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join(30)
        survived += sorted(queue.get(timeout=5) for _ in racers) == ["held", "refused"]
    tally("two starters at once", 50, survived)
    assert survived == 50
