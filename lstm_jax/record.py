"""An open run and its record: what is finished, what is taken over, what the numbers depend on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from lstm_jax import environment, store
from lstm_jax.config import Experiment, Member, SurroundingsError, UserError
from lstm_jax.screen import say

# What the record holds of a finished member; see `runner._finish`.
RESULT = {
    *("hidden_size", "learning_rate", "seed", "steps", "diverged_at", "parameters_sha256"),
    *("identity", "validation_accuracy", "test_accuracy"),
}


@dataclass
class Run:
    """An open, locked run directory and what is going on in it."""

    experiment: Experiment
    directory: Path
    record: dict[str, Any]
    console: Console
    segment_steps: int

    def say(self, line: str) -> None:
        say(self.console, line)

    def digest(self, member: Member) -> str:
        return self.experiment.solo(member).digest

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """Of the finished members, by their digests."""
        return self.record["members"]

    def unfinished(self) -> list[Member]:
        return [m for m in self.experiment.members() if self.digest(m) not in self.results]

    def save_record(self) -> None:
        store.write_json(self.directory / "record.json", self.record)


def run_directory(runs_dir: Path, name: str, experiment: Experiment) -> Path:
    return runs_dir / name / experiment.digest


def open_run(
    name: str, experiment: Experiment, directory: Path, console: Console, segment_steps: int
) -> Run:
    """The run as the directory holds it, or a new one."""
    record = read_record(directory)
    if record is None:
        record = {"name": name, "experiment": experiment.digest, "sessions": [], "members": {}}
        store.write_text(directory / "experiment.json", experiment.to_json() + "\n")
    else:
        kept = _kept_experiment(directory)
        if changed := kept.differences(experiment):
            raise UserError(
                f"{directory} was begun as another experiment ({changed}); "
                "move it away to start anew"
            )
    return Run(experiment, directory, record, console, segment_steps)


def read_record(directory: Path) -> dict[str, Any] | None:
    """The record of a run directory, or None where there is none yet."""
    record = store.read_json(directory / "record.json")
    if record is None:
        return None
    members = record.get("members") if isinstance(record, dict) else None
    if (
        not isinstance(members, dict)
        or not isinstance(record.get("sessions"), list)
        or not all(isinstance(m, dict) and m.keys() >= RESULT for m in members.values())
    ):
        raise _damaged(directory / "record.json", "it is no record")
    return record


def _kept_experiment(directory: Path) -> Experiment:
    path = directory / "experiment.json"
    try:
        return Experiment.from_json(path.read_text())
    except (OSError, ValueError, UserError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, why: str) -> SurroundingsError:
    return SurroundingsError(
        f"{path} is damaged ({why}); move the run directory away to start anew"
    )


def take_over(current: Run, identity: dict[str, Any]) -> None:
    """Members that a sibling directory finished under the same identity are not trained again."""
    for path in sorted(current.directory.parent.glob("*/record.json")):
        if path.parent == current.directory:
            continue
        try:
            other = read_record(path.parent) or {"members": {}}
        except SurroundingsError as error:
            current.say(f"nothing is taken over: {error}")
            continue
        unfinished = {current.digest(member) for member in current.unfinished()}
        taken = {
            digest: result | {"from": path.parent.name}
            for digest, result in other["members"].items()
            if digest in unfinished and result["identity"] == environment.digest(identity)
        }
        if not taken:
            continue
        rows = [row for row in store.read_metrics(path.parent) if row["member"] in taken]
        store.trim_metrics(current.directory, dict.fromkeys(taken, 0))
        store.append_metrics(current.directory, rows)
        current.results.update(taken)
        current.save_record()
        count = "1 member was" if len(taken) == 1 else f"{len(taken)} members were"
        current.say(f"{count} finished in {path.parent}: taken over from there")


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
