"""An open run: its directory, locked, and what happens to its record while it trains."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.results import Result, Segment
from lstm_jax.config.search import Round, Study
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.runs import checkpoints, provenance
from lstm_jax.runs.directory import Lock
from lstm_jax.runs.evaluation import parameters_of
from lstm_jax.runs.metrics_file import append_metrics, replace_metrics
from lstm_jax.runs.progress import say
from lstm_jax.runs.record import Record, read_record
from lstm_jax.runs.tensorboard import Scalars
from lstm_jax.train import distributed
from lstm_jax.train.sweep import Datasets


@dataclass
class RunSession:
    """A locked run directory and what is going on in it.

    Without a lock nothing is written: another process of the same program leads.
    """

    record: Record
    directory: Path
    console: Console
    lock: Lock | None
    checkpoint_every: int
    # Digests of those under which this process trains, by the key of the data.
    identities: dict[str, str] = field(default_factory=dict)
    scalars: Scalars | None = None
    callback: Callable[[Segment], object] | None = None  # hears of each segment once it is saved

    @property
    def study(self) -> Study:
        return self.record.study

    def say(self, line: str) -> None:
        say(self.console, line)

    def next_round(self) -> Round | None:
        return self.study.next_round(self.record.scores)

    def log(self, rows: list[dict[str, Any]]) -> None:
        """Writes a segment's rows of metrics."""
        if self.lock is None:
            return
        self.lock.still_ours()
        append_metrics(self.directory, rows)
        if self.scalars:
            self.scalars.write(rows)

    def replace_rows(self, rows: dict[str, list[dict[str, Any]]]) -> None:
        """Writes members' rows of metrics, by digest, in place of those that are there of them."""
        replace_metrics(self.directory, rows, self.say)
        if self.scalars:
            self.scalars.write_whole(rows)

    def keep(self, members: Iterable[Experiment], saved: checkpoints.Saved) -> None:
        """Writes a checkpoint of members trained side by side."""
        if self.lock is not None:
            checkpoints.save(self.directory, tuple(member.digest for member in members), saved)

    def save(self) -> None:
        """Writes the record, unless the directory was moved away under this process."""
        if self.lock is not None:
            self.lock.still_ours()
            self.record.write(self.directory)

    def note_rung(self, results: Iterable[Result]) -> None:
        """Puts members on record that stand at a rung."""
        for result in results:
            self.record.rungs.setdefault(result.steps, {})[result.member.digest] = result
        self.save()

    def decide(self) -> None:
        """Puts on record, rung by rung, which members go on and which are dropped."""
        for each, going_on in self.study.finished_rungs(self.record.scores):
            rung = self.record.rungs[each.until]
            if all(row.dropped is not None for row in rung.values()):
                continue
            kept = {member.digest for member in going_on}
            for digest, row in rung.items():
                rung[digest] = replace(row, dropped=digest not in kept)
            self.save()
            self.say(
                f"rung at step {each.until}: {len(kept)} members go on, "
                f"{len(rung) - len(kept)} dropped"
            )

    def states(self, digests: Iterable[str]) -> dict[str, checkpoints.Saved]:
        """Returns the newest state of each member that is whole and may be gone on from.

        A state of a member's last step whose parameters are not those on record may not.
        """
        saved = checkpoints.load(self.directory, digests, self.say)
        return {digest: one for digest, one in saved.items() if self._may_go_on(digest, one)}

    def _may_go_on(self, digest: str, saved: checkpoints.Saved) -> bool:
        result = self.record.results.get(digest)
        if result is None or saved.step < result.steps:
            return True
        found = checkpoints.fingerprint(parameters_of(saved.arrays))
        return found == result.parameters_sha256

    def distrust(self) -> None:
        """Marks finished members, to be trained again, whose parameters on record are not there.

        Members that were taken over lie in another directory.
        """
        results = self.record.results
        own = [digest for digest, result in results.items() if result.reused_from is None]
        saved = self.states(own)
        for digest in own:
            if digest not in saved or saved[digest].step < results[digest].steps:
                self.record.distrusted.add(digest)
                self.say(f"member {digest} is finished, but its checkpoint is lost or not its own")


def open_session(
    name: str, study: Study, directory: Path, console: Console, lock: Lock, checkpoint_every: int
) -> RunSession:
    """Returns the run as the directory holds it, or a new one."""
    record = read_record(directory)
    if record is None:
        record = Record(name, study)
    elif record.study != study:
        changed = record.study.experiment.differences(study.experiment) or "its search"
        raise UserError(
            f"{directory} was begun as another experiment ({changed}); move it away to start anew"
        )
    return RunSession(record, directory, console, lock, checkpoint_every)


@contextmanager
def session(current: RunSession, datasets: Datasets) -> Iterator[dict[str, Any]]:
    """Keeps an entry of the record for this process, closed with its time however it spec.

    Raises EnvironmentProblem where the data is not that under which the run began.
    """
    record = current.record
    for key in record.metadata.keys() & datasets.keys():
        record.expect_data(datasets[key])
    libraries = ["optuna"] if current.study.search.method == "tpe" else []
    for key, dataset in datasets.items():
        identity = provenance.identity(dataset.fingerprint, libraries)
        digest = current.identities[key] = provenance.digest(identity)
        if digest not in record.identities:
            before = [i for i in record.identities.values() if i["data"] == dataset.fingerprint]
            for line in provenance.changed(before[-1], identity) if before else ():
                current.say(f"note: since this run began {line}: its bits may differ")
        record.identities[digest] = identity
        record.metadata[key] = dataset.metadata
    differs = distributed.broadcast_from_main(lambda: current.identities) != current.identities
    if distributed.all_reduce_max(int(differs)):  # all end: the first would wait for the others
        raise EnvironmentProblem(
            "the processes have other versions, devices or data than the first one: their bits "
            "would not be those of one run"
        )
    entry = {"started": now(), **provenance.session_provenance()}
    record.sessions.append(entry)
    current.save()
    clock = time.perf_counter()
    try:
        yield entry
    finally:
        entry |= {"ended": now(), "seconds": round(time.perf_counter() - clock, 3)}
        current.save()


def now() -> str:
    """Returns the time, as ISO 8601 has it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
