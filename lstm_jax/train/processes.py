"""Several processes that train one run together: what they share, and arrays that span them.

Every process runs the same lines in the same order, as JAX requires. The main process, which is the
first one, alone reads and writes the run directory. In a run of one process each function here
returns at once.
"""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable
from threading import Thread
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from lstm_jax.config.shards import COORDINATOR, COUNT, INDEX, PARENT
from lstm_jax.signals import SAVED, exit_now

Value = TypeVar("Value")


def join() -> None:
    """Connects this process to the others, before JAX uses any device.

    The process ends when its launcher ends. Raises the errors of `jax.distributed.initialize`.
    """

    def end_with(parent: int) -> None:
        while os.getppid() == parent:
            time.sleep(1)
        exit_now(SAVED, "the process that started this one is gone; the same command goes on")

    if PARENT in os.environ:
        Thread(target=end_with, args=(int(os.environ[PARENT]),), daemon=True).start()
    jax.config.update("jax_enable_preemption_service", False)  # it would keep SIGTERM to itself
    jax.distributed.initialize(
        os.environ.get(COORDINATOR),
        int(os.environ[COUNT]) if COUNT in os.environ else None,
        int(os.environ[INDEX]) if INDEX in os.environ else None,
        initialization_timeout=60,
        heartbeat_timeout_seconds=20,
        shutdown_timeout_seconds=30,
    )


def is_main_process() -> bool:
    """Returns whether this process reads and writes the run directory."""
    return jax.process_index() == 0


def broadcast_from_main(compute: Callable[[], Value]) -> Value:
    """Calls `compute` in the main process and returns its value in every process."""
    if jax.process_count() == 1:
        return compute()
    content = pickle.dumps(compute() if is_main_process() else None)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
    # A power of two: each length compiles a program of its own, so there should be few.
    padded = np.zeros(1 << max(10, (size - 1).bit_length()), np.uint8)
    if is_main_process():
        padded[:size] = np.frombuffer(content, np.uint8)
    value: Value = pickle.loads(multihost_utils.broadcast_one_to_all(padded)[:size].tobytes())
    return value


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
