"""The record of a run: its study, what is finished, what the numbers depended on."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.search import Study
from lstm_jax.data.dataset import Dataset
from lstm_jax.errors import EnvironmentProblem, UserError, did_you_mean
from lstm_jax.plugins import is_file_attribute
from lstm_jax.runs import results
from lstm_jax.runs.directory import LARGEST_JSON, damaged, read_json, sealed, write_json
from lstm_jax.runs.files import read_bytes, refusal
from lstm_jax.runs.results import Result
from lstm_jax.tasks import get_task

SEAL = "record.sha256"  # in the report's folder
DIGEST = re.compile("[0-9a-f]{12}")
NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
RUN = re.compile("[0-9a-f]{12}(-[0-9]+-of-[0-9]+)?")  # a run directory, or that of a shard
SCHEMA = {
    "name": str,
    "experiment": dict,
    "search": dict,
    "shard?": str,
    "data": {str: dict},
    "identities": {str: dict},
    "sessions": [dict],
    "members": {str: results.SCHEMA},
    "rungs": {str: {str: results.SCHEMA}},
    "sha256": str,
}


@dataclass
class Record:
    """What `record.json` holds."""

    name: str
    study: Study
    # What a model needs to know of its data, by the key of the data.
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)
    identities: dict[str, Any] = field(default_factory=dict)  # by the digest that results name
    sessions: list[dict[str, Any]] = field(default_factory=list)
    results: dict[str, Result] = field(default_factory=dict)  # finished members, by digest
    # Of a halving, by step and digest: how members stood there, and whether they were dropped.
    rungs: dict[int, dict[str, Result]] = field(default_factory=dict)
    # Finished members that are to be trained again; they stay on record until they were.
    distrusted: set[str] = field(default_factory=set, compare=False)

    @property
    def began(self) -> str:
        """When it was last begun or gone on with, ISO 8601 in UTC; empty where it never was."""
        return str(self.sessions[-1].get("started", "")) if self.sessions else ""

    @property
    def scores(self) -> dict[tuple[str, int], float]:
        """What the search goes by: how each member stood at each step it was scored at."""
        rows = [row for rung in self.rungs.values() for row in rung.values()]
        rows += [row for digest, row in self.results.items() if digest not in self.distrusted]
        return {(row.member.digest, row.steps): row.rank for row in rows}

    @property
    def dropped(self) -> list[Result]:
        """Members that a halving dropped, as they stood then."""
        return [row for rung in self.rungs.values() for row in rung.values() if row.dropped]

    @property
    def num_done(self) -> int:
        """The number of members that are finished or dropped."""
        return len(self.results) - len(self.distrusted) + len(self.dropped)

    @property
    def is_finished(self) -> bool:
        """Whether nothing of the run is left to train."""
        try:
            return self.study.next_round(self.scores) is None
        except EnvironmentProblem:  # without Optuna nobody knows its next trials
            return self.num_done >= self.study.num_members

    @property
    def num_members(self) -> int:
        """The number of all members, trained, dropped or still to train.

        Two trials of `tpe` may choose the same setting: until it is finished, this is the most that
        there can be.
        """
        if self.study.search.method == "tpe" and self.is_finished:
            return self.num_done
        return self.study.num_members

    def steps_done(self) -> dict[str, int]:
        """Returns the last step at which each member was scored, by digest."""
        return dict(sorted(self.scores, key=lambda key: key[1]))

    def metadata_of(self, member: Experiment) -> dict[str, Any]:
        """Returns what a member's model needs to know of its data."""
        if member.task.data_key not in self.metadata:
            raise EnvironmentProblem(f"the record knows no data with {member.task.data_key}")
        return self.metadata[member.task.data_key]

    def expect_data(self, dataset: Dataset) -> None:
        """Raises EnvironmentProblem where the run knows none of such a fingerprint: it was trained
        on other data.
        """
        known = [identity.get("data") for identity in self.identities.values()]
        if known and dataset.fingerprint not in known:
            raise EnvironmentProblem(
                f"{dataset.name} is not the data that this run was trained on: it has changed "
                "since. Put it back, or move the run directory away to start anew"
            )

    def write(self, directory: Path) -> None:
        """Writes the record, sealed, its members in the order of the study.

        So it is the same in whatever order, and by how many processes, they were trained.
        """
        experiment = self.study.experiment
        # What tpe chooses comes in its order.
        known = () if self.study.search.method == "tpe" else self.study.members()
        order = {member.digest: place for place, member in enumerate(known)}

        def in_order(rows: dict[str, Result]) -> dict[str, Result]:
            return dict(sorted(rows.items(), key=lambda row: order.get(row[0], len(order))))

        self.results = in_order(self.results)
        self.rungs = {step: in_order(rung) for step, rung in self.rungs.items()}

        def listed(rows: dict[str, Result]) -> dict[str, Any]:
            return {digest: row.to_values(experiment) for digest, row in rows.items()}

        value = {
            "name": self.name,
            **self.study.to_values(),
            "data": self.metadata,
            "identities": self.identities,
            "sessions": self.sessions,
            "members": listed(self.results),
            "rungs": {str(step): listed(rung) for step, rung in self.rungs.items()},
        }
        write_json(directory / "record.json", sealed(value))


def run_directory(runs_dir: Path, name: str, study: Study) -> Path:
    """Returns where the run of a study, or of a shard of one, lies."""
    return runs_dir / name / (study.digest + (study.shard.suffix if study.shard else ""))


def is_shard(directory: Path) -> bool:
    """Returns whether a run directory is that of a shard."""
    return not DIGEST.fullmatch(directory.name)


