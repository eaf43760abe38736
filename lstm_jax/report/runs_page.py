"""`runs/index.html`: all runs of a folder on one page, written again while one of them trains.

What a run says is kept in `runs/index.json` as long as its record does not change, so that a page
of many runs takes milliseconds. Several processes may write: each reads what the others have
written, and the last one wins. A row that is lost that way is read again from its record.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lstm_jax.data.dataset import Say, say_nothing
from lstm_jax.errors import EnvironmentProblem, one_line
from lstm_jax.report.template import render
from lstm_jax.runs.directory import in_use, run_directories
from lstm_jax.runs.files import clear_leftovers, write_text
from lstm_jax.runs.json_files import read_json
from lstm_jax.runs.loggers.logger import Logger
from lstm_jax.runs.metrics_file import Row, read_metrics
from lstm_jax.runs.record import Record
from lstm_jax.runs.results import Segment
from lstm_jax.runs.rows import TRAINING, RunRow, make_row, read_row, status_of

MAX_POINTS = 60  # of a curve
WIDTH, HEIGHT = 120, 28  # of a curve, in pixels
REFRESH_SECONDS = 5
MIN_SECONDS = 1.0  # between two pages of one run
MAX_SHARE = 0.02  # of the time, for writing pages
READ_SECONDS = 1.0  # for records that are not known yet; the next page reads on

Entry = dict[str, Any]  # of `index.json`: `key`, `row`, `last` and `points`
ROW = {field.name: object for field in fields(RunRow)}
SCHEMA = {str: {"key": [int], "row": ROW, "last": str, "points": [[float]]}}


class RunsPage(Logger):
    """Writes the page after checkpoints, at most once a second, and when the run ends.

    It never ends a training: what goes wrong is one line.
    """

    def __init__(self, say: Say) -> None:
        self.say = say
        self.next_time = 0.0
        self.has_failed = False
        self.curve = MetricCurve()

    def begin(self, record: Record, directory: Path) -> None:
        self.record, self.directory = record, directory
        metric = record.study.experiment.task.metric
        self.curve = MetricCurve(metric)
        clear_leftovers(directory.parent.parent, recursive=False)  # of a process that was killed
        with suppress(EnvironmentProblem):  # the run itself says so
            self.curve.add(read_metrics(directory, say_nothing))

    def metrics(self, segment: Segment) -> None:
        self.curve.add(segment.rows())
        if time.monotonic() >= self.next_time:
            self._write(TRAINING)

    def close(self) -> None:
        self._write(None)

    def _write(self, status: str | None) -> None:
        """Writes the page with the row of this run; without a status, with the one at its end."""
        start = time.monotonic()
        try:
            status = status or status_of(self.directory, self.record)
            row = make_row(self.directory, self.record, status)
            write_runs_page(self.directory.parent.parent, {self.directory: (row, self.curve)})
        except Exception as error:
            if not self.has_failed:
                self.say(f"note: the page of all runs is not written: {one_line(error)}")
            self.has_failed = True
        end = time.monotonic()
        self.next_time = end + max(MIN_SECONDS, (end - start) / MAX_SHARE)


class MetricCurve:
    """The mean of a metric over the members of a run, by step."""

    def __init__(self, metric: str = "") -> None:
        self.metric = metric
        self.sums: dict[int, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def add(self, rows: Iterable[Row]) -> None:
        """Adds rows of metrics, as `metrics.jsonl` has them."""
        for row in rows:
            value = row.get(self.metric)
            if isinstance(value, int | float):
                total = self.sums[int(row["step"])]
                total[0] += value
                total[1] += 1

    def points(self) -> list[list[float]]:
        """Returns at most `MAX_POINTS` pairs of a step and the mean, in the order of steps."""
        pairs = [[float(step), total / count] for step, (total, count) in sorted(self.sums.items())]
        every = -(-len(pairs) // MAX_POINTS) or 1
        return pairs[::-1][::every][::-1]  # the last one stays

    @property
    def last(self) -> str:
        """Returns the last mean, in words; empty where there is none."""
        points = self.points()
        words = self.metric.replace("_", " ")
        return f"{words} {points[-1][1]:.4g} at step {points[-1][0]:.0f}" if points else ""


def write_runs_page(
    runs_dir: Path, current: dict[Path, tuple[RunRow, MetricCurve]] | None = None
) -> Path:
    """Writes the page of a folder of runs and returns its path.

    `current` holds rows and curves of this process, which are newer than those on disk. Raises
    EnvironmentProblem where the page cannot be written.
    """
    try:
        known: dict[str, Entry] = read_json(runs_dir / "index.json", SCHEMA) or {}
    except EnvironmentProblem:  # it holds nothing that cannot be read again
        known = {}
    entries = dict(_entries(runs_dir, known, current or {}))
    if entries != known:
        write_text(runs_dir / "index.json", json.dumps(entries, allow_nan=False), sync=False)
    rows = [(RunRow(**entry["row"]), name, entry) for name, entry in entries.items()]
    rows.sort(key=lambda each: each[0].started, reverse=True)
    is_training = any(row.status == TRAINING for row, _, _ in rows)
    page = render(
        "runs.html",
        rows=[
            {
                "row": row,
                "last": entry["last"] if row.status == TRAINING else "",
                "line": _polyline(entry["points"]),
                "has_report": (runs_dir / name / "report" / "index.html").is_file(),
                "directory": name,
                "minutes": f"{row.seconds / 60:.1f}" if row.seconds else "",
            }
            for row, name, entry in rows
        ],
        width=WIDTH,
        height=HEIGHT,
        refresh=REFRESH_SECONDS if is_training else 0,
        when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S"),
    )
    write_text(runs_dir / "index.html", page, sync=False)
    return runs_dir / "index.html"


def _entries(
    runs_dir: Path, known: dict[str, Entry], current: dict[Path, tuple[RunRow, MetricCurve]]
) -> Iterator[tuple[str, Entry]]:
    """Yields the entry of each run: as it is known, or as its record says if that has changed."""
    deadline = time.monotonic() + READ_SECONDS
    for directory in run_directories(runs_dir, shards=True):
        name, key = directory.relative_to(runs_dir).as_posix(), _key(directory)
        if directory in current:
            yield name, _entry(key, *current[directory])
            continue
        entry = known.get(name)
        is_training = entry is not None and entry["row"].get("status") == TRAINING
        if entry and entry["key"] == key and not (is_training and not in_use(directory)):
            yield name, entry
        elif time.monotonic() < deadline:
            yield name, _read_entry(directory, key)


def _key(directory: Path) -> list[int]:
    """Returns what changes with the record of a run."""
    try:
        stat = (directory / "record.json").stat()
    except OSError:
        return []
    return [stat.st_mtime_ns, stat.st_size]


def _read_entry(directory: Path, key: list[int]) -> Entry:
    row, record = read_row(directory)
    curve = MetricCurve(record.study.experiment.task.metric if record else "")
    with suppress(EnvironmentProblem):  # the row has no curve then
        curve.add(read_metrics(directory, say_nothing))
    return _entry(key, row, curve)


def _entry(key: list[int], row: RunRow, curve: MetricCurve) -> Entry:
    return {"key": key, "row": asdict(row), "last": curve.last, "points": curve.points()}


def _polyline(points: list[list[float]]) -> str:
    """Returns the points of an SVG polyline; empty where there are fewer than two."""
    if len(points) < 2:
        return ""
    steps, values = zip(*points, strict=True)
    low, high = min(values), max(values)
    return " ".join(
        f"{2 + (WIDTH - 4) * (step - steps[0]) / (steps[-1] - steps[0]):.1f},"
        f"{HEIGHT - 2 - (HEIGHT - 4) * ((value - low) / (high - low) if high > low else 0.5):.1f}"
        for step, value in points
    )
