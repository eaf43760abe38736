"""Trains a run again from its record alone and compares. Writes nothing."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from lstm_jax.runs import environment
from lstm_jax.runs import store
from lstm_jax.errors import NotReproduced, UserError
from lstm_jax.experiment import AXES, Experiment, Member
from lstm_jax.data.load import Dataset, load
from lstm_jax.runs.record import beginning_with, read_run
from lstm_jax.runs.results import metric_rows, parameter_digests
from lstm_jax.runs.screen import say
from lstm_jax.search import first_round
from lstm_jax.train.sweep import Placement, build, place_here, refuse_absent_backend
from lstm_jax.train.step import Metrics

SEGMENT_STEPS = 100  # between two looks; changes no bit

Rows = dict[tuple[str, int], dict[str, Any]]  # metrics by member and step


def reproduce(
    directory: Path, console: Console, *, member: str | None = None, steps: int | None = None
) -> None:
    """Says that all is bit for bit the same, or raises NotReproduced with the first difference.

    A member is compared in every row of metrics that is on record and, if it was trained to its
    end, in the SHA-256 of its parameters. With `steps`, only as far as that.
    """
    experiment, record = read_run(directory)
    refuse_absent_backend(experiment)
    rows = {(row["member"], row["step"]): row for row in store.read_metrics(directory)}
    last = _recorded(experiment, record, rows)
    if member is not None:
        last = {digest: last[digest] for digest in [beginning_with(member, last)]}
    tell = partial(say, console)
    dataset = load(experiment.dataset, tell, experiment.reading)
    for line in changed_identity(record, environment.identity(dataset.fingerprint)):
        tell(line)
    for digest in last:
        if record["members"].get(digest, {}).get("identity") == "mixed":
            tell(f"member {digest} was trained under several identities, one after the other")
    until = {who: min(steps or stop, stop) for who, stop in last.values()}
    compared = 0
    for stop in sorted(set(until.values())):
        mates = [who for who in until if until[who] == stop]
        for placement in place_here(experiment, mates):
            compared += _compare(experiment, placement, dataset, stop, rows, record["members"])
    ended = [d for d, (who, _) in last.items() if until[who] == experiment.num_steps]
    final = sum(digest in record["members"] for digest in ended)
    if not compared and not final:
        raise NotReproduced(f"nothing to compare: {directory} has no metrics of these steps")
    count = "1 member" if len(last) == 1 else f"{len(last)} members"
    hashes = f" and the final parameters of {final}" if final else ""
    tell(
        f"reproduced bit for bit: {count}, up to {max(until.values())} steps; {compared} rows of "
        f"metrics{hashes} are as recorded"
        + ("" if final else "; no final parameters were compared")
    )


def _recorded(
    experiment: Experiment, record: dict[str, Any], rows: Rows
) -> dict[str, tuple[Member, int]]:
    """The members on record by their digests, and up to which step there is something of them."""
    known = {}
    if experiment.search != "tpe":
        started = {experiment.solo(m).digest: m for m in first_round(experiment).members}
        for digest, step in sorted(rows):
            if digest in started:
                known[digest] = started[digest], step + 1
    for row_digest, row in record["members"].items():
        known[row_digest] = Member(*(row[axis] for axis in AXES)), experiment.num_steps
    if not known:
        raise UserError("this run has not trained a step yet: nothing to reproduce")
    return known


def changed_identity(record: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """A line for each field of the identity that is not as it was."""
    before = record.get("identity", {})
    return [
        f"identity: {name} was {before.get(name)!r}, is {now[name]!r}"
        for name in now
        if before.get(name) != now[name]
    ]


def _compare(
    experiment: Experiment,
    placement: Placement,
    dataset: Dataset,
    until: int,
    rows: Rows,
    results: dict[str, dict[str, Any]],
) -> int:
    """Trains a placement's members; how many rows of metrics were compared."""
    digests = tuple(experiment.solo(member).digest for member in placement.members)
    named = dict(zip(digests, placement.members, strict=True))
    programs = build(experiment, placement, dataset, SEGMENT_STEPS)
    state, compared = programs.init(), 0
    for start in range(0, until, SEGMENT_STEPS):
        stop = min(start + SEGMENT_STEPS, until)
        state, metrics = programs.segment(state, start, stop)
        for row in metric_rows(digests, metrics, start, stop, experiment.log_every):
            old = rows.get((row["member"], row["step"]))
            if old is not None:
                _expect_same(named[row["member"]], old, row)
                compared += 1
    if until == experiment.num_steps:
        digests_now = parameter_digests(state.params, len(named))
        for (digest, member), now in zip(named.items(), digests_now, strict=True):
            then = results.get(digest, {}).get("parameters_sha256", now)
            if now != then:
                raise NotReproduced(
                    f"{member}: all recorded metrics are the same, the final parameters are not: "
                    f"SHA-256 {then} on record, {now} now"
                )
    return compared


def _expect_same(member: Member, old: dict[str, Any], new: dict[str, Any]) -> None:
    for name in Metrics._fields:
        if name in old and old[name] != new[name]:
            both = None not in (old[name], new[name])
            by = f" (by {abs(new[name] - old[name]):.3g})" if both else ""
            raise NotReproduced(
                f"{member}: differs first at step {new['step']}: {name} {old[name]} on record, "
                f"{new[name]} now{by}"
            )
