"""A suspended or crowded machine ends no run, and the bits are the same.

By default XLA's CPU runtime ends a process with a stack trace where a device waits for a minute.
"""

import os
import signal
import time
from pathlib import Path

import pytest
from test_faults import command, finish, finished, start

ALONE = (
    *("--hidden-size", "16", "--microbatches", "2", "--total-examples", "256000"),
    *("--checkpoint-every", "100", "--no-report"),
)
SECONDS = 90
# The second device comes to a sum of both about 70 seconds after the first one.
LATE = """
import sys, time
from lstm_jax.runs.devices import prepare_jax
prepare_jax("cpu")
import jax, jax.numpy as jnp, numpy as np
mesh = jax.make_mesh((2,), ("devices",))
spec = jax.sharding.PartitionSpec("devices")

def wait(_):
    time.sleep(70)
    return np.float32(0)

def total(x):
    late = jax.lax.axis_index("devices") == 1
    shape = jax.ShapeDtypeStruct((), jnp.float32)
    zero = jax.lax.cond(late, lambda: jax.pure_callback(wait, shape, 0), lambda: jnp.float32(0))
    return jax.lax.psum(x + zero, "devices")

x = jax.device_put(jnp.arange(2.0), jax.NamedSharding(mesh, spec))
run = jax.jit(jax.shard_map(total, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False))
print("sum", np.asarray(run(x))[0])
"""


def processes_of(process):
    """Returns the ids of a process and its children."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [process.pid, *map(int, children)]


@pytest.mark.parametrize("many", [(), ("--processes", "2")], ids=["one process", "two processes"])
def test_a_suspended_run_goes_on_to_the_same_bits(tmp_path, tally, many):
    devices = {"JAX_NUM_CPU_DEVICES": "1" if many else "2"}
    whole, suspended = tmp_path / "whole", tmp_path / "suspended"
    assert finish(start(command(whole, *ALONE), JAX_NUM_CPU_DEVICES="2"))[0] == 0
    process = start(command(suspended, *ALONE, *many), **devices)
    while not list(suspended.glob("*/*/checkpoints/*/*.json")):
        assert process.poll() is None
        time.sleep(0.05)
    ids = processes_of(process)
    for number, seconds in ((signal.SIGSTOP, SECONDS), (signal.SIGCONT, 0)):
        for pid in ids:
            os.kill(pid, number)
        time.sleep(seconds)
    code, lines = finish(process)
    survived = code == 0 and finished(suspended) == finished(whole)
    tally(f"suspended for {SECONDS} s: {' '.join(many) or 'one process'}", 1, int(survived))
    assert survived, (code, lines[-5:])
    assert not any("may be stuck" in line for line in lines)


def test_a_device_may_be_a_minute_late(tally):
    code, lines = finish(start((), "-c", LATE, JAX_NUM_CPU_DEVICES="2"))
    survived = code == 0 and lines[-1].startswith("sum 1")
    tally("a device that is 70 s late", 1, int(survived))
    assert survived, lines[-3:]
