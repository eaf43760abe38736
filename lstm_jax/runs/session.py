"""A run that is open: its directory, locked, and its record while members train."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.rounds import Round
from lstm_jax.config.search import Study
from lstm_jax.data.dataset import Dataset, Say
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.runs import checkpoints, provenance
from lstm_jax.runs.broadcast import PROVENANCE, broadcast
from lstm_jax.runs.code import example_shapes, program_digest, sources, user_files
from lstm_jax.runs.data_card import best_trivial_score, data_card, describe_briefly
from lstm_jax.runs.datasets import file_stamp
from lstm_jax.runs.directory import Lock, locked
from lstm_jax.runs.evaluation import result_parameters
from lstm_jax.runs.files import disk_errors
from lstm_jax.runs.loggers.logger import Logger
from lstm_jax.runs.metrics_file import replace_metrics
from lstm_jax.runs.progress import say
from lstm_jax.runs.record import Record, read_record
from lstm_jax.runs.results import Result, Segment
from lstm_jax.train import processes
from lstm_jax.train.placement import Datasets, model_spec_of


@dataclass
class RunSession:
    """A run directory and its record.

    Only the main process has a lock and writes; in every other process `lock` is None.
    """

    record: Record
    directory: Path
    console: Console
    lock: Lock | None
    checkpoint_every: int
    datasets: Datasets = field(default_factory=dict)  # while it trains
    # Digests of the identities under which this process trains, by static key, data, and the
    # parameters that it begins with.
    identities: dict[tuple[Experiment, str, str], str] = field(default_factory=dict)
    loggers: Sequence[Logger] = ()  # of the main process; metrics.jsonl is the first one
    started: float = 0.0  # when training began, by the clock of this process

    @property
    def study(self) -> Study:
        return self.record.study

    def say(self, line: str) -> None:
        """Prints a line for the user."""
        say(self.console, line)

    def begin_round(self) -> Round | None:
        """Returns the next members to train; None when the run is finished.

        A search with a budget in minutes decides by the time that this puts on record, together
        with the number of batches begun: a run that is killed afterwards trains them to their end.
        """
        if self.study.search.search_minutes is None:
            return self.record.position().next_round
        self.record_seconds()
        position = self.record.position()
        if position.next_round is not None:
            self.record.batches_begun = max(self.record.batches_begun, position.batch + 1)
        self.save_record()
        return position.next_round

    def has_finished(self) -> bool:
        """Returns whether no member is left to train."""
        return self.record.position().next_round is None

    def record_seconds(self) -> None:
        """Puts the time that this session has taken so far on record."""
        seconds = time.perf_counter() - self.started
        # Rounded up, so that a budget that was spent is spent on record too.
        self.record.sessions[-1]["seconds"] = math.ceil(1000 * seconds) / 1000

    def identity_of(self, member: Experiment) -> str:
        """Returns the digest of the identity under which this process trains a member.

        Records the identity, and says what of it has changed since the run began.
        """
        key = member.static_key, member.task.data_key, self.record.begins_with(member)
        if key not in self.identities:
            dataset = self.datasets[member.task.data_key]
            identity = member_identity(self.record, member, dataset)
            known, digest = self.record.identities, provenance.digest(identity)

            def is_alike(other: dict[str, Any]) -> bool:
                names = "program", "begin_with"
                return all(other.get(name) == identity.get(name) for name in names)

            if digest not in known:
                same = [each for each in known.values() if is_alike(each)]
                for line in provenance.changed(same[-1], identity) if same else ():
                    self.say(f"note: since this run began {line}: its bits may differ")
                known[digest] = identity
                self.save_record()  # before a checkpoint names it: the run may be killed then
            self.identities[key] = digest
        return self.identities[key]

    def log(
        self, segment: Segment, members: Iterable[Experiment], saved: checkpoints.Saved
    ) -> None:
        """Passes a segment to the loggers, and saves the state of all members of its group.

        `metrics.jsonl` is written before the checkpoint, because a run that goes on from there does
        not log again what came before. The other loggers hear of what is saved. After a segment of
        no steps the state is saved already.
        """
        if self.lock is None:
            return
        self.lock.check()
        for number, logger in enumerate(self.loggers):
            if segment.evaluation is not None:
                logger.evaluation(segment)
            logger.metrics(segment)
            if number == 0 and segment.stop > segment.start:
                checkpoints.save(self.directory, tuple(m.digest for m in members), saved)

    def replace_rows(self, rows: dict[str, list[dict[str, Any]]]) -> None:
        """Writes members' rows of metrics, by digest, in place of their rows on disk."""
        replace_metrics(self.directory, rows, self.say)

    def save_record(self) -> None:
        """Writes the record, unless the directory was moved away under this process."""
        if self.lock is not None:
            self.lock.check()
            self.record.write(self.directory)

    def record_rung(self, results: Iterable[Result]) -> None:
        """Records how members scored at a rung."""
        for result in results:
            self.record.rungs.setdefault(result.steps, {})[result.member.digest] = result
        self.save_record()

    def record_finished(self, results: Iterable[Result]) -> None:
        """Records finished members."""
        finished = {result.member.digest: result for result in results}
        self.record.results |= finished
        self.record.distrusted -= finished.keys()
        self.save_record()
        self.log_results(finished.values())

    def log_results(self, results: Iterable[Result]) -> None:
        """Passes the results of members that are finished, or dropped, to the loggers."""
        for logger in self.loggers:
            logger.finish(list(results))

    def decide_rungs(self) -> None:
        """Records, rung by rung, which members go on and which are dropped."""
        for rung_round, going_on in self.study.finished_rungs(self.record.scores):
            rung = self.record.rungs[rung_round.until]  # of the members of all batches
            digests = [member.digest for member in rung_round.members]
            if all(rung[digest].dropped is not None for digest in digests):
                continue
            kept = {member.digest for member in going_on}
            for digest in digests:  # in this order, whatever the order in which they were trained
                rung[digest] = replace(rung.pop(digest), dropped=digest not in kept)
            self.save_record()
            self.log_results([rung[digest] for digest in digests if rung[digest].dropped])
            self.say(
                f"rung at step {rung_round.until}: {len(kept)} members go on, "
                f"{len(digests) - len(kept)} dropped"
            )

    def states(self, digests: Iterable[str]) -> dict[str, checkpoints.Saved]:
        """Returns the newest undamaged state of each member, by digest.

        A state of a member's last step is left out where its parameters are not those on record.
        """

        def is_trusted(digest: str, state: checkpoints.Saved) -> bool:
            result = self.record.results.get(digest)
            if result is None or state.step < result.steps:
                return True
            fingerprint = checkpoints.fingerprint(result_parameters(state.arrays))
            return fingerprint == result.parameters_sha256

        saved = checkpoints.load(self.directory, digests, self.say)
        return {digest: state for digest, state in saved.items() if is_trusted(digest, state)}

    def distrust_lost(self) -> None:
        """Marks finished members for training where the parameters on record are not on disk.

        Members that were reused lie in another directory, and are left as they are.
        """
        results = self.record.results
        digests = [digest for digest, result in results.items() if result.reused_from is None]
        saved = self.states(digests)
        for digest in digests:
            if digest not in saved or saved[digest].step < results[digest].steps:
                self.record.distrusted.add(digest)
                self.say(f"member {digest} is finished, but its checkpoint is lost or not its own")


