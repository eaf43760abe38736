"""Looks for a run's members in the other run directories of its experiment, and reuses them.

A member is reused only under the same identity: code, data, versions and device. A member that
another run finished stays where it is, and the record says where. The members that a shard
finished, and the states of those it began, are copied, so that the shard's directory can be
removed. A shard also continues members that the run without `--shard` began and did not finish.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.experiment_fields import BUDGETS
from lstm_jax.errors import EnvironmentProblem
from lstm_jax.runs import checkpoints
from lstm_jax.runs.directory import in_use, is_shard
from lstm_jax.runs.evaluation import result_parameters
from lstm_jax.runs.metrics_file import read_metrics
from lstm_jax.runs.record import RUN, Record, read_record
from lstm_jax.runs.results import Result
from lstm_jax.runs.session import RunSession


@dataclass
class Reusable:
    """What siblings hold, by member's digest: results, and states and rows to be copied."""

    results: dict[str, Result] = field(default_factory=dict)
    states: dict[str, checkpoints.Saved] = field(default_factory=dict)
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def reuse_finished(session: RunSession, members: Iterable[Experiment]) -> None:
    """Reuses what siblings hold of these members.

    Halving reuses nothing: it needs its members' metrics at the rungs.
    """
    record, reusable = session.record, Reusable()
    wanted = {m.digest: m for m in members if m.digest not in record.results}
    if session.study.search.halving or not wanted:
        return
    steps = checkpoints.saved_members(session.directory)
    for path in sorted(session.directory.parent.glob("*/record.json")):
        directory = path.parent
        missing = {d: m for d, m in wanted.items() if d not in reusable.results}
        if directory == session.directory or not RUN.fullmatch(directory.name) or not missing:
            continue
        try:
            sibling = read_record(directory)
            if sibling is not None and not sibling.study.search.halving:
                search_sibling(session, directory, sibling, missing, steps, reusable)
                if not (record.results or steps):  # this run begins
                    say_shorter(session, directory, sibling, missing)
        except EnvironmentProblem as error:
            session.say(f"nothing is reused: {error}")
    if reusable.results or reusable.states:
        copy_reusable(session, reusable)


def say_shorter(
    session: RunSession, directory: Path, sibling: Record, wanted: dict[str, Experiment]
) -> None:
    """Says where a sibling finished a member of this run with fewer steps: it is not gone on with,
    since its schedule and its order of examples ended there.
    """

    def apart_from_budget(member: Experiment) -> str:
        return member.replace_unchecked(dict.fromkeys(BUDGETS)).digest

    finished = {apart_from_budget(r.member): r.steps for r in sibling.results.values()}
    pairs = [(finished.get(apart_from_budget(m), 0), m.num_steps) for m in wanted.values()]
    pairs = [(done, steps) for done, steps in pairs if 0 < done < steps]
    if pairs:
        done, steps = pairs[0]
        of = f" of {len(pairs)} members" if len(pairs) > 1 else ""
        session.say(
            f"{directory.name} has {done} of these {steps} steps{of}; they are trained anew: a "
            "finished member is not continued. To start from its parameters instead: --begin-with "
            f"{directory.parent.name}/{directory.name}"
        )


