"""An open run and its record: what is finished, what is taken over, what the numbers depend on."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from lstm_jax.runs import environment
from lstm_jax.runs import store
from lstm_jax.errors import SurroundingsError, UserError
from lstm_jax.experiment import AXES, Experiment, Member
from lstm_jax.data.load import Dataset
from lstm_jax.runs.screen import say
from lstm_jax.search import Round, finished_rungs, next_round
from lstm_jax.runs.tensorboard import Scalars

# What the record holds of a finished member; see `runner._finish`.
RESULT = {
    *("hidden_size", "learning_rate", "seed", "steps", "diverged_at", "parameters_sha256"),
    *("identity", "validation_accuracy", "test_accuracy"),
}
NUMBERS = {"hidden_size", "learning_rate", "seed", "steps", "validation_accuracy"}
RUNG = {*NUMBERS, "diverged_at"}


@dataclass
class Run:
    """An open, locked run directory and what is going on in it."""

    experiment: Experiment
    directory: Path
    record: dict[str, Any]
    console: Console
    segment_steps: int
    scalars: Scalars | None = None

    def say(self, line: str) -> None:
        say(self.console, line)

    def digest(self, member: Member) -> str:
        return self.experiment.solo(member).digest

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """Of the finished members, by their digests."""
        return self.record["members"]

    @property
    def _rungs(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Of a halving: by step and digest, how members stood there and who was dropped."""
        return self.record["rungs"]

    @property
    def scores(self) -> dict[tuple[Member, int], float]:
        """Validation accuracies so far: at the rungs of a halving, and of the finished members."""
        return {
            (Member(*(row[axis] for axis in AXES)), row["steps"]): (
                row["validation_accuracy"] if row["diverged_at"] is None else 0.0
            )
            for rows in (*self._rungs.values(), self.results)
            for row in rows.values()
        }

    def steps_scored(self) -> dict[Member, int]:
        """The last step at which each member was scored."""
        return dict(sorted(self.scores, key=lambda key: key[1]))

    @property
    def dropped(self) -> list[dict[str, Any]]:
        """Members that a halving dropped, as they stood then."""
        return [
            {**row, "dropped_at": row["steps"]}
            for rows in self._rungs.values()
            for row in rows.values()
            if row.get("dropped")
        ]

    @property
    def members_done(self) -> int:
        return len(self.results) + len(self.dropped)

    def next_round(self) -> Round | None:
        return next_round(self.experiment, self.scores)

    def log(self, rows: list[dict[str, Any]]) -> None:
        """Rows of metrics of a segment."""
        store.append_metrics(self.directory, rows)
        if self.scalars:
            self.scalars.write(rows)

    def note_data(self, dataset: Dataset) -> None:
        """Puts on record what a model needs to know of its images."""
        self.record["data"] = {
            "image_shape": list(dataset.image_shape),
            "features": dataset.train.images.shape[2],  # of a step of reading
            "classes": dataset.num_classes,
        }

    def note_rung(self, step: int, rows: dict[str, dict[str, Any]]) -> None:
        """Members that stand at a rung, by their digests, with their accuracies there."""
        self._rungs.setdefault(str(step), {}).update(rows)
        self.save_record()

    def decide(self) -> None:
        """Puts on record, rung by rung, which members go on and which are dropped."""
        for found, going_on in finished_rungs(self.experiment, self.scores):
            rows = self._rungs[str(found.until)]
            if all("dropped" in row for row in rows.values()):
                continue
            kept = {self.digest(member) for member in going_on}
            for digest, row in rows.items():
                row["dropped"] = digest not in kept
            self.save_record()
            self.say(
                f"rung at step {found.until}: {len(kept)} members go on, "
                f"{len(rows) - len(kept)} dropped"
            )

    def save_record(self) -> None:
        store.write_json(self.directory / "record.json", store.sealed(self.record))


def run_directory(runs_dir: Path, name: str, experiment: Experiment) -> Path:
    return runs_dir / name / experiment.digest


def open_run(
    name: str, experiment: Experiment, directory: Path, console: Console, segment_steps: int
) -> Run:
    """The run as the directory holds it, or a new one."""
    record = read_record(directory)
    if record is None:
        record = {"name": name, "experiment": asdict(experiment), "sessions": [], "members": {}}
        record |= {"rungs": {}, "data": {}}
    elif changed := kept_experiment(directory, record).differences(experiment):
        raise UserError(
            f"{directory} was begun as another experiment ({changed}); move it away to start anew"
        )
    return Run(experiment, directory, record, console, segment_steps)


