"""The record of a run: its study, its finished members, and what their numbers depended on."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lstm_jax
from lstm_jax import stand_ins
from lstm_jax.config.experiment import Experiment
from lstm_jax.config.search import Position, Study
from lstm_jax.data.dataset import Dataset
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.plugins import is_file_attribute
from lstm_jax.runs import results
from lstm_jax.runs.files import problem, read_bytes
from lstm_jax.runs.json_files import (
    MAX_JSON_BYTES,
    check,
    damaged,
    read_json,
    with_checksum,
    write_json,
)
from lstm_jax.runs.results import Result

RECORD_CHECKSUM = "record.sha256"  # a file of the report: the record that it is made of
DIGEST = re.compile("[0-9a-f]{12}")
# A run directory; that of a shard; one whose code has changed since.
RUN = re.compile("[0-9a-f]{12}(-[0-9]+-of-[0-9]+|-old-[0-9]+)?")
CARD = {  # of `data_card.data_card`
    "name": str,
    "source": str,
    "examples": [(range(2**63), None)],
    "classes": {str: [range(2**63)]},
    "num_classes": range(2**63),
    "arrays": {str: str},
    "metric": str,
    "trivial": {str: (float, None)},
    **{name: [str] for name in ("facts", "shown", "notes", "warnings")},
}
ORIGIN = {  # of the parameters with which a member begins: `begin_with.find_origins`
    "run": re.compile(rf"[A-Za-z0-9_-]{{1,100}}/{RUN.pattern}"),
    "member": DIGEST,
    "identity": str,
    "parameters_sha256": re.compile("[0-9a-f]{64}"),
}
SCHEMA = {
    "version?": str,  # of lstm_jax; 0.2.0 was written without it during its development
    "name": str,
    "note?": str,  # of the user, not a part of any digest
    "experiment": dict,
    "search": dict,
    "shard?": str,
    "metadata": {str: {"card?": CARD}},
    "components?": {str: stand_ins.SCHEMA},  # those in users' files, by their names
    "identities": {str: dict},
    "sources": {str: str},
    "sessions": [dict],
    "begin_with?": {str: ORIGIN},
    "members": {str: results.SCHEMA},
    "rungs": {str: {str: results.SCHEMA}},
    "batches_begun?": range(2**63),
    "sha256": str,
}


@dataclass
class Record:
    """The content of `record.json`."""

    name: str
    study: Study
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)  # of data, by the data's key
    identities: dict[str, Any] = field(default_factory=dict)  # by the digest that results name
    sessions: list[dict[str, Any]] = field(default_factory=list)
    results: dict[str, Result] = field(default_factory=dict)  # finished members, by digest
    # Of halving, by step and digest: the score of each member, and whether it was dropped.
    rungs: dict[int, dict[str, Result]] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)  # SHA-256 of files of code: `code.py`
    # The member of another run whose parameters start a member, by the member's digest.
    begin_with: dict[str, dict[str, str]] = field(default_factory=dict)
    note: str = ""  # what the user wrote down about the run; decides no number
    batches_begun: int = 0  # of a search with a budget in minutes; they are trained to their end
    # Finished members to be trained again. Their results stay on record until then.
    distrusted: set[str] = field(default_factory=set, compare=False)

    @property
    def last_started(self) -> str:
        """The start of the last session, ISO 8601 in UTC; empty if there was none."""
        return str(self.sessions[-1].get("started", "")) if self.sessions else ""

    @property
    def scores(self) -> dict[tuple[str, int], float]:
        """The rank of each member at each step it was scored at, which guides the search.

        A finished member has the rank of its last step, also where it was stopped before.
        """
        rungs = [row for rung in self.rungs.values() for row in rung.values()]
        finished = [row for digest, row in self.results.items() if digest not in self.distrusted]
        ranks = {(row.member.digest, row.steps): row.rank for row in rungs}
        return ranks | {(row.member.digest, row.member.num_steps): row.rank for row in finished}

    @property
    def dropped(self) -> list[Result]:
        """The members that halving dropped, each with its score at that time."""
        return [row for rung in self.rungs.values() for row in rung.values() if row.dropped]

    @property
    def num_done(self) -> int:
        """The number of members that are finished or dropped."""
        return len(self.results) - len(self.distrusted) + len(self.dropped)

    @property
    def session_seconds(self) -> float:
        """The seconds on the clock of all sessions, without those of runs that were joined."""
        return sum(each.get("seconds", 0.0) for each in self.sessions if "in" not in each)

    def position(self) -> Position:
        """Returns how far the run is: a function of what is on record."""
        return self.study.position(self.scores, self.session_seconds, self.batches_begun)

    def stopped_by_budget(self) -> str:
        """Returns how far a search came that its budget in minutes ended before all its trials.

        The text is empty where no budget ended the run.
        """
        minutes, num_settings = self.study.search.search_minutes, self.study.num_settings
        if minutes is None:
            return ""
        try:
            next_round, _, num_tried = self.position()
        except EnvironmentProblem:  # as in `is_finished`
            return ""
        if next_round is not None or num_tried == num_settings:
            return ""
        of = f"{num_tried} of {num_settings} settings"
        return f"stopped by its budget of {minutes:g} minutes after {of}"

    @property
    def is_finished(self) -> bool:
        """Whether the run has nothing left to train."""
        try:
            return self.position().next_round is None
        except EnvironmentProblem:  # Optuna, which chooses the next trials, is not installed
            return self.num_done >= self.study.num_members

    @property
    def num_members(self) -> int:
        """The number of all members, whether trained, dropped or still to train.

        Two trials of `tpe` may choose the same setting, and a budget in minutes may end a search:
        until the run is finished, this is the largest possible number.
        """
        if self.study.search.in_batches and self.is_finished:
            return self.num_done
        return self.study.num_members

    def steps_done(self) -> dict[str, int]:
        """Returns the last step at which each member was scored, by digest."""
        return dict(sorted(self.scores, key=lambda key: key[1]))

    def metadata_of(self, member: Experiment) -> dict[str, Any]:
        """Returns the metadata of a member's data, which its model is built from."""
        if member.task.data_key not in self.metadata:
            raise EnvironmentProblem(f"the record has no data with {member.task.data_key}")
        return self.metadata[member.task.data_key]

    def trivial_score_of(self, member: Experiment) -> float | None:
        """Returns the test metric of the best answer to a member's data that needs no model.

        It is None where the task defines none, or in a record of an earlier version.
        """
        return self.metadata.get(member.task.data_key, {}).get("trivial_score")

    def begins_with(self, member: Experiment) -> str:
        """Returns the SHA-256 of the other run's parameters that start a member, or nothing."""
        return self.begin_with.get(member.digest, {}).get("parameters_sha256", "")

    def check_data(self, dataset: Dataset) -> None:
        """Raises EnvironmentProblem if the run was trained on other data."""
        fingerprints = [identity.get("data") for identity in self.identities.values()]
        if fingerprints and dataset.fingerprint not in fingerprints:
            raise EnvironmentProblem(
                f"{dataset.name} is not the data that this run was trained on: it has changed "
                "since. Put it back, or move the run directory away to start anew"
            )

    def find_member(self, digest: str) -> Experiment:
        """Returns the member with this digest. Raises UserError if there is none."""
        for rows in (self.results, *self.rungs.values()):
            if digest in rows:
                return rows[digest].member
        for member in self.study.members():
            if member.digest == digest:
                return member
        raise UserError(f"member {digest} of a search is not finished: resume the run first")

    def write(self, directory: Path) -> None:
        """Writes the record with its members in the order of the study.

        So it does not depend on the order in which they were trained, nor on how many processes
        trained them. Only the members of a `tpe` search stay in the order of its choices.
        """
        experiment = self.study.experiment
        members = () if self.study.search.method == "tpe" else self.study.members()
        order = {member.digest: index for index, member in enumerate(members)}

        def in_order(rows: dict[str, Result]) -> dict[str, Result]:
            return dict(sorted(rows.items(), key=lambda row: order.get(row[0], len(order))))

        def to_values(rows: dict[str, Result]) -> dict[str, Any]:
            return {digest: row.to_values(experiment) for digest, row in rows.items()}

        self.results = in_order(self.results)
        self.rungs = {step: in_order(rung) for step, rung in sorted(self.rungs.items())}
        described = {
            each.spec_string(): stand_ins.describe(type(each))
            for each in experiment.all_components()
            if is_file_attribute(each.spec_string())
        }
        value = {
            "version": lstm_jax.__version__,
            "name": self.name,
            **({"note": self.note} if self.note else {}),
            **self.study.to_values(),
            **({"components": described} if described else {}),
            "metadata": self.metadata,
            "identities": self.identities,
            "sources": self.sources,
            "sessions": self.sessions,
            **({"begin_with": self.begin_with} if self.begin_with else {}),
            "members": to_values(self.results),
            "rungs": {str(step): to_values(rung) for step, rung in self.rungs.items()},
            **({"batches_begun": self.batches_begun} if self.batches_begun else {}),
        }
        write_json(directory / "record.json", with_checksum(value))


