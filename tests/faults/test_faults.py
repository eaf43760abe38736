"""Real processes, real signals, real damage. They take minutes: `make faults`, not `make test`."""

import contextlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lstm_jax.errors import EnvironmentProblem
from lstm_jax.runs import checkpoints
from lstm_jax.runs.directory import locked

ROOT = Path(__file__).parent.parent.parent
SMALL = (
    *("--hidden-size", "8", "--total-examples", "16000", "--checkpoint-every", "20"),
    "--no-report",
)
SWEEP = (
    *("--hidden-size", "16", "24", "--learning-rate", "1e-3", "3e-3", "--seed", "0", "1", "2"),
    *("--total-examples", "64000", "--checkpoint-every", "20", "--no-report"),
)


MEMORY = (  # online examples and dropout: both are functions of the step alone
    *("--task.length", "20", "--cell", "gru", "--layers", "2", "--dropout", "0.2", "--seed", "0"),
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
    out, _ = process.communicate(timeout=300)
    return process.returncode, out.splitlines()


def finished(runs):
    """Returns the SHA-256 of the parameters of finished members, by digest."""
    found = {}
    for path in runs.glob("*/*/record.json"):
        members = json.loads(path.read_text())["members"]
        found |= {key: member["parameters_sha256"] for key, member in members.items()}
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    runs = tmp_path_factory.mktemp("whole")
    assert finish(start(command(runs, *SMALL)))[0] == 0
    return runs


@pytest.fixture(scope="module")
def whole_sweep(tmp_path_factory):
    runs = tmp_path_factory.mktemp("whole_sweep")
    assert finish(start(command(runs, *SWEEP)))[0] == 0
    assert len(finished(runs)) == 12
    return runs


@pytest.mark.parametrize("salt", [0, 1])
def test_a_sweep_killed_ten_times_loses_no_finished_member(whole_sweep, tmp_path, tally, salt):
    """The kills come at random moments. Each start has one or two devices, at random."""
    draw, before, lost = random.Random(salt), {}, 0
    for _ in range(10):
        process = start(command(tmp_path, *SWEEP), JAX_NUM_CPU_DEVICES=draw.choice("12"))
        for _ in range(
            draw.randint(0, 5)
        ):  # lines, about one per segment; then within the next segment
            process.stdout.readline()
        time.sleep(draw.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "the sweep was over before ten kills"
        now = finished(tmp_path)
        lost += len(before.items() - now.items())
        before = now
    assert finish(start(command(tmp_path, *SWEEP)))[0] == 0
    survived = finished(tmp_path) == finished(whole_sweep)
    tally("SIGKILL at random moments of a sweep of 12", 10, 10 * survived, lost)
    assert survived
    assert not lost


def test_a_run_survives_kills_in_its_first_four_seconds(whole, tmp_path, tally):
    """Then Python and JAX start, the first program is compiled, the first segment is saved."""
    draw, survived = random.Random(0), 0
    for _ in range(12):
        process = start(command(tmp_path, *SMALL))
        time.sleep(draw.uniform(0, 4))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode in (0, -signal.SIGKILL)
    code, lines = finish(start(command(tmp_path, *SMALL)))
    survived = 12 * (code == 0 and finished(tmp_path) == finished(whole))
    tally("SIGKILL in the first four seconds", 12, survived)
    assert survived, lines
    assert not list(tmp_path.rglob("*.tmp"))


def test_an_online_task_with_dropout_survives_ten_kills(tmp_path, tally):
    """The kills come at random moments. Each start has one or two devices, at random."""
    whole, killed = (command(tmp_path / n, *MEMORY, name="two_troubles") for n in ("whole", "runs"))
    assert finish(start(whole))[0] == 0
    draw, kills = random.Random(2), 0
    for _ in range(10):
        process = start(killed, JAX_NUM_CPU_DEVICES=draw.choice("12"))
        for _ in range(
            draw.randint(1, 3)
        ):  # lines, about one per segment; then within the next segment
            process.stdout.readline()
        time.sleep(draw.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    assert finish(start(killed))[0] == 0
    survived = finished(tmp_path / "runs") == finished(tmp_path / "whole")
    tally("SIGKILL: a GRU of two layers with dropout, adding", kills, kills * survived)
    assert survived
    assert kills > 5, "it was over before it was killed"


def test_kills_while_data_is_prepared_leave_no_process_and_no_half_data_set(tmp_path, tally):
    """The child process ends with its parent. The next start removes what it left."""
    source = Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    manual = source.absolute() / "downloads" / "manual"
    if len(list(manual.glob("*-ubyte.gz"))) < 4:
        pytest.skip("needs the four MNIST files in TFDS_DATA_DIR/downloads/manual")
    home = tmp_path / "data"
    shutil.copytree(manual, home / "downloads" / "manual")
    program = (
        "from lstm_jax.data.images import load_images; print(load_images('mnist').fingerprint)"
    )
    load = ("-c", program)
    draw, survived = random.Random(0), 0
    for _ in range(6):
        process = start((), *load, TFDS_DATA_DIR=str(home))
        time.sleep(draw.uniform(1, 12))
        process.send_signal(draw.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
        process.communicate()
        time.sleep(1)
        pids = [
            path for path in Path("/proc").glob("[0-9]*/cmdline") if str(home) in read_text(path)
        ]
        survived += not pids
    _, lines = finish(start((), *load, TFDS_DATA_DIR=str(home)))
    whole = lines[-1].startswith("582e054b25638a33")
    left = list(home.glob("incomplete.*"))
    tally("killed while MNIST is prepared", 6, survived * (whole and not left))
    assert (survived, whole, left) == (6, True, [])


def read_text(path):
    """Returns the text of a file, or nothing if it cannot be read."""
    with contextlib.suppress(OSError):
        return path.read_text(errors="replace")
    return ""


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


def test_a_run_survives_a_full_disk(whole, tmp_path, tally):
    """A limit on the size of files, in blocks of 512 or 1024 bytes, simulates the full disk."""
    limits, survived = (1, 2, 3, 4, 6, 8, 16), 0
    for limit in limits:
        runs = tmp_path / str(limit)
        line = " ".join(["-m", "lstm_jax", *command(runs, *SMALL)])
        limited = subprocess.run(
            ["bash", "-c", f"ulimit -f {limit}; exec {sys.executable} {line}"],
            cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        errors = limited.stderr.splitlines()
        assert limited.returncode in (0, 3), errors
        assert len(errors) == (limited.returncode == 3), errors
        code, _ = finish(start(command(runs, *SMALL)))
        survived += code == 0 and finished(runs) == finished(whole)
    tally("disk full at metrics, record or checkpoint", len(limits), survived)
    assert survived == len(limits)


def test_flipped_and_missing_bytes_of_a_checkpoint_are_noticed(tmp_path, tally):
    """In both files every 7th byte is flipped, and both files are cut at every 7th length."""
    rng = np.random.default_rng(0)
    states = {
        step: {"params/kernel": rng.standard_normal((2, 9, 8)).astype(np.float32)}
        for step in (10, 20)
    }
    for step, arrays in states.items():
        checkpoints.save(tmp_path, ("a", "b"), checkpoints.Saved(step, arrays, "", [1.0, 2.0]))
    (folder,) = (tmp_path / "checkpoints").iterdir()
    tries = survived = 0
    for path in sorted(folder.glob("00000020.*")):
        whole = path.read_bytes()
        flips = (whole[:i] + bytes([whole[i] ^ 16]) + whole[i + 1 :] for i in positions(whole))
        for damaged in (*flips, *(whole[:i] for i in positions(whole))):
            path.write_bytes(damaged)
            found = checkpoints.load(tmp_path, ["a"], lambda _: None)["a"]
            tries += 1
            wanted = states[found.step]["params/kernel"][0]
            changed = damaged.rstrip() != whole.rstrip()  # but for the manifest's last newline
            survived += found.step == (10 if changed else 20) and np.array_equal(
                found.arrays["params/kernel"], wanted
            )
        path.write_bytes(whole)
    tally("byte flipped, file cut short: checkpoint", tries, survived)
    assert tries > 250
    assert survived == tries


def positions(data):
    return range(0, len(data), 7)


def test_flipped_and_missing_bytes_of_the_record_never_lead_to_other_results(
    whole, tmp_path, tally
):
    """The run ends with exit code 3 and a message of one line, or is as it was."""
    shutil.copytree(whole, tmp_path / "runs")
    (path,) = (tmp_path / "runs").glob("digits/*/record.json")
    data, draw = path.read_bytes(), random.Random(0)
    tries = survived = 0
    for i in draw.sample(range(len(data)), 12):
        for damaged in (
            data[:i],
            data[:i] + bytes([data[i] ^ 1 << draw.randrange(7)]) + data[i + 1 :],
        ):
            path.write_bytes(damaged)
            code, lines = finish(start(command(tmp_path / "runs", *SMALL)))
            tries += 1
            wrong = code == 0 and finished(tmp_path / "runs") != finished(whole)
            survived += code in (0, 3) and not wrong and "Traceback" not in "".join(lines)
    tally("byte flipped, file cut short: record", tries, survived)
    assert survived == tries


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


def test_a_folder_that_cannot_be_written_is_a_message_of_one_line(tmp_path, tally):
    """No permission, a file in place of a folder, a name that is too long."""
    (tmp_path / "file").write_text("")
    folders = [Path("/proc/self/runs"), tmp_path / "file", tmp_path / ("x" * 300)]
    survived = 0
    for folder in folders:
        code, lines = finish(start(command(folder, *SMALL)))
        survived += (code, len(lines)) == (3, 1)
    tally("a folder that may not be written", len(folders), survived)
    assert survived == len(folders)


def test_a_diverging_member_does_not_change_the_other_members(whole, tmp_path, tally):
    argv = (*SMALL, "--learning-rate", "1e-3", "1e30")
    assert finish(start(command(tmp_path, *argv)))[0] == 0
    survived = finished(whole).items() <= finished(tmp_path).items()
    tally("a member of a sweep diverges", 1, survived)
    assert survived


def test_a_missing_network_is_noticed_within_ten_seconds(tmp_path, tally):
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    began = time.monotonic()
    argv = ["run", "baseline", "--runs-dir", str(tmp_path)]
    process = start(argv, TFDS_DATA_DIR=str(tmp_path / "none"), **proxies)
    code, _ = finish(process)
    seconds = time.monotonic() - began
    tally(f"no network (answered after {seconds:.1f} s)", 1, int(code == 3 and seconds < 10))
    assert code == 3
