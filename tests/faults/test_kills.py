"""Two hundred kills, by every signal that a user or a scheduler sends, lose no result.

Half of them come in the first four seconds, a tenth while data is prepared, the rest in training.
After Ctrl-C and SIGTERM there is an exit code and a message of one line.
"""

import contextlib
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from test_faults import command, finish, finished, start

SWEEP = (
    *("--hidden-size", "8", "--cell", "lstm", "mingru", "--seed", "0", "1"),
    *("--total-examples", "16000", "--checkpoint-every", "10", "--no-report"),
    *("--learning-rate", "0.05", "--log-every", "5", "--num-evals", "24", "--patience", "3"),
)
SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
CODES = {-signal.SIGKILL, 0, 75, 130}


def kill(process, number, seconds, lines=0):
    """Kills a process some seconds after some lines.

    Returns a text if its exit code or its message is wrong, else nothing.
    """
    for _ in range(lines):
        process.stdout.readline()
    time.sleep(seconds)
    process.send_signal(number)
    out, _ = process.communicate(timeout=1200)
    code, errors = process.returncode, [line for line in out.splitlines() if "lstm_jax: " in line]
    if code == -number or ("lstm_jax" not in out and "Traceback" in out):
        return ""  # Python was still starting: lstm_jax had not run
    is_explained = code in (0, -signal.SIGKILL) or len(errors) == 1
    is_right = code in CODES and is_explained and "Traceback" not in out
    return "" if is_right else f"{number} {code}: {out}"


def read_text(path):
    """Returns the text of a file, or nothing if it cannot be read."""
    with contextlib.suppress(OSError):
        return path.read_text(errors="replace")
    return ""


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    runs = tmp_path_factory.mktemp("whole")
    assert finish(start(command(runs, *SWEEP)))[0] == 0
    return finished(runs)


@pytest.mark.parametrize("salt", range(5))
@pytest.mark.parametrize(
    ("fault", "kills"), [("killed in the first four seconds", 20), ("killed while training", 16)]
)
def test_a_killed_sweep_loses_no_result(sweep, tmp_path, tally, fault, kills, salt):
    """When a run is finished, a new one starts in another folder. All end in the same bits."""
    draw, lost, wrong, homes = random.Random(f"{fault} {salt}"), 0, [], [tmp_path / "0"]
    before = {}
    for count in range(kills):
        if count and len(before) == len(sweep):
            homes.append(tmp_path / str(count))
            before = {}
        first = "first" in fault
        seconds, lines = draw.uniform(0, 4 if first else 0.3), 0 if first else draw.randint(1, 9)
        process = start(command(homes[-1], *SWEEP), JAX_NUM_CPU_DEVICES=draw.choice("12"))
        wrong.append(kill(process, draw.choice(SIGNALS), seconds, lines))
        now = finished(homes[-1])
        lost += len(before.items() - now.items())
        before = now
    survived = all(finish(start(command(home, *SWEEP)))[0] == 0 for home in homes)
    survived &= all(finished(home) == sweep for home in homes)
    survived &= not list(tmp_path.rglob("*.tmp"))
    tally(fault, kills, kills * survived - sum(map(bool, wrong)), lost)
    assert not any(wrong), "\n".join(wrong)
    assert survived
    assert not lost


def test_kills_while_data_is_prepared_leave_no_process_and_no_half_data_set(
    manual_files, tmp_path, tally
):
    """The last start removes what the killed ones left."""
    home, kills, draw, wrong, living = tmp_path / "data", 20, random.Random(0), [], 0
    shutil.copytree(manual_files, home / "downloads" / "manual")
    for _ in range(kills):
        shutil.rmtree(home / "mnist", ignore_errors=True)
        process = start(["plan", "baseline"], TFDS_DATA_DIR=str(home))
        wrong.append(kill(process, draw.choice(SIGNALS), draw.uniform(1, 14)))
        time.sleep(1)
        living += any(str(home) in read_text(p) for p in Path("/proc").glob("[0-9]*/cmdline"))
    code, lines = finish(start(["plan", "baseline"], TFDS_DATA_DIR=str(home)))
    left = list(home.glob("incomplete.*"))
    survived = kills * (code == 0 and not left) - sum(map(bool, wrong)) - living
    tally("killed while MNIST is prepared", kills, survived)
    assert not any(wrong), "\n".join(wrong)
    assert (code, left, living) == (0, [], 0), lines