def member_identity(record: Record, member: Experiment, dataset: Dataset) -> dict[str, Any]:
    """Returns the identity under which this process trains a member of a run."""
    spec, examples = model_spec_of(member, dataset), example_shapes(dataset)
    libraries = ["optuna"] if record.study.search.method == "tpe" else []
    program = program_digest(member, spec, examples)
    identity = provenance.identity(dataset.fingerprint, program, libraries)
    if begins_with := record.begins_with(member):
        identity["begin_with"] = begins_with
    return identity


def trained_by_other_code(directory: Path, record: Record) -> set[str]:
    """Returns the digests of members whose results or states are of another program than now."""
    members = {result.member.digest: result.member for result in record.results.values()}
    trained = {digest: result.identity for digest, result in record.results.items()}
    for rung in record.rungs.values():
        members |= {digest: result.member for digest, result in rung.items()}
        trained |= {digest: result.identity for digest, result in rung.items()}
    saved = checkpoints.saved_identities(directory)
    trained = saved | trained
    known = record.study.members() if saved.keys() - members.keys() else ()
    members = {member.digest: member for member in known} | members
    stale, programs = set(), dict[Experiment, str]()
    for digest in trained.keys() & members.keys():
        member = members[digest]
        if member.static_key not in programs:
            programs[member.static_key] = recorded_program(record, member)
        program = programs[member.static_key]
        if program not in provenance.programs(record.identities, trained[digest]):
            stale.add(digest)
    return stale


def recorded_program(record: Record, member: Experiment) -> str:
    """Returns the digest of a member's program as the code is now, for the data on record."""
    metadata = record.metadata_of(member)
    return program_digest(member, member.task.model_spec(metadata), metadata["examples"])


def may_have_changed(record: Record) -> bool:
    """Returns whether the code may be another one than that on record.

    Code of the user's own may read what is no source, so it is always looked at.
    """
    experiment = record.study.experiment
    return bool(record.sources) and (
        bool(user_files(experiment)) or record.sources != sources(experiment)
    )


