"""Starts several processes on this machine that train one run together, and ends them together."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from lstm_jax.config.shards import COORDINATOR, COUNT, INDEX, PARENT, SECRET
from lstm_jax.data.dataset import say_nothing
from lstm_jax.errors import EnvironmentProblem, Interrupted, NothingToSave, UserError
from lstm_jax.runs.provenance import cores
from lstm_jax.signals import NOTHING_TO_SAVE, SAVED, stop_on_signal

GRACE_SECONDS = 30.0  # for the other processes, once one has ended
ERROR_PREFIX = "lstm_jax: "  # of the line in which a process says why it ends
MAX_LINES = 30  # shown of a process that ended without such a line
DIVERGED = 4
ERRORS = {2: UserError, SAVED: Interrupted, NOTHING_TO_SAVE: NothingToSave}


def launch(count: int, argv: Sequence[str]) -> None:
    """Runs the command in `count` processes and waits for all of them. Leaves none behind.

    Raises Interrupted if a signal stopped them and they have saved. Raises the error of the first
    process that failed; if that process did not say why, prints the last lines it wrote.
    """
    with socket.socket() as probe:  # finds a free port: a port in use would crash the processes
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    secret = secrets.token_hex(32)
    with ExitStack() as stack:
        errors = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(count)]
        processes: list[subprocess.Popen[bytes]] = []

        @stack.callback
        def end_all() -> None:
            for process in processes:
                process.kill()
                process.wait()

        for index in range(count):
            defaults = {"JAX_NUM_CPU_DEVICES": str(max(1, cores() // count))}
            fixed = {COORDINATOR: address, COUNT: str(count), INDEX: str(index)}
            fixed |= {PARENT: str(os.getpid()), SECRET: secret}
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "lstm_jax", *argv, "--join"],
                    env=defaults | dict(os.environ) | fixed,
                    stdin=subprocess.DEVNULL,
                    stdout=None if index == 0 else subprocess.DEVNULL,
                    stderr=errors[index],
                    start_new_session=True,  # Ctrl-C reaches it once, through this process
                )
            )
        with stop_on_signal(say_nothing) as stopped:
            failed = _wait(processes, stopped)
        if failed is None or (code := processes[failed].returncode) == DIVERGED:
            return
        errors[failed].seek(0)
        lines = errors[failed].read().decode(errors="replace").splitlines()
        messages = [line for line in lines if line.startswith(ERROR_PREFIX)]
        if messages:
            message = messages[-1].removeprefix(ERROR_PREFIX)
        else:
            print(*lines[-MAX_LINES:], sep="\n", file=sys.stderr)
            message = (
                f"process {failed + 1} of {count} ended with code {code}, so the others were "
                "ended; the same command goes on from what was saved"
            )
        raise ERRORS.get(code, EnvironmentProblem)(message)


def _wait(processes: list[subprocess.Popen[bytes]], stopped: Callable[[], bool]) -> int | None:
    """Waits for all processes and forwards a signal to them.

    Returns the index of the first one that failed, or None.
    """
    failed, deadline, forwarded = None, float("inf"), False
    while None in (codes := [process.poll() for process in processes]):
        bad = [index for index, code in enumerate(codes) if code]
        if bad and failed is None:
            failed, deadline = bad[0], time.monotonic() + GRACE_SECONDS
        if time.monotonic() > deadline or any(codes[i] not in (SAVED, DIVERGED) for i in bad):
            return failed  # the others would wait for it for minutes
        if stopped() and not forwarded:
            forwarded = True
            for process in processes:
                process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
    return next((index for index, code in enumerate(codes) if code), None)
