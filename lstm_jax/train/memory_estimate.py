"""Estimates the memory that a placement needs, from shapes alone, and finds how much is free."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.config.experiment import Experiment
from lstm_jax.data.dataset import Arrays, Dataset
from lstm_jax.errors import EnvironmentProblem
from lstm_jax.model.dropout import draws_masks
from lstm_jax.model.forward import apply_model
from lstm_jax.model.fused_params import fuse_kernels
from lstm_jax.model.layer import Params
from lstm_jax.tasks.task import ModelSpec
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
    spec = model_spec_of(member, dataset)
    train_state = jax.eval_shape(partial(init_state, spec), member)
    state, order = num_bytes(train_state), 4 * dataset.num_examples
    fused, kept = _bytes_of_gradient(member, spec, train_state.params, dataset)
    working = kept + (member.microbatches + 3) * fused
    members = len(placement.rows) // placement.member_devices
    data = sum(num_bytes(split) for split in (dataset.train, dataset.validation, dataset.test))
    device = data + 2 * members * (state + order) + placement.tile * working
    host = data + 2 * len(placement.rows) * state
    if platform == "cpu":
        host += device * placement.member_devices * placement.batch_devices
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(train_state.params))
    return MemoryEstimate(parameters, state, device, host)


def _bytes_of_gradient(
    member: Experiment, spec: ModelSpec, params: Params, dataset: Dataset
) -> tuple[int, int]:
    """Returns the bytes of the fused kernels, and of all that a microbatch keeps for its backward
    pass, as JAX says.
    """
    member = member.replace_unchecked({"backend": "scan"})  # cudnn needs a GPU to be traced

    def kept(params: Params, examples: Arrays) -> Any:
        index_b = jnp.arange(member.batch_size // member.microbatches, dtype=jnp.int32)
        inputs = member.task.inputs(member.task.gather(examples, index_b))
        fused = fuse_kernels(member, params)
        key = jax.random.key(0) if draws_masks(member) else None
        _, backward = jax.vjp(lambda f: apply_model(member, spec, f, inputs, key), fused)
        return fused, backward

    fused, backward = jax.eval_shape(kept, params, dataset.train)
    return num_bytes(fused), num_bytes(backward)


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