def read_run(directory: Path) -> tuple[Experiment, dict[str, Any]]:
    """The experiment and the record of a run, finished or not. UserError when it is none."""
    record = read_record(directory)
    if record is None:
        raise UserError(f"{directory} is no run: it has no record.json; give runs/<name>/<digest>")
    return kept_experiment(directory, record), record


def read_record(directory: Path) -> dict[str, Any] | None:
    """The record of a run directory, or None where there is none yet."""
    record = store.read_json(directory / "record.json")
    if record is None:
        return None
    members = record.get("members") if isinstance(record, dict) else None
    if (
        not isinstance(members, dict)
        or not isinstance(record.get("sessions"), list)
        or not all(_is_row(member, RESULT) for member in members.values())
        or not isinstance(rungs := record.get("rungs", {}), dict)
        or not all(isinstance(rows, dict) for rows in rungs.values())
        or not all(_is_row(row, RUNG) for rows in rungs.values() for row in rows.values())
    ):
        raise _damaged(directory / "record.json", "it is no record")
    if record != store.sealed(record):
        raise _damaged(directory / "record.json", "its seal does not fit its contents")
    record.setdefault("rungs", {})  # those of a halving; see `Run`
    record.setdefault("data", {})  # see `Run.note_data`
    return record


def _is_row(row: Any, names: set[str]) -> bool:
    return (
        isinstance(row, dict)
        and row.keys() >= names
        and all(isinstance(row[name], (int, float)) for name in NUMBERS)
    )


def beginning_with(start: str, digests: Iterable[str]) -> str:
    """The one digest that begins so. UserError when there is none or more than one."""
    known = sorted(digests)
    found = [digest for digest in known if digest.startswith(start)]
    if len(found) != 1:
        raise UserError(
            f"member: {len(found)} members begin with {start!r}; there are "
            f"{', '.join(known[:5])}{' ...' if len(known) > 5 else ''}"
        )
    return found[0]


def kept_experiment(directory: Path, record: dict[str, Any]) -> Experiment:
    """The experiment that a run was begun as."""
    try:
        return Experiment.from_values(record.get("experiment"))
    except UserError as error:
        raise _damaged(directory / "record.json", str(error)) from error


def _damaged(path: Path, why: str) -> SurroundingsError:
    return SurroundingsError(
        f"{path} is damaged ({why}); move the run directory away to start anew"
    )


def take_over(current: Run, identity: dict[str, Any], members: Iterable[Member]) -> list[Member]:
    """Members that a sibling directory finished under the same identity are not trained again.

    Returns them. A halving takes none: it needs its members' accuracies at the rungs.
    """
    if current.experiment.halving:
        return []
    wanted = {current.digest(m): m for m in members if current.digest(m) not in current.results}
    for path in sorted(current.directory.parent.glob("*/record.json")):
        if path.parent == current.directory:
            continue
        try:
            other = read_record(path.parent) or {"members": {}}
        except SurroundingsError as error:
            current.say(f"nothing is taken over: {error}")
            continue
        taken = {
            digest: result | {"from": result.get("from") or path.parent.name}
            for digest, result in other["members"].items()
            if digest in wanted.keys() - current.results.keys()
            and result["identity"] == environment.digest(identity)
        }
        if not taken:
            continue
        rows = [row for row in store.read_metrics(path.parent) if row["member"] in taken]
        store.trim_metrics(current.directory, dict.fromkeys(taken, 0))
        current.log(rows)
        current.results.update(taken)
        current.save_record()
        count = "1 member was" if len(taken) == 1 else f"{len(taken)} members were"
        current.say(f"{count} finished in {path.parent}: taken over from there")
    return [member for digest, member in wanted.items() if digest in current.results]


@contextmanager
def session(current: Run, identity: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """An entry of the record for this process, closed with its time however it ends."""
    before = current.record.get("identity", identity)
    if changed := [key for key in identity if identity[key] != before.get(key)]:
        current.say(
            f"note: {', '.join(changed)} changed since this run began: its bits may differ from "
            "those of a run made in one go"
        )
    entry = {"started": now(), **environment.circumstances()}
    current.record["identity"] = identity
    current.record["sessions"].append(entry)
    current.save_record()
    clock = time.perf_counter()
    try:
        yield entry
    finally:
        entry |= {"ended": now(), "seconds": round(time.perf_counter() - clock, 3)}
        current.save_record()


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