def read_record(directory: Path, own: Experiment | None = None) -> Record | None:
    """Returns the record of a run directory, or None if there is none yet. Runs no code.

    A component in a user's file that this process has not loaded is a `StandIn`, unless `own`, an
    experiment of the user's, has one of the same name.
    Raises EnvironmentProblem if it is damaged, or if a later version of lstm_jax wrote it.
    """
    path = directory / "record.json"
    value = read_json(path, {str: object})
    if value is None:
        return None
    version = value.get("version")
    if _release(version) > _release(lstm_jax.__version__):  # its schema may be another one
        raise problem(
            f"{path} was written by a later version: lstm_jax {version}, and this is "
            f"{lstm_jax.__version__}; use that version"
        )
    try:
        check(value, SCHEMA)
    except ValueError as error:
        raise damaged(path, error) from None
    if value != with_checksum(value):
        raise damaged(path, "its checksum does not fit its content")
    own_classes = {each.name: type(each) for each in own.all_components()} if own else {}
    try:
        with stand_ins.reading_record(value.get("components", {}), own_classes):
            study = Study.from_values(
                {name: value[name] for name in ("experiment", "search", "shard") if name in value}
            )
            return Record(
                value["name"], study, value["metadata"], value["identities"], value["sessions"],
                _results(study.experiment, value["members"]),
                {int(s): _results(study.experiment, rows) for s, rows in value["rungs"].items()},
                value["sources"], value.get("begin_with", {}), value.get("note", ""),
                value.get("batches_begun", 0),
            )  # fmt: skip
    except (UserError, ValueError, KeyError, TypeError) as error:
        raise damaged(path, error) from error


