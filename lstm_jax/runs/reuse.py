"""What sibling directories have of a run's members, under the same identity: it is taken over.

A member that another run finished stays where it is, and the record says where. What a shard has is
copied, so that the shard can go: members that it finished, and states of members that it began. Of
the study's whole run, a shard copies what was begun there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.results import Result
from lstm_jax.errors import EnvironmentProblem
from lstm_jax.runs import checkpoints
from lstm_jax.runs.directory import in_use
from lstm_jax.runs.evaluation import parameters_of
from lstm_jax.runs.metrics_file import read_metrics
from lstm_jax.runs.record import RUN, Record, is_shard, read_record
from lstm_jax.runs.session import RunSession

Members = dict[str, Experiment]  # by digest


@dataclass
class Found:
    """What siblings have: results of finished members, states and rows of metrics to be copied."""

    results: dict[str, Result] = field(default_factory=dict)
    states: dict[str, checkpoints.Saved] = field(default_factory=dict)
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def reuse_finished(current: RunSession, members: Iterable[Experiment]) -> list[Experiment]:
    """Takes over what siblings have of these members. Returns those that are finished then.

    A halving takes none: it needs its members' metrics at the rungs.
    """
    record, found = current.record, Found()
    wanted = {m.digest: m for m in members if m.digest not in record.results}
    if current.study.search.halving or not wanted:
        return []
    steps = checkpoints.saved_members(current.directory)
    for path in sorted(current.directory.parent.glob("*/record.json")):
        directory, left = path.parent, {d: m for d, m in wanted.items() if d not in found.results}
        if directory == current.directory or not RUN.fullmatch(directory.name) or not left:
            continue
        try:
            other = read_record(directory)
            if other is not None and not other.study.search.halving:
                _look(current, directory, other, left, steps, found)
        except EnvironmentProblem as error:
            current.say(f"nothing is taken over: {error}")
    if found.results or found.states:
        _keep(current, found)
    return [member for digest, member in wanted.items() if digest in record.results]


def _look(
    current: RunSession,
    directory: Path,
    other: Record,
    wanted: Members,
    steps: dict[str, int],
    found: Found,
) -> None:
    """Finds what a sibling has of the wanted members; `steps` are those that are here, or found."""
    copied, mates = is_shard(directory), current.study.digest == other.study.digest
    results = {d: r for d, r in other.results.items() if d in wanted}
    here = [d for d, r in results.items() if r.reused_from is None]
    # What a process that lives there has begun is left to it.
    lives = mates and "ended" not in (other.sessions or [{}])[-1] and in_use(directory)
    begun = list(wanted.keys() - results.keys()) if mates and not lives else []
    saved = checkpoints.load(directory, [*(here if copied else ()), *begun], current.say)
    ours = {d for d, m in wanted.items() if _identity(d, results, saved) == _own(current, m)}
    finished, going_on = dict[str, Result](), dict[str, checkpoints.Saved]()
    for digest in ours & results.keys():
        origin = results[digest].reused_from
        if not copied or origin:
            origin = origin or directory.name
        elif not _is_whole(results[digest], saved.get(digest)):
            continue
        if origin != current.directory.name:
            finished[digest] = replace(
                results[digest], member=wanted[digest], reused_from=origin, dropped=None
            )
    for digest in ours & set(begun) & saved.keys():
        if saved[digest].step > steps.get(digest, 0):
            going_on[digest] = saved[digest]
            steps[digest] = saved[digest].step
    if lives and checkpoints.saved_members(directory).keys() & (wanted.keys() - results.keys()):
        current.say(f"{directory} is in use: what is begun there is not taken over")
    strange = len((results.keys() | saved.keys()) - ours)
    if mates and strange:
        current.say(
            f"{strange} members of {directory} were trained with other versions, devices or data: "
            "not taken over"
        )
    if not finished and not going_on:
        return
    taken = finished.keys() | going_on.keys()
    rows: dict[str, list[dict[str, Any]]] = {digest: [] for digest in taken}
    for row in read_metrics(directory, current.say):  # which may be damaged: nothing is taken yet
        if row["member"] in taken:
            rows[row["member"]].append(row)
    for kind, some in (("finished", finished), ("begun", going_on)):
        if some:
            count = "1 member was" if len(some) == 1 else f"{len(some)} members were"
            current.say(f"{count} {kind} in {directory}: taken over from there")
    found.results |= finished
    found.states = {d: one for d, one in found.states.items() if d not in finished}
    found.states |= going_on | {d: saved[d] for d in finished if copied and d in saved}
    found.rows |= rows
    _note_sessions(current, directory.name, other)


def _own(current: RunSession, member: Experiment) -> str:
    """The identity under which this process trains a member."""
    return current.identities[member.task.data_key]


def _identity(
    digest: str, results: dict[str, Result], saved: dict[str, checkpoints.Saved]
) -> str | None:
    """The identity under which a sibling trained a member."""
    known = results.get(digest) or saved.get(digest)
    return known.identity if known else None


def _is_whole(result: Result, saved: checkpoints.Saved | None) -> bool:
    """Whether the state of a finished member is there, with the parameters on record."""
    if saved is None or saved.step < result.steps:
        return False
    return checkpoints.fingerprint(parameters_of(saved.arrays)) == result.parameters_sha256


def _note_sessions(current: RunSession, name: str, other: Record) -> None:
    """Puts the sessions of a sibling on record, before the one that is open here."""
    record, own_name = current.record, current.directory.name
    named = [session | {"in": session.get("in", name)} for session in other.sessions]
    theirs = [session for session in named if session["in"] != own_name]  # which it had from here
    known = {(session["in"], session.get("started")) for session in theirs}
    own = [s for s in record.sessions if (s.get("in"), s.get("started")) not in known]
    record.sessions[:] = [*own[:-1], *theirs, own[-1]]


def _keep(current: RunSession, found: Found) -> None:
    """Writes what was found. A kill in between leaves it to be found again."""
    current.replace_rows(found.rows)
    alike = sorted(found.states.items(), key=lambda one: str(_likeness(one[1])))
    for _, group in groupby(alike, key=lambda one: _likeness(one[1])):
        digests, states = zip(*group, strict=True)
        checkpoints.save(current.directory, digests, _stacked(states))
    current.record.results.update(found.results)
    current.save()
    if current.scalars:
        current.scalars.finish(found.results.values())


def _likeness(saved: checkpoints.Saved) -> tuple[Any, ...]:
    """What states have in common that lie in one file."""
    arrays = sorted((name, a.dtype.str, a.shape) for name, a in saved.arrays.items())
    return saved.step, saved.identity, arrays


def _stacked(states: tuple[checkpoints.Saved, ...]) -> checkpoints.Saved:
    """The states of members, each in a row of its own."""
    first = states[0]
    arrays = {name: np.stack([one.arrays[name] for one in states]) for name in first.arrays}
    return checkpoints.Saved(first.step, arrays, first.identity, [one.seconds for one in states])
