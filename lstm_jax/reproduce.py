"""Trains a run again from its record alone and compares. Writes nothing."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from lstm_jax import environment, store
from lstm_jax.config import AXES, Experiment, Member, NotReproduced, UserError
from lstm_jax.data import Dataset, load
from lstm_jax.record import read_run
from lstm_jax.runner import metric_rows
from lstm_jax.screen import say
from lstm_jax.search import first_round
from lstm_jax.sweep import Placement, build, name_arrays, place, tile_of
from lstm_jax.train import Metrics

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
    rows = {(row["member"], row["step"]): row for row in store.read_metrics(directory)}
    members = _chosen(experiment, record, rows, member)
    dataset = load(experiment.dataset, partial(say, console), experiment.reading)
    for line in changed_identity(record, environment.identity(dataset.fingerprint)):
        say(console, line)
    until = min(steps or experiment.num_steps, experiment.num_steps)
    placements = place(
        members, len(jax.devices()), experiment.chunks, tile_of(jax.default_backend())
    )
    compared = sum(
        _compare(experiment, placement, dataset, until, rows, record["members"])
        for placement in placements
    )
    count = "1 member" if len(members) == 1 else f"{len(members)} members"
    final = sum(experiment.solo(m).digest in record["members"] for m in members)
    hashes = f" and the SHA-256 of {final}" if until == experiment.num_steps and final else ""
    if not compared and not hashes:
        raise NotReproduced(f"nothing to compare: {directory} has no metrics of these steps")
    say(
        console,
        f"reproduced bit for bit: {count}, {until} steps; {compared} rows of metrics{hashes} are "
        "as recorded",
    )


def _chosen(
    experiment: Experiment, record: dict[str, Any], rows: Rows, member: str | None
) -> list[Member]:
    """The members on record, all or the one asked for."""
    known = {
        digest: Member(*(row[axis] for axis in AXES))
        for found in (*record.get("rungs", {}).values(), record["members"])
        for digest, row in found.items()
    }
    if experiment.search != "tpe":
        started = {experiment.solo(m).digest: m for m in first_round(experiment).members}
        known |= {digest: started[digest] for digest, _ in rows if digest in started}
    if not known:
        raise UserError("this run has not trained a step yet: nothing to reproduce")
    if member is None:
        return list(known.values())
    found = [m for digest, m in known.items() if digest.startswith(member)]
    if len(found) != 1:
        raise UserError(
            f"member: {len(found)} members begin with {member!r}; there are "
            f"{', '.join(list(known)[:5])}{' ...' if len(known) > 5 else ''}"
        )
    return found


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
        params = {name: np.asarray(leaf) for name, leaf in name_arrays(state.params).items()}
        for index, (digest, member) in enumerate(named.items()):
            now = store.fingerprint({name: array[index] for name, array in params.items()})
            then = results.get(digest, {}).get("parameters_sha256", now)
            if now != then:
                raise NotReproduced(
                    f"{member}: all recorded metrics are the same, the final parameters are not: "
                    f"SHA-256 {then} on record, {now} now"
                )
    return compared


def _expect_same(member: Member, old: dict[str, Any], new: dict[str, Any]) -> None:
    for name in Metrics._fields:
        if old.get(name) != new[name]:
            both = None not in (old.get(name), new[name])
            by = f" (by {abs(new[name] - old[name]):.3g})" if both else ""
            raise NotReproduced(
                f"{member}: differs first at step {new['step']}: {name} {old.get(name)} on record, "
                f"{new[name]} now{by}"
            )