def _release(version: object) -> tuple[int, ...]:
    """Returns the numbers of a version such as `0.2.0`; () for anything else."""
    if not isinstance(version, str):
        return ()
    match = re.match(r"([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})", version)
    return tuple(map(int, match.groups())) if match else ()


def _results(experiment: Experiment, rows: dict[str, Any]) -> dict[str, Result]:
    """Returns results by digest. Raises ValueError if a row belongs to another member."""
    by_digest = {}
    for digest, row in rows.items():
        result = Result.from_values(experiment, row)
        if result.member.digest != digest:
            raise ValueError(f"the values of member {digest} are those of another member")
        if not RUN.fullmatch(result.reused_from or digest):
            raise ValueError(f"member {digest} is reused from something that is not a run")
        by_digest[digest] = result
    return by_digest


def read_run(directory: Path, own: Experiment | None = None) -> Record:
    """Returns the record of a run, finished or not, as `read_record` does. Raises UserError if
    there is no record.
    """
    record = read_record(directory, own)
    if record is None:
        raise UserError(
            f"{directory} is not a run: it has no record.json; give runs/<name>/<digest>"
        )
    return record


def record_checksum(directory: Path) -> str:
    """Returns the SHA-256 of `record.json`, in the form that `sha256sum -c` reads.

    A report carries it, which tells whether the report was made of the record as it is now. A
    time stamp would not tell that.
    """
    content = read_bytes(directory / "record.json", MAX_JSON_BYTES) or b""
    return f"{hashlib.sha256(content).hexdigest()}  ../record.json\n"


def is_reported(directory: Path) -> bool:
    """Returns whether there is a report of the record as it is now."""
    report = directory / "report"
    checksum = read_bytes(report / RECORD_CHECKSUM, 1000)
    return (report / "index.html").is_file() and checksum == record_checksum(directory).encode()


def digest_with_prefix(prefix: str, digests: Iterable[str]) -> str:
    """Returns the only digest with this prefix. Raises UserError if there is none, or several."""
    known = sorted(digests)
    matching = [digest for digest in known if digest.startswith(prefix)]
    if len(matching) != 1:
        raise UserError(
            f"member: {len(matching)} members begin with {prefix!r}; there are "
            f"{', '.join(known[:5])}{' ...' if len(known) > 5 else ''}"
        )
    return matching[0]
