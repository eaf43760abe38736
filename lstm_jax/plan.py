"""What would run: members, programs, parameters, memory, and what is already done."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

from lstm_jax.config import Experiment
from lstm_jax.data import Dataset
from lstm_jax.record import read_record, run_directory
from lstm_jax.runner import load_data
from lstm_jax.screen import say
from lstm_jax.sweep import Placement, build_model, place
from lstm_jax.train import init_state


def plan(
    name: str, experiment: Experiment, runs_dir: Path, fallback: str | None, console: Console
) -> None:
    """Prints a row for each compiled program. Loads (or prepares) the data; trains nothing."""
    name, experiment, dataset = load_data(name, experiment, fallback, console)
    directory = run_directory(runs_dir, name, experiment)
    record = read_record(directory) or {"members": {}}
    finished = record["members"]
    todo = [m for m in experiment.members() if experiment.solo(m).digest not in finished]

    devices = jax.devices()
    table = Table("members", "hidden size", "devices", "parameters a member", "state", "done")
    for placement in place(experiment.members(), len(devices), experiment.chunks):
        count, size = state_size(experiment, placement, dataset)
        done = sum(member not in todo for member in placement.members)
        table.add_row(
            str(len(placement.members)),
            str(placement.hidden_size),
            f"{placement.member_devices} x {placement.chunk_devices}",
            f"{count:,}",
            f"{size / 2**20:.1f} MiB",
            f"{done}",
        )
    console.print(table)
    data_bytes = dataset.train.images.nbytes
    for line in (
        f"{len(experiment.members())} members, {len(todo)} to train, {experiment.num_steps} steps "
        f"of {experiment.batch_size} examples each on {dataset.name}",
        f"{len(devices)} x {devices[0].device_kind}, {data_bytes / 2**20:.0f} MiB of data on each",
        f"run directory {directory}",
    ):
        say(console, line)


def state_size(experiment: Experiment, placement: Placement, dataset: Dataset) -> tuple[int, int]:
    """Parameters of one member, and bytes of the training state of all members of a placement."""
    model = build_model(experiment, placement.hidden_size, dataset)
    state = jax.eval_shape(partial(init_state, model), jnp.uint32(0))
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state.params))
    size = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    return count, size * len(placement.members)
