"""Estimates the memory that a placement needs, from shapes alone, and finds how much is free."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.cells import get_cell
from lstm_jax.data.dataset import Arrays, Dataset
from lstm_jax.errors import EnvironmentProblem
from lstm_jax.model.init import output_width
from lstm_jax.tasks.task import Inputs
from lstm_jax.train.placement import Placement, model_spec_of
from lstm_jax.train.step import init_state


class MemoryEstimate(NamedTuple):
    """The memory of a placement in training."""

    parameters: int  # number of parameters of one member
    state: int  # bytes of one member's state: parameters and the optimiser's moments
    device: int  # bytes on the fullest device
    host: int  # bytes of host memory; on CPU with those of the devices, which are the same memory


def estimate_memory(placement: Placement, dataset: Dataset, platform: str) -> MemoryEstimate:
    """Returns an estimate; a test compares it with what XLA says of the compiled program.

    A segment holds its members' states twice, in and out; so does the host when it saves them.
    """
    member = placement.members[0]
    spec, cell, hidden = model_spec_of(member, dataset), get_cell(member.cell), member.hidden_size

    def inputs_of_microbatch(examples: Arrays) -> Inputs:
        index_b = jnp.arange(member.batch_size // member.microbatches, dtype=jnp.int32)
        return member.task.inputs(member.task.gather(examples, index_b))

    train_state = jax.eval_shape(partial(init_state, spec), member)
    state, order = num_bytes(train_state), 4 * dataset.num_examples
    inputs = jax.eval_shape(inputs_of_microbatch, dataset.train)
    time_steps, size = inputs.x_TBI.shape[:2]
    features = hidden if spec.token_inputs else spec.num_features
    directions, between = 1 + member.bidirectional, output_width(member)
    blocks, read = len(cell.blocks) * hidden, cell.num_read * hidden
    fused = working = 0
    for index in range(member.layers):
        width = (between if index else features) + 1 + read
        fused += 4 * directions * width * blocks
        # For its backward pass a layer keeps [x, 1, r], residuals of its blocks, and its states.
        kept = width + blocks + (1 + len(cell.state)) * hidden
        working += 4 * directions * time_steps * size * kept
    if spec.decoder is not None:
        written = 0 if inputs.decoder_inputs_SB is None else len(inputs.decoder_inputs_SB)
        fused += 4 * (spec.decoder.num_symbols + 3 * between + hidden) * hidden
        fused += 4 * member.layers * (hidden + 1 + read) * blocks
        kept = hidden + 1 + read + blocks + (1 + len(cell.state)) * hidden
        # The head and its softmax, and attention over the encoder's outputs.
        attention = 3 * (spec.num_outputs + time_steps + between + hidden)
        working += 4 * written * size * (member.layers * kept + attention)
    if spec.token_inputs:
        fused += 4 * spec.num_features * hidden
    working += (member.microbatches + 3) * fused
    members = len(placement.rows) // placement.member_devices
    data = sum(num_bytes(split) for split in (dataset.train, dataset.validation, dataset.test))
    device = data + 2 * members * (state + order) + placement.tile * working
    host = data + 2 * len(placement.rows) * state
    if platform == "cpu":
        host += device * placement.member_devices * placement.batch_devices
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(train_state.params))
    return MemoryEstimate(parameters, state, device, host)


def num_bytes(arrays: Any) -> int:
    """Returns the bytes of all arrays of a tree."""
    return sum(math.prod(a.shape) * a.dtype.itemsize for a in jax.tree.leaves(arrays))


def refuse_what_does_not_fit(estimate: MemoryEstimate, members: int, platform: str) -> None:
    """Raises EnvironmentProblem, with the figures, where the estimate is more than is free."""
    free_memory = {"host": free_host_memory()}
    if platform != "cpu":
        free_memory["device"] = free_device_memory()
    for name, free in free_memory.items():
        wanted = getattr(estimate, name)
        if free is not None and wanted > free:
            raise EnvironmentProblem(
                f"{members} members need about {wanted / 2**30:.1f} GiB of {name} memory and "
                f"{free / 2**30:.1f} GiB are free; train fewer members or smaller ones at a time"
            )


def free_host_memory() -> int | None:
    """Returns the bytes that a process can take within its control group; None: not known."""
    free = []
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free.append(1024 * int(line.split()[1]))
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            used = int((group / "memory.current").read_text()) - int(stat["inactive_file"])
            free.append(int(limit) - used)
    except (OSError, ValueError):
        pass
    return min(free, default=None)


def free_device_memory() -> int | None:
    """Returns the bytes that are free on the fullest device; None where its driver does not say."""
    stats = [device.memory_stats() or {} for device in jax.devices()]
    free = [s["bytes_limit"] - s["bytes_in_use"] for s in stats if "bytes_limit" in s]
    return min(free, default=None)
