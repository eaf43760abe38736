"""Runs that need a process of their own: signals, locks, pipes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from run_commands import HOURS, SMALL, digests

ROOT = Path(__file__).parent.parent


def start(runs, *argv, name="digits", **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "lstm_jax", "run", name, "--runs-dir", str(runs), *argv],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


def finish(process):
    """Exit code, output and the lines of stderr; at most two minutes."""
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err.splitlines()


@pytest.mark.slow
def test_a_signal_saves_the_run_and_the_same_command_resumes(run_command, finished_runs, tmp_path):
    process = start(tmp_path, *SMALL)
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    code, _, err = finish(process)
    assert (code, len(err)) == (75, 1), err
    assert "the same command goes on" in err[0]
    run_command(tmp_path, *SMALL)
    assert digests(tmp_path) == digests(finished_runs)


def test_a_run_directory_has_one_writer_who_stops_when_it_is_moved(run_command, tmp_path):
    first = start(tmp_path, *HOURS)
    first.stdout.readline()  # in its first segments now
    code, _, err = run_command(tmp_path, *HOURS)
    assert (code, len(err)) == (3, 1)
    assert f"in use by process {first.pid}" in err[0]
    (directory,) = (tmp_path / "digits").iterdir()
    directory.rename(tmp_path / "moved")
    code, _, err = finish(first)
    assert (code, len(err)) == (3, 1)
    assert "was moved or removed" in err[0]


@pytest.mark.slow
def test_a_closed_pipe_interrupts_the_run(tmp_path):
    process = start(tmp_path, *HOURS)
    process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read().splitlines()
    process.stderr.close()
    assert (process.wait(timeout=60), len(err)) == (75, 1), err
