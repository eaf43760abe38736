"""A run that is open: its directory, locked, and its record while members train."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.search import Round, Study
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.runs import checkpoints, provenance
from lstm_jax.runs.directory import Lock, locked
from lstm_jax.runs.evaluation import result_parameters
from lstm_jax.runs.metrics_file import append_metrics, replace_metrics
from lstm_jax.runs.progress import say
from lstm_jax.runs.record import Record, read_record
from lstm_jax.runs.results import Result, Segment
from lstm_jax.runs.tensorboard import TensorBoardWriter
from lstm_jax.train import distributed
from lstm_jax.train.sweep import Datasets


@dataclass
class RunSession:
    """A run directory and its record.

    Without a lock it writes nothing: then another process of the same run is the main one.
    """

    record: Record
    directory: Path
    console: Console
    lock: Lock | None
    checkpoint_every: int
    # Digests of the identities under which this process trains, by the key of the data.
    identities: dict[str, str] = field(default_factory=dict)
    tensorboard: TensorBoardWriter | None = None
    callback: Callable[[Segment], object] | None = None  # is called with each saved segment

    @property
    def study(self) -> Study:
        return self.record.study

    def say(self, line: str) -> None:
        """Prints a line for the user."""
        say(self.console, line)

    def next_round(self) -> Round | None:
        """Returns the next members to train; None when the run is finished."""
        return self.study.next_round(self.record.scores)

    def log(self, rows: list[dict[str, Any]]) -> None:
        """Writes a segment's rows of metrics."""
        if self.lock is None:
            return
        self.lock.check()
        append_metrics(self.directory, rows)
        if self.tensorboard:
            self.tensorboard.write(rows)

    def replace_rows(self, rows: dict[str, list[dict[str, Any]]]) -> None:
        """Writes members' rows of metrics, by digest, in place of their rows on disk."""
        replace_metrics(self.directory, rows, self.say)
        if self.tensorboard:
            self.tensorboard.replace_rows(rows)

    def save_checkpoint(self, members: Iterable[Experiment], saved: checkpoints.Saved) -> None:
        """Writes a checkpoint of members that train side by side."""
        if self.lock is not None:
            checkpoints.save(self.directory, tuple(member.digest for member in members), saved)

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
        if self.tensorboard:
            self.tensorboard.write_results(finished.values())

    def decide_rungs(self) -> None:
        """Records, rung by rung, which members go on and which are dropped."""
        for rung_round, going_on in self.study.finished_rungs(self.record.scores):
            rung = self.record.rungs[rung_round.until]
            if all(result.dropped is not None for result in rung.values()):
                continue
            kept = {member.digest for member in going_on}
            for digest, result in rung.items():
                rung[digest] = replace(result, dropped=digest not in kept)
            self.save_record()
            self.say(
                f"rung at step {rung_round.until}: {len(kept)} members go on, "
                f"{len(rung) - len(kept)} dropped"
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


@contextmanager
def open_session(
    name: str, study: Study, directory: Path, console: Console, checkpoint_every: int
) -> Iterator[RunSession]:
    """Yields the run of a directory, which the main process locks while the block runs.

    The other processes begin with an empty record, and are told what is left to train. Raises
    UserError where the directory holds the run of another study.
    """
    if not distributed.is_main_process():
        yield RunSession(Record(name, study), directory, console, None, checkpoint_every)
        return
    with locked(directory, partial(say, console) if study.shard else None) as lock:
        record = read_record(directory) or Record(name, study)
        sizes = [s.experiment.data_sizes for s in (record.study, study)]
        if sizes[0] != sizes[1]:
            raise EnvironmentProblem(
                f"{directory} was trained on other data: the numbers of training examples were "
                f"{[n for _, n in sizes[0]]} and are now {[n for _, n in sizes[1]]}. Put the data "
                "back, or move the run directory away to start anew"
            )
        if record.study != study:
            changed = record.study.experiment.differences(study.experiment) or "its search"
            raise UserError(
                f"{directory} was begun as another experiment ({changed}); move it away to start "
                "anew"
            )
        session = RunSession(record, directory, console, lock, checkpoint_every)
        session.distrust_lost()
        yield session


@contextmanager
def record_session(session: RunSession, datasets: Datasets) -> Iterator[dict[str, Any]]:
    """Keeps an entry of the record for this process; closes it with the time, however it ends.

    Raises EnvironmentProblem where the data has changed since the run began.
    """
    record = session.record
    for key in record.metadata.keys() & datasets.keys():
        record.check_data(datasets[key])
    libraries = ["optuna"] if session.study.search.method == "tpe" else []
    for key, dataset in datasets.items():
        identity = provenance.identity(dataset.fingerprint, libraries)
        digest = session.identities[key] = provenance.digest(identity)
        if digest not in record.identities:
            before = [i for i in record.identities.values() if i["data"] == dataset.fingerprint]
            for line in provenance.changed(before[-1], identity) if before else ():
                session.say(f"note: since this run began {line}: its bits may differ")
        record.identities[digest] = identity
        record.metadata[key] = dataset.metadata
    main_identities = distributed.broadcast_from_main(lambda: session.identities)
    differs = int(main_identities != session.identities)
    if distributed.all_reduce_max(differs):  # all processes end: the main one would wait for them
        raise EnvironmentProblem(
            "the processes have other versions, devices or data than the first one: their bits "
            "would not be those of one run"
        )
    entry = {"started": now(), **provenance.session_provenance()}
    record.sessions.append(entry)
    session.save_record()
    clock = time.perf_counter()
    try:
        yield entry
    finally:
        entry |= {"ended": now(), "seconds": round(time.perf_counter() - clock, 3)}
        session.save_record()


def now() -> str:
    """Returns the time, as ISO 8601 has it, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
