"""Several processes on this machine that are one program: begun together, ended together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO

from lstm_jax.config.shards import COORDINATOR, COUNT, INDEX, PARENT
from lstm_jax.data.dataset import say_nothing
from lstm_jax.errors import EnvironmentProblem, Interrupted, NothingToSave, UserError
from lstm_jax.runs.provenance import cores
from lstm_jax.signals import NOTHING_TO_SAVE, SAVED, stop_on_signal

GRACE = 30.0  # seconds that the others have once one has stopped
SAID = "lstm_jax: "  # how the line begins in which a process says why it ends
MOST_LINES = 30  # of a process that named no error
DIVERGED = 4
ERRORS = {2: UserError, SAVED: Interrupted, NOTHING_TO_SAVE: NothingToSave}

Processes = list[subprocess.Popen[bytes]]


def launch(count: int, argv: Sequence[str]) -> None:
    """Runs the command in so many processes and waits for them; none is left behind.

    Raises Interrupted when they were stopped and have saved. Otherwise raises the error that one
    of the processes that failed has named; where none is named, what it wrote last is shown.
    """
    with socket.socket() as probe:  # a port that is taken would crash them
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with ExitStack() as stack:
        errors = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(count)]
        processes = stack.enter_context(_ended())
        for index in range(count):
            processes.append(_start(index, count, address, argv, errors[index]))
        with stop_on_signal(say_nothing) as stopped:
            failed = _wait(processes, stopped)
        if failed is not None and (code := processes[failed].returncode) != DIVERGED:
            lines = _lines(errors[failed])
            named = [line.removeprefix(SAID) for line in lines if line.startswith(SAID)]
            if not named:
                print(*lines[-MOST_LINES:], sep="\n", file=sys.stderr)
                named = [
                    f"process {failed + 1} of {count} ended with code {code}, so the others were "
                    "ended; the same command goes on from what was saved"
                ]
            raise ERRORS.get(code, EnvironmentProblem)(named[-1])


def _start(
    index: int, count: int, address: str, argv: Sequence[str], errors: IO[bytes]
) -> subprocess.Popen[bytes]:
    own = {COORDINATOR: address, COUNT: str(count), INDEX: str(index), PARENT: str(os.getpid())}
    shared = {"JAX_NUM_CPU_DEVICES": str(max(1, cores() // count))}
    return subprocess.Popen(
        [sys.executable, "-m", "lstm_jax", *argv, "--join"],
        env=shared | dict(os.environ) | own,
        stdin=subprocess.DEVNULL,
        stdout=None if index == 0 else subprocess.DEVNULL,
        stderr=errors,
        start_new_session=True,  # Ctrl-C reaches them once, through this process
    )


@contextmanager
def _ended() -> Iterator[Processes]:
    """Yields a list of processes, of which none is left: what they have written is whole."""
    processes: Processes = []
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _wait(processes: Processes, stopped: Callable[[], bool]) -> int | None:
    """Waits for all, and hands a signal on. Returns the first one that did not end well."""
    failed, deadline, told = None, float("inf"), False
    while None in (codes := [process.poll() for process in processes]):
        bad = [index for index, code in enumerate(codes) if code]
        if bad and failed is None:
            failed, deadline = bad[0], time.monotonic() + GRACE
        if time.monotonic() > deadline or any(codes[i] not in (SAVED, DIVERGED) for i in bad):
            return failed  # the others would wait for it for minutes
        if stopped() and not told:
            told = True
            for process in processes:
                process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
    return next((index for index, code in enumerate(codes) if code), None)


def _lines(errors: IO[bytes]) -> list[str]:
    """Returns what a process wrote, line by line."""
    errors.seek(0)
    return errors.read().decode(errors="replace").splitlines()
