"""Says what would run: members, programs, parameters, memory, time, and what is done already."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import jax
from rich.console import Console

from lstm_jax.config.labels import field_label, format_value
from lstm_jax.config.search import Study
from lstm_jax.data.dataset import Dataset
from lstm_jax.runs import checkpoints
from lstm_jax.runs.begin_with import find_origins, resolve_begin_with
from lstm_jax.runs.datasets import check_members, load_data
from lstm_jax.runs.directory import run_directory
from lstm_jax.runs.progress import say, text_table
from lstm_jax.runs.record import Record, read_record
from lstm_jax.runs.train_group import TrainGroup
from lstm_jax.train.memory_estimate import estimate_memory, refuse_what_does_not_fit
from lstm_jax.train.placement import Datasets, Placement, place_on_devices

MEASURED_STEPS = 20


def plan(
    name: str,
    study: Study,
    console: Console,
    *,
    runs_dir: Path,
    fallback: bool = False,
    measure: bool = False,
) -> None:
    """Prints a row for each compiled program, and what is left to train.

    Loads (or prepares) the data and trains nothing, but for a few steps of each program with
    `measure`, which it throws away. Refuses what `run` would refuse.
    """
    study = resolve_begin_with(study, runs_dir)
    name, study, datasets = load_data(name, study, fallback, console)
    check_members(study, datasets, partial(say, console))
    find_origins(study.members(), runs_dir, datasets, partial(say, console))
    directory = run_directory(runs_dir, name, study)
    record = read_record(directory, study.experiment) or Record(name, study)
    done = {*record.results, *(result.member.digest for result in record.dropped)}
    saved = checkpoints.saved_members(directory)
    started = {digest: step for digest, step in saved.items() if digest not in done}
    members, platform = study.members(), jax.default_backend()

    placements = place_on_devices(members)
    varied = [
        path
        for path in study.experiment.axes
        if len({placement.static_key.values.get(path) for placement in placements}) > 1
    ]
    columns = [*map(field_label, varied), "devices", "parameters", "memory", "done"]
    rows = []
    seconds = 0.0
    for placement in placements:
        dataset = datasets[placement.data_key]
        estimate = estimate_memory(placement, dataset, platform)
        refuse_what_does_not_fit(estimate, len(placement.members), platform)
        row = [
            str(len(placement.members)),
            *(format_value(placement.static_key.values.get(path)) for path in varied),
            f"{placement.member_devices} x {placement.batch_devices}",
            f"{estimate.parameters:,} each",
            f"{max(estimate.device, estimate.host) / 2**20:,.0f} MiB",
            str(sum(member.digest in done for member in placement.members)),
        ]
        if measure:
            rate = examples_per_second(placement, dataset)
            left = [m for m in placement.members if m.digest not in done]
            steps_left = sum(m.num_steps - started.get(m.digest, 0) for m in left)
            seconds += steps_left * placement.static_key.batch_size / rate
            row.append(f"{rate:,.0f}")
        rows.append(row)
    header = ["members", *columns, *(["examples/s"] if measure else [])]
    console.print(text_table(header, rows), highlight=False)
    for line in describe_work(record, datasets, len(members), len(done), started):
        say(console, line)
    if measure:
        minutes = seconds * study.work_share() * record.num_members / len(members) / 60
        say(console, f"about {minutes:.1f} minutes of training, without compilation")
    devices = jax.devices()
    say(console, f"{len(devices)} x {devices[0].device_kind}; run directory {directory}")


def describe_work(
    record: Record, datasets: Datasets, num_known: int, num_done: int, started: dict[str, int]
) -> list[str]:
    """Returns lines on members, steps and rungs; `started` holds the step of each saved member."""
    study, total = record.study, record.num_members
    experiment = study.experiment
    steps = " or ".join(f"{n}" for n in sorted({m.num_steps for m in study.members()}))
    sizes = " or ".join(map(str, experiment.values_of("batch_size")))
    lines = [
        f"{total} {'member' if total == 1 else 'members'}, {total - num_done} to train, "
        f"{steps} steps of {sizes} examples each on "
        f"{' or '.join(dict.fromkeys(dataset.name for dataset in datasets.values()))}"
    ]
    if started:
        first, last = min(started.values()), max(started.values())
        step = f"step {first}" if first == last else f"steps {first} to {last}"
        lines.append(f"{len(started)} of them go on from {step}, where they were saved")
    search = study.search
    of_batch = f" of {study.batch_sizes[0]}" if search.in_batches else ""
    lines += [
        f"rung at step {step}: the best {kept} settings{of_batch} go on"
        for step, kept in study.rungs()
    ]
    if search.search_minutes is not None:
        lines.append(
            f"no settings are begun after {search.search_minutes:g} minutes on the clock, "
            f"{record.session_seconds / 60:.1f} of which are over"
        )
    if total > num_known:
        lines.append(
            f"the table is of the first {search.trials_at_once} of {search.trials} "
            f"trials; the next are chosen by their {experiment.task.metric}"
        )
    return lines


def examples_per_second(placement: Placement, dataset: Dataset) -> float:
    """Returns the training rate over all members, after as many steps to warm up."""
    group = TrainGroup(placement, dataset, MEASURED_STEPS, evaluate=False)
    _, segment = group.segments(2 * MEASURED_STEPS)
    examples = len(placement.members) * MEASURED_STEPS * placement.static_key.batch_size
    return examples / segment.seconds
