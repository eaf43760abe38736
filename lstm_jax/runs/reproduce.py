"""Trains a run again from its record alone and compares. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from lstm_jax.config.experiment import Experiment
from lstm_jax.data.dataset import Dataset
from lstm_jax.errors import NotReproduced, UserError
from lstm_jax.runs import provenance
from lstm_jax.runs.begin_with import begin_states
from lstm_jax.runs.checkpoints import Saved
from lstm_jax.runs.evaluation import parameter_digests
from lstm_jax.runs.metrics_file import read_metrics
from lstm_jax.runs.progress import say
from lstm_jax.runs.record import Record, digest_with_prefix
from lstm_jax.runs.results import Result
from lstm_jax.runs.session import changed_sources, member_identity
from lstm_jax.runs.train_group import TrainGroup
from lstm_jax.runs.trust import read_trusted
from lstm_jax.train.placement import Datasets, Placement, place_on_devices, refuse_absent_backend

SEGMENT_STEPS = 100  # between two comparisons; the bits do not depend on it

Rows = dict[tuple[str, int], dict[str, Any]]  # metrics by member and step


def reproduce(
    directory: Path,
    console: Console,
    *,
    member: str | None = None,
    steps: int | None = None,
    trust_code: bool = False,
) -> None:
    """Trains a run again and says that all bits are the same.

    Compares every row of metrics that is on record, and the SHA-256 of the parameters of each
    member that was trained to its end. With `steps` it compares the first steps alone.

    Raises NotReproduced with the first difference. `trust_code` is as in `runs/trust.py`.
    """
    record = read_trusted(directory, trust_code, partial(say, console))
    experiment = record.study.experiment
    refuse_absent_backend(experiment)
    rows = {(row["member"], row["step"]): row for row in read_metrics(directory)}
    recorded = recorded_steps(record, rows)
    if member is not None:
        recorded = {digest: recorded[digest] for digest in [digest_with_prefix(member, recorded)]}
    log = partial(say, console)
    datasets = {key: task.load(log) for key, task in experiment.data_tasks().items()}
    members = [each for each, _ in recorded.values()]
    for line in changed_identities(record, members, datasets):
        log(line)
    stops = {each: min(steps or stop, stop) for each, stop in recorded.values()}
    num_rows = 0
    for stop in sorted(set(stops.values())):
        for placement in place_on_devices(each for each in stops if stops[each] == stop):
            dataset = datasets[placement.data_key]
            digests = [each.digest for each in placement.members]
            begun = begin_states(record, directory.resolve().parent.parent, digests, log)
            num_rows += compare(placement, dataset, stop, rows, record.results, begun)
    num_final = sum(
        digest in record.results and stops[each] == each.num_steps
        for digest, (each, _) in recorded.items()
    )
    if not num_rows and not num_final:
        raise NotReproduced(f"nothing to compare: {directory} has no metrics of these steps")
    count = "1 member" if len(recorded) == 1 else f"{len(recorded)} members"
    hashes = f" and the final parameters of {num_final}" if num_final else ""
    log(
        f"reproduced bit for bit: {count}, up to {max(stops.values())} steps; {num_rows} rows of "
        f"metrics{hashes} are as recorded"
        + ("" if num_final else "; no final parameters were compared")
    )


def recorded_steps(record: Record, rows: Rows) -> dict[str, tuple[Experiment, int]]:
    """Returns, by digest, each member and the step up to which something is on record.

    A finished member is trained to the end of its budget: what stopped it stops it again.
    """
    members, is_tpe = {}, record.study.search.method == "tpe"
    started = {} if is_tpe else {member.digest: member for member in record.study.members()}
    for rung in record.rungs.values():  # `tpe` has dropped members that nothing else names
        started |= {digest: result.member for digest, result in rung.items()}
    for digest, step in sorted(rows):
        if digest in started:
            members[digest] = started[digest], step + 1
    for digest, result in record.results.items():
        members[digest] = result.member, result.member.num_steps
    if not members:
        raise UserError("this run has not trained a step yet: nothing to reproduce")
    return members


def changed_identities(
    record: Record, members: Iterable[Experiment], datasets: Datasets
) -> list[str]:
    """Returns a line for each entry of an identity that has changed since a member was trained."""
    lines: dict[str, None] = {}
    where = f" ({changed_sources(record)})"
    identities: dict[tuple[Experiment, str], dict[str, Any]] = {}
    for member in members:
        result = record.results.get(member.digest)
        if result is None:
            continue
        if result.identity.startswith("mixed"):
            lines["some members were trained under several identities, one after the other"] = None
            continue
        before = record.identities.get(result.identity, {})
        key = member.static_key, record.begins_with(member)
        if key not in identities:
            identities[key] = member_identity(record, member, datasets[member.task.data_key])
        now = identities[key]
        if before and before.get("program") != now["program"]:
            label = record.study.experiment.label(member.setting)
            lines[f"identity: the code of {label}{where} has changed since it was trained"] = None
            before = before | {"program": now["program"]}
        changes = provenance.changed(before, now)
        lines |= dict.fromkeys(f"identity: {change}" for change in changes)
    return list(lines)


def compare(
    placement: Placement,
    dataset: Dataset,
    stop: int,
    rows: Rows,
    results: dict[str, Result],
    begun: dict[str, Saved],
) -> int:
    """Trains the members of a placement to step `stop` and returns how many rows it compared.

    `begun` holds the states of members that begin with the parameters of another run.

    Raises NotReproduced with the first difference.
    """
    group = TrainGroup(placement, dataset, SEGMENT_STEPS)
    if group.members[0].digest in begun:
        group.begin_with(begun)
    members, num_rows = {member.digest: member for member in group.members}, 0
    for segment in group.segments(stop):
        for row in segment.rows():
            recorded, member = rows.get((row["member"], row["step"])), members[row["member"]]
            if recorded is None:
                if member.digest in results:
                    raise NotReproduced(
                        f"{member}: the metrics of step {row['step']} are not on record"
                    )
                continue
            num_rows += 1
            for name, value in row.items():
                if recorded.get(name) != value:
                    both = isinstance(recorded.get(name), float) and isinstance(value, float)
                    by = f" (by {abs(value - recorded[name]):.3g})" if both else ""
                    raise NotReproduced(
                        f"{member}: differs first at step {row['step']}: {name} "
                        f"{recorded.get(name)} on record, {value} now{by}"
                    )
    if stop == placement.static_key.num_steps:
        digests = parameter_digests(group.final_params(), len(group.members))
        for member, digest in zip(group.members, digests, strict=True):
            result = results.get(member.digest)
            if result is not None and result.parameters_sha256 != digest:
                raise NotReproduced(
                    f"{member}: all recorded metrics are the same, the final parameters are not: "
                    f"SHA-256 {result.parameters_sha256} on record, {digest} now"
                )
    return num_rows