def search_sibling(
    session: RunSession,
    directory: Path,
    sibling: Record,
    wanted: dict[str, Experiment],
    steps: dict[str, int],
    reusable: Reusable,
) -> None:
    """Adds what a sibling holds of the wanted members to `reusable`.

    `steps` holds the step of each state that is here already, and is updated.
    """
    is_copied, same_study = is_shard(directory), session.study.digest == sibling.study.digest
    results = {digest: r for digest, r in sibling.results.items() if digest in wanted}
    trained_there = [digest for digest, r in results.items() if r.reused_from is None]
    # What a living process has begun is left to it.
    has_ended = "ended" in (sibling.sessions or [{}])[-1]
    is_running = same_study and not has_ended and in_use(directory)
    started = list(wanted.keys() - results.keys()) if same_study and not is_running else []
    to_load = [*(trained_there if is_copied else ()), *started]
    saved = checkpoints.load(directory, to_load, session.say)

    def has_our_identity(digest: str) -> bool:
        trained = results.get(digest) or saved.get(digest)
        return trained is not None and trained.identity == session.identity_of(wanted[digest])

    def is_whole(digest: str) -> bool:
        """Returns whether the state of a finished member has the parameters on record."""
        state, result = saved.get(digest), results[digest]
        if state is None or state.step < result.steps:
            return False
        fingerprint = checkpoints.fingerprint(result_parameters(state.arrays))
        return fingerprint == result.parameters_sha256

    ours = set(filter(has_our_identity, wanted))
    finished, resumable = dict[str, Result](), dict[str, checkpoints.Saved]()
    for digest in ours & results.keys():
        origin = results[digest].reused_from
        if not is_copied or origin:
            origin = origin or directory.name
        elif not is_whole(digest):
            continue
        if origin != session.directory.name:
            finished[digest] = replace(
                results[digest], member=wanted[digest], reused_from=origin, dropped=None
            )
    for digest in ours & set(started) & saved.keys():
        if saved[digest].step > steps.get(digest, 0):
            resumable[digest] = saved[digest]
            steps[digest] = saved[digest].step
    if is_running and checkpoints.saved_members(directory).keys() & (
        wanted.keys() - results.keys()
    ):
        session.say(f"{directory} is in use: what it has begun is not reused")
    num_others = len((results.keys() | saved.keys()) - ours)
    if same_study and num_others and "-old-" not in directory.name:
        session.say(
            f"{num_others} members of {directory} were trained with other versions, devices or "
            "data: not reused"
        )
    if not finished and not resumable:
        return
    rows: dict[str, list[dict[str, Any]]] = {d: [] for d in finished.keys() | resumable.keys()}
    for row in read_metrics(directory, session.say):  # may be damaged: nothing is reused yet
        if row["member"] in rows:
            rows[row["member"]].append(row)
    for verb, some in (("finished", finished), ("begun", resumable)):
        if some:
            count = "1 member was" if len(some) == 1 else f"{len(some)} members were"
            session.say(f"{count} {verb} in {directory}: reused from there")
    reusable.results |= finished
    reusable.states = {d: state for d, state in reusable.states.items() if d not in finished}
    reusable.states |= resumable | {d: saved[d] for d in finished if is_copied and d in saved}
    reusable.rows |= rows
    record_sibling_sessions(session, directory.name, sibling)


def record_sibling_sessions(session: RunSession, name: str, sibling: Record) -> None:
    """Records the sessions of a sibling, before the one that is open here."""
    record, here = session.record, session.directory.name
    named = [entry | {"in": entry.get("in", name)} for entry in sibling.sessions]
    theirs = [entry for entry in named if entry["in"] != here]  # not those it had from here
    known = {(entry["in"], entry.get("started")) for entry in theirs}
    others = [e for e in record.sessions if (e.get("in"), e.get("started")) not in known]
    record.sessions[:] = [*others[:-1], *theirs, others[-1]]


def copy_reusable(session: RunSession, reusable: Reusable) -> None:
    """Writes rows, states and results. After a kill in between they are searched for again."""

    def file_key(state: checkpoints.Saved) -> tuple[Any, ...]:
        """Returns what the states in one file have in common."""
        arrays = sorted((name, a.dtype.str, a.shape) for name, a in state.arrays.items())
        return state.step, state.identity, arrays

    session.replace_rows(reusable.rows)
    by_key = sorted(reusable.states.items(), key=lambda item: str(file_key(item[1])))
    for _, items in groupby(by_key, key=lambda item: file_key(item[1])):
        digests, states = zip(*items, strict=True)
        first = states[0]
        arrays = {name: np.stack([s.arrays[name] for s in states]) for name in first.arrays}
        seconds = [state.seconds for state in states]
        saved = checkpoints.Saved(first.step, arrays, first.identity, seconds)
        checkpoints.save(session.directory, digests, saved)
    session.record.results.update(reusable.results)
    session.save_record()
    session.log_results(reusable.results.values())