def check_code(
    record: Record, member: Experiment, identity: str, other_code: bool, say: Say
) -> None:
    """Raises EnvironmentProblem where the code of a member has changed since it was trained.

    `identity` is what its result or state names. With `other_code` it is a note instead.
    """
    if not may_have_changed(record):
        return
    program = recorded_program(record, member)
    if program in provenance.programs(record.identities, identity):
        return
    message = f"{changed_sources(record)} changed since this run was trained"
    if not other_code:
        raise EnvironmentProblem(
            f"{message}: another model would read its parameters; put the old code back, or give "
            "--other-code (other_code=True) to go on all the same"
        )
    say(f"note: {message}: another model reads its parameters")


def changed_sources(record: Record) -> str:
    """Returns the names of the sources that are not as they are on record."""
    current = sources(record.study.experiment)
    names = [n for n in current | record.sources if current.get(n) != record.sources.get(n)]
    return " and ".join(names) or "the code has"


@contextmanager
def open_session(
    name: str,
    study: Study,
    directory: Path,
    console: Console,
    checkpoint_every: int,
) -> Iterator[RunSession]:
    """Yields the run of a directory, which the main process locks while the block runs.

    Where the code of a trained member has changed, the directory is renamed, and a new one begins:
    what was trained stays on record, and results of two codes never stand in one run.

    The other processes begin with an empty record, and are told what is left to train. Raises
    UserError where the directory holds the run of another study.
    """
    if not processes.is_main_process():
        yield RunSession(Record(name, study), directory, console, None, checkpoint_every)
        return
    log = partial(say, console)
    with ExitStack() as stack:
        lock = stack.enter_context(locked(directory, log if study.shard else None))
        record = read_record(directory, study.experiment) or Record(name, study)
        sizes = [s.experiment.data_sizes for s in (record.study, study)]
        if sizes[0] != sizes[1]:
            raise EnvironmentProblem(
                f"{directory} was trained on other data: the numbers of training examples were "
                f"{[n for _, n in sizes[0]]} and are now {[n for _, n in sizes[1]]}. Put the data "
                "back, or move the run directory away to start anew"
            )
        before, after = (replace(s.search, search_minutes=None) for s in (record.study, study))
        has_other_budget = before == after and record.study.search != study.search
        if has_other_budget:  # it goes on with that
            record.study = replace(record.study, search=study.search)
        if record.study != study:
            changed = record.study.experiment.differences(study.experiment) or "its search"
            raise UserError(
                f"{directory} was begun as another experiment ({changed}); move it away to start "
                "anew"
            )
        if may_have_changed(record):
            stale = trained_by_other_code(directory, record)
            if stale:
                aside = next(
                    path
                    for n in itertools.count(1)
                    if not (path := directory.with_name(f"{directory.name[:12]}-old-{n}")).exists()
                )
                count = "1 member is" if len(stale) == 1 else f"{len(stale)} members are"
                log(
                    f"{changed_sources(record)} changed since: {count} trained anew; what was "
                    f"trained before is kept in {aside}"
                )
                with disk_errors(directory):
                    directory.rename(aside)
                lock = stack.enter_context(locked(directory))
                record = Record(name, study)
        session = RunSession(record, directory, console, lock, checkpoint_every)
        session.distrust_lost()
        if has_other_budget:
            session.save_record()
        yield session


@contextmanager
def record_session(session: RunSession, datasets: Datasets) -> Iterator[dict[str, Any]]:
    """Keeps an entry of the record for this process; closes it with the time, however it ends.

    Raises EnvironmentProblem where the data has changed since the run began.
    """
    record = session.record
    for key in record.metadata.keys() & datasets.keys():
        record.check_data(datasets[key])
    session.datasets = datasets
    record.sources = sources(session.study.experiment)
    tasks = session.study.experiment.data_tasks()
    for key, dataset in datasets.items():
        card = data_card(tasks[key], dataset)
        record.metadata[key] = dataset.metadata | {
            "examples": example_shapes(dataset),
            "trivial_score": best_trivial_score(tasks[key], card["trivial"]),
            "card": card,
            "file_stamp": file_stamp(tasks[key]),
        }
        for line in describe_briefly(card):
            session.say(line)
    here = [provenance.identity(dataset.fingerprint, "") for dataset in datasets.values()]
    mine = {"identities": here, "sources": record.sources}
    differs = int(broadcast(lambda: mine, PROVENANCE) != mine)
    if processes.all_reduce_max(differs):  # all processes end: the main one would wait for them
        raise EnvironmentProblem(
            "the processes have other versions, devices or data than the first one: their bits "
            "would not be those of one run"
        )
    entry = {"started": now(), **provenance.session_provenance()}
    record.sessions.append(entry)
    session.save_record()
    session.started = time.perf_counter()
    try:
        yield entry
    finally:
        entry["ended"] = now()
        session.record_seconds()
        session.save_record()


def now() -> str:
    """Returns the time, as ISO 8601 has it, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
