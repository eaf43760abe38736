"""What would run: members, programs, parameters, memory, time, and what is already done."""

from __future__ import annotations

import time
from pathlib import Path

import jax
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from lstm_jax.experiment import Experiment
from lstm_jax.data.load import Dataset
from lstm_jax.train.memory import needed, refuse_what_does_not_fit
from lstm_jax.runs.record import read_record, run_directory
from lstm_jax.runs.runner import load_data
from lstm_jax.runs.screen import say
from lstm_jax.search import first_round, member_steps
from lstm_jax.train.sweep import Placement, build, place_here

MEASURED_STEPS = 20


def plan(
    name: str,
    experiment: Experiment,
    console: Console,
    *,
    runs_dir: Path,
    fallback: str | None = None,
    measure: bool = False,
) -> None:
    """Prints a row for each compiled program. Loads (or prepares) the data; trains nothing.

    Refuses what `run` would refuse.
    """
    name, experiment, dataset = load_data(name, experiment, fallback, console)
    directory = run_directory(runs_dir, name, experiment)
    record = read_record(directory) or {"members": {}, "rungs": {}}
    done = set(record["members"])  # or dropped by a halving
    steps_done = experiment.num_steps * len(done)
    for step, rung in record["rungs"].items():
        dropped = {digest for digest, row in rung.items() if row.get("dropped")}
        done |= dropped
        steps_done += int(step) * len(dropped)
    members = first_round(experiment).members
    devices, platform = jax.devices(), jax.default_backend()

    table = Table("members", "hidden size", "devices", "parameters", "memory", "done", box=SIMPLE)
    if measure:
        table.add_column("examples/s")
    seconds = 0.0  # of one step of all members in the table
    for placement in place_here(experiment, members):
        need = needed(experiment, placement, dataset, platform)
        refuse_what_does_not_fit(need, len(placement.members), platform)
        row = [
            str(len(placement.members)),
            str(placement.hidden_size),
            f"{placement.member_devices} x {placement.chunk_devices}",
            f"{need.parameters:,} each",
            f"{max(need.device, need.host) / 2**20:,.0f} MiB",
            str(sum(experiment.solo(member).digest in done for member in placement.members)),
        ]
        if measure:
            rate = examples_per_second(experiment, placement, dataset)
            seconds += len(placement.members) * experiment.batch_size / rate
            row.append(f"{rate:,.0f}")
        table.add_row(*row)
    console.print(table, highlight=False)

    total = experiment.num_settings * len(experiment.axis("seed"))
    lines = [
        f"{total} members, {total - len(done)} to train, {experiment.num_steps} "
        f"steps of {experiment.batch_size} examples each on {dataset.name}"
    ]
    for step, kept in experiment.rungs():
        lines.append(f"rung at step {step}: the best {kept} settings go on")
    if total > len(members):
        lines.append(
            f"the table is of the first {experiment.trials_at_once} of {experiment.trials} trials; "
            "the next are chosen by their accuracies"
        )
    if measure:
        steps = (member_steps(experiment) - steps_done) / len(members)
        lines.append(f"about {seconds * steps / 60:.1f} minutes of training, compiling apart")
    lines.append(f"{len(devices)} x {devices[0].device_kind}; run directory {directory}")
    for line in lines:
        say(console, line)


def examples_per_second(experiment: Experiment, placement: Placement, dataset: Dataset) -> float:
    """Over all members of a placement, from a few steps after as many to warm up."""
    programs = build(experiment, placement, dataset, MEASURED_STEPS)
    state = programs.init()
    for start in (0, MEASURED_STEPS):
        began = time.perf_counter()
        state, _ = jax.block_until_ready(programs.segment(state, start, start + MEASURED_STEPS))
    seconds = time.perf_counter() - began
    return len(placement.members) * MEASURED_STEPS * experiment.batch_size / seconds
