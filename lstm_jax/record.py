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
from lstm_jax.config import Experiment, Member, UserError
from lstm_jax.screen import say


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
    record = store.read_json(directory / "record.json")
    if record is None:
        record = {"name": name, "experiment": experiment.digest, "sessions": [], "members": {}}
        store.write_text(directory / "experiment.json", experiment.to_json() + "\n")
    else:
        kept = Experiment.from_json((directory / "experiment.json").read_text())
        if changed := kept.differences(experiment):
            raise UserError(
                f"{directory} was begun as another experiment ({changed}); "
                "move it away to start anew"
            )
    return Run(experiment, directory, record, console, segment_steps)


def take_over(current: Run, identity: dict[str, Any]) -> None:
    """Members that a sibling directory finished under the same identity are not trained again."""
    for path in sorted(current.directory.parent.glob("*/record.json")):
        other = store.read_json(path)
        if path.parent == current.directory or other.get("identity") != identity:
            continue
        unfinished = {current.digest(member) for member in current.unfinished()}
        taken = {d: m | {"from": path.parent.name} for d, m in other["members"].items()}
        taken = {digest: taken[digest] for digest in taken.keys() & unfinished}
        if not taken:
            continue
        rows = [row for row in store.read_metrics(path.parent) if row["member"] in taken]
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
