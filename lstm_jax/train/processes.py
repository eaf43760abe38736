"""Several processes that train one run together: what they share, and arrays that span them.

Every process runs the same lines in the same order, as JAX requires. The main process, which is the
first one, alone reads and writes the run directory. In a run of one process each function here
returns at once.
"""

from __future__ import annotations

import hmac
import os
import time
from collections.abc import Callable
from threading import Thread
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from lstm_jax.config.shards import COORDINATOR, COUNT, INDEX, PARENT, SECRET, launch_secret
from lstm_jax.errors import EnvironmentProblem
from lstm_jax.signals import SAVED, exit_now

A_DAY = 86400
LOOPBACK = ("127.", "localhost:", "[::1]:")  # addresses that no other machine can reach


def join() -> None:
    """Connects this process to the others, before JAX uses any device.

    At a loopback address, JAX's coordinator listens there alone; by default it would listen on all
    interfaces. The process ends when its launcher ends. Raises the errors of
    `jax.distributed.initialize`.
    """

    def end_with(parent: int) -> None:
        while os.getppid() == parent:
            time.sleep(1)
        exit_now(SAVED, "the process that started this one is gone; the same command goes on")

    if PARENT in os.environ:
        Thread(target=end_with, args=(int(os.environ[PARENT]),), daemon=True).start()
    jax.config.update("jax_enable_preemption_service", False)  # it would keep SIGTERM to itself
    address = os.environ.get(COORDINATOR)
    jax.distributed.initialize(
        address,
        int(os.environ[COUNT]) if COUNT in os.environ else None,
        int(os.environ[INDEX]) if INDEX in os.environ else None,
        initialization_timeout=60,
        # A launcher sees by itself which process has ended, and all may have been suspended.
        heartbeat_timeout_seconds=A_DAY if PARENT in os.environ else 20,
        shutdown_timeout_seconds=30,
        coordinator_bind_address=address if (address or "").startswith(LOOPBACK) else None,
    )


def check_secret() -> None:
    """Compares the secret of the launch, before anything that another process sends is believed.

    Raises EnvironmentProblem where a process does not know it.
    """
    count = jax.process_count()
    if count == 1:
        return
    expected = proofs(count)
    sent = np.frombuffer(expected[jax.process_index()], np.uint8)
    for index, received in enumerate(multihost_utils.process_allgather(sent)):
        if not hmac.compare_digest(received.tobytes(), expected[index]):
            raise EnvironmentProblem(
                f"process {index + 1} of {count} does not know the secret of this launch "
                f"({SECRET}): a stranger has joined, or two launches share an address; nothing "
                "was trained"
            )


def proofs(count: int) -> list[bytes]:
    """Returns what each of `count` processes sends as a proof that it knows the secret.

    It is an HMAC of the index of the process: from one proof nobody can make another one.
    """
    secret = launch_secret(os.environ).encode()
    return [hmac.digest(secret, f"process {i} of {count}".encode(), "sha256") for i in range(count)]


def is_main_process() -> bool:
    """Returns whether this process reads and writes the run directory."""
    return jax.process_index() == 0


def broadcast_bytes(compute: Callable[[], bytes]) -> bytes:
    """Calls `compute` in the main process and returns its bytes in every process.

    Raises EnvironmentProblem where a length is received that no message has.
    """
    content = compute() if is_main_process() else b""
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
    if size < 0 or (is_main_process() and size != len(content)):
        raise EnvironmentProblem("another process disturbs the messages of the first one")
    # A power of two: each length compiles a program of its own, so there should be few.
    padded = np.zeros(1 << max(10, (size - 1).bit_length()), np.uint8)
    if is_main_process():
        padded[:size] = np.frombuffer(content, np.uint8)
    received = multihost_utils.broadcast_one_to_all(padded)[:size].tobytes()
    return content if is_main_process() else received


def all_reduce_max(value: int) -> int:
    """Returns the largest value of all processes."""
    if jax.process_count() == 1:
        return value
    return int(np.max(multihost_utils.process_allgather(np.int32(value))))


def to_host(tree: Any) -> Any:
    """Returns the tree with NumPy arrays, complete even where an array spans several processes."""

    def leaf_to_host(array: Any) -> np.ndarray:
        if getattr(array, "is_fully_addressable", True):
            return np.asarray(array)
        return np.asarray(multihost_utils.process_allgather(array, tiled=True))

    return jax.tree.map(leaf_to_host, tree)
