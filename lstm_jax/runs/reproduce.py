"""Trains a run again from its record alone and compares. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.results import Result
from lstm_jax.data.dataset import Dataset
from lstm_jax.errors import NotReproduced, UserError
from lstm_jax.runs import provenance
from lstm_jax.runs.evaluation import Evaluator
from lstm_jax.runs.metrics_file import read_metrics
from lstm_jax.runs.progress import say
from lstm_jax.runs.record import Record, digest_with_prefix, read_run
from lstm_jax.runs.scoring import metric_rows, parameter_digests
from lstm_jax.train.sweep import Placement, build, place_here, refuse_absent_backend

SEGMENT_STEPS = 100  # between two looks; changes no bit

Rows = dict[tuple[str, int], dict[str, Any]]  # metrics by member and step


def reproduce(
    directory: Path, console: Console, *, member: str | None = None, steps: int | None = None
) -> None:
    """Says that all is bit for bit the same, or raises NotReproduced with the first difference.

    A member is compared in every row of metrics that is on record and, if it was trained to its
    end, in the SHA-256 of its parameters. With `steps`, only as far as that.
    """
    record = read_run(directory)
    refuse_absent_backend(record.study.experiment)
    rows = {(row["member"], row["step"]): row for row in read_metrics(directory)}
    last = _recorded(record, rows)
    if member is not None:
        last = {digest: last[digest] for digest in [digest_with_prefix(member, last)]}
    tell = partial(say, console)
    tasks = record.study.experiment.data_tasks()
    datasets = {key: task.load(tell) for key, task in tasks.items()}
    libraries = ["optuna"] if record.study.search.method == "tpe" else []
    now = {
        key: provenance.identity(dataset.fingerprint, libraries)
        for key, dataset in datasets.items()
    }
    for line in changed_identities(record, [who for who, _ in last.values()], now):
        tell(line)
    until = {who: min(steps or stop, stop) for who, stop in last.values()}
    compared = 0
    for stop in sorted(set(until.values())):
        for placement in place_here(who for who in until if until[who] == stop):
            compared += _compare(
                placement, datasets[placement.data_key], stop, rows, record.results
            )
    final = sum(d in record.results and until[who] == who.num_steps for d, (who, _) in last.items())
    if not compared and not final:
        raise NotReproduced(f"nothing to compare: {directory} has no metrics of these steps")
    count = "1 member" if len(last) == 1 else f"{len(last)} members"
    hashes = f" and the final parameters of {final}" if final else ""
    tell(
        f"reproduced bit for bit: {count}, up to {max(until.values())} steps; {compared} rows of "
        f"metrics{hashes} are as recorded"
        + ("" if final else "; no final parameters were compared")
    )


def _recorded(record: Record, rows: Rows) -> dict[str, tuple[Experiment, int]]:
    """The members on record by their digests, and up to which step there is something of them."""
    known = {}
    if record.study.search.method != "tpe":
        started = {member.digest: member for member in record.study.members()}
        for digest, step in sorted(rows):
            if digest in started:
                known[digest] = started[digest], step + 1
    for digest, result in record.results.items():
        known[digest] = result.member, result.steps
    if not known:
        raise UserError("this run has not trained a step yet: nothing to reproduce")
    return known


def changed_identities(
    record: Record, members: Iterable[Experiment], now: dict[str, Any]
) -> list[str]:
    """Returns a line for each entry of an identity, by the key of the data, that is not as it was
    for a member.
    """
    lines: dict[str, None] = {}
    for member in members:
        result = record.results.get(member.digest)
        if result is None:
            continue
        if result.identity == "mixed":
            lines["some members were trained under several identities, one after the other"] = None
            continue
        before = record.identities.get(result.identity, {})
        changed = provenance.changed(before, now[member.task.data_key])
        lines |= dict.fromkeys(f"identity: {line}" for line in changed)
    return list(lines)


def _compare(
    placement: Placement, dataset: Dataset, until: int, rows: Rows, results: dict[str, Result]
) -> int:
    """Trains a placement's members; returns how many rows of metrics were compared."""
    members = placement.members
    programs = build(placement, dataset, SEGMENT_STEPS)
    state, compared = programs.init(), 0
    named = {member.digest: member for member in members}
    looks, start = Evaluator(members, programs, dataset.validation), 0
    while start < until:
        look = looks.look(start, state)
        stop = looks.end_of_segment(start, min(start + SEGMENT_STEPS, until))
        state, metrics = programs.segment(state, start, stop)
        for row in metric_rows(members, metrics, start, stop, look):
            old, who = rows.get((row["member"], row["step"])), named[row["member"]]
            if old is not None:
                _expect_same(who, old, row)
                compared += 1
            elif who.digest in results:
                raise NotReproduced(f"{who}: the metrics of step {row['step']} are not on record")
        start = stop
    if until == placement.static_key.num_steps:
        looks.look(until, state)
        digests_now = parameter_digests(looks.kept(state.params), len(members))
        for member, now in zip(members, digests_now, strict=True):
            then = results[member.digest].parameters_sha256 if member.digest in results else now
            if now != then:
                raise NotReproduced(
                    f"{member}: all recorded metrics are the same, the final parameters are not: "
                    f"SHA-256 {then} on record, {now} now"
                )
    return compared


def _expect_same(member: Experiment, old: dict[str, Any], new: dict[str, Any]) -> None:
    for name in new:
        if old.get(name) != new[name]:
            both = isinstance(old.get(name), float) and isinstance(new[name], float)
            by = f" (by {abs(new[name] - old[name]):.3g})" if both else ""
            raise NotReproduced(
                f"{member}: differs first at step {new['step']}: {name} {old.get(name)} on record, "
                f"{new[name]} now{by}"
            )
