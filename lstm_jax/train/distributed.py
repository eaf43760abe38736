"""Several processes, one program: who leads, what all of them know, arrays that lie over them.

Every process runs the same lines in the same order, as JAX asks for. The first one leads: it alone
reads and writes the run directory. In a run of one process each function here returns at once.
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
    """Joins the other processes, before any device is asked for. Raises what JAX raises."""
    if PARENT in os.environ:
        Thread(target=_end_with, args=(int(os.environ[PARENT]),), daemon=True).start()
    jax.config.update("jax_enable_preemption_service", False)  # it would keep SIGTERM to itself
    jax.distributed.initialize(
        os.environ.get(COORDINATOR),
        _number(COUNT),
        _number(INDEX),
        initialization_timeout=60,
        heartbeat_timeout_seconds=20,
        shutdown_timeout_seconds=30,
    )


def _number(name: str) -> int | None:
    return int(os.environ[name]) if name in os.environ else None


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    exit_now(SAVED, "the process that began this one is gone; the same command goes on")


def is_main_process() -> bool:
    """Returns whether this process reads and writes the run directory."""
    return jax.process_index() == 0


def broadcast_from_main(compute: Callable[[], Value]) -> Value:
    """Returns what the first process computes, in every process."""
    if jax.process_count() == 1:
        return compute()
    content = pickle.dumps(compute() if is_main_process() else None)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
    room = 1 << max(10, (size - 1).bit_length())  # few lengths: each is a program of its own
    padded = np.zeros(room, np.uint8)
    if is_main_process():
        padded[:size] = np.frombuffer(content, np.uint8)
    shared: Value = pickle.loads(multihost_utils.broadcast_one_to_all(padded)[:size].tobytes())
    return shared


def all_reduce_max(value: int) -> int:
    """Returns the highest of all processes' values."""
    if jax.process_count() == 1:
        return value
    return int(np.max(multihost_utils.process_allgather(np.int32(value))))


def fetch(tree: Any) -> Any:
    """Returns a tree's arrays on the host, whole, also where they lie over several processes."""
    return jax.tree.map(_whole, tree)


def _whole(array: Any) -> np.ndarray:
    if getattr(array, "is_fully_addressable", True):
        return np.asarray(array)
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))