def run_directories(runs_dir: Path, name: str | None = None, *, shards: bool = False) -> list[Path]:
    """Returns the run directories in `runs_dir`, or those of one name; those of shards if wanted."""
    homes = [runs_dir / name] if name else sorted(runs_dir.glob("*"))
    found = [path for home in homes if home.is_dir() for path in sorted(home.iterdir())]
    named = RUN if shards else DIGEST
    return [path for path in found if named.fullmatch(path.name) and path.is_dir()]


def began(directory: Path) -> tuple[str, str]:
    """Returns when a run was last begun or gone on with, and its digest, to sort runs by."""
    try:
        record = read_record(directory)
    except EnvironmentProblem:
        record = None
    return record.began if record else "", directory.name


def seal(directory: Path) -> str:
    """Returns the SHA-256 of the record's file, as `sha256sum -c` reads it in the report's folder.

    A report carries it: that tells whether it is of the record as it stands, and no clock does.
    """
    content = read_bytes(directory / "record.json", LARGEST_JSON) or b""
    return f"{hashlib.sha256(content).hexdigest()}  ../record.json\n"


def is_reported(directory: Path) -> bool:
    """Returns whether there is a report of the record as it stands."""
    noted = read_bytes(directory / "report" / SEAL, 1000)
    page = directory / "report" / "index.html"
    return page.is_file() and noted == seal(directory).encode()


def read_run(directory: Path) -> Record:
    """Returns the record of a run, finished or not. UserError when the directory is none."""
    record = read_record(directory)
    if record is None:
        raise UserError(f"{directory} is no run: it has no record.json; give runs/<name>/<digest>")
    return record


def read_record(directory: Path) -> Record | None:
    """Returns the record of a run directory, or None where there is none yet.

    Raises EnvironmentProblem when it is damaged.
    """
    path = directory / "record.json"
    value = read_json(path, SCHEMA)
    if value is None:
        return None
    if value != sealed(value):
        raise damaged(path, "its seal does not fit its contents")
    task = value["experiment"].get("task")
    if isinstance(task, str) and is_file_attribute(task):
        try:
            get_task(task)
        except UserError as error:  # nothing is damaged: a file of the user's is elsewhere
            raise refusal(
                f"{path}: {error}; a task in a file of one's own is found from the folder in which "
                "it was run"
            ) from error
    try:
        known = {key: value[key] for key in ("experiment", "search", "shard") if key in value}
        study = Study.from_values(known)
        return Record(
            value["name"], study, value["data"], value["identities"], value["sessions"],
            _results(study.experiment, value["members"]),
            {int(s): _results(study.experiment, rows) for s, rows in value["rungs"].items()},
        )  # fmt: skip
    except (UserError, ValueError, KeyError, TypeError) as error:
        raise damaged(path, error) from error


def _results(experiment: Experiment, rows: dict[str, Any]) -> dict[str, Result]:
    """Raises ValueError where a row is not that of the member it is filed under."""
    found = {}
    for digest, row in rows.items():
        if row["member"].keys() != experiment.axes.keys():
            raise ValueError(f"member {digest} has other fields than the experiment varies")
        result = Result.from_values(experiment, row)
        if result.member.digest != digest:
            raise ValueError(f"the values of member {digest} are not its own")
        if not DIGEST.fullmatch(result.reused_from or digest):
            raise ValueError(f"member {digest} was taken from no sibling directory")
        found[digest] = result
    return found


def digest_with_prefix(start: str, digests: Iterable[str]) -> str:
    """Returns the one digest that begins so. UserError when there is none or more than one."""
    known = sorted(digests)
    matching = [digest for digest in known if digest.startswith(start)]
    if len(matching) != 1:
        raise UserError(
            f"member: {len(matching)} members begin with {start!r}; there are "
            f"{', '.join(known[:5])}{' ...' if len(known) > 5 else ''}"
        )
    return matching[0]


def find_member(record: Record, digest: str) -> Experiment:
    """Returns the member of this digest, finished or not."""
    for rows in (record.results, *record.rungs.values()):
        if digest in rows:
            return rows[digest].member
    for member in record.study.members():
        if member.digest == digest:
            return member
    raise UserError(f"member {digest} of a search is not finished: resume the run first")


def find_run(named: str | Path, runs_dir: Path = Path("runs")) -> Path:
    """Returns the directory of a run: given by its path, as `NAME` or `latest` (the run that began
    last), or as `NAME/begin-of-digest`. What is a `Path` is returned as it is.

    Raises UserError when there is none, or more than one.
    """
    if isinstance(named, Path):
        return named
    path, word = Path(named), named
    if (path / "record.json").exists():
        return path
    if word == "latest" or NAME.fullmatch(word):
        found = run_directories(runs_dir, None if word == "latest" else word)
        if found:  # the record of a large run takes seconds to read
            return max(found, key=began) if len(found) > 1 else found[0]
    elif match := re.fullmatch(rf"({NAME.pattern})/([0-9a-f]{{1,12}})(-[0-9]+-of-[0-9]+)?", word):
        name, start, end = match[1], match[2], match[3] or ""
        named_so = run_directories(runs_dir, name, shards=bool(end))
        found = [run for run in named_so if run.name.startswith(start) and run.name[12:] == end]
        if len(found) > 1:
            names = ", ".join(f"{name}/{run.name}" for run in found[:5])
            raise UserError(f"{len(found)} runs begin with {word}: {names}")
        if found:
            return found[0]
    if word and path.is_dir():
        return path
    known = {run.parent.name for run in run_directories(runs_dir)}
    raise UserError(
        f"{word} is no directory and names no run in {runs_dir}.{did_you_mean(word, known)} "
        "Give a run directory, NAME, NAME/begin-of-digest or latest; `lstm-jax list` shows them"
    )
