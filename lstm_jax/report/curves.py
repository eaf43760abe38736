"""Metrics as curves, one for each setting, and how settings and fields are named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from lstm_jax.config.experiment import Experiment, field_label, format_value
from lstm_jax.report import drawing, plots
from lstm_jax.runs.metrics_file import Row
from lstm_jax.runs.record import Record
from lstm_jax.runs.statistics import Summary, summarise

MAX_CURVES = 60  # of one figure; the best of them in colour
MOST_PANELS = 6

Curve = tuple[list[int], list[list[float]]]  # steps, and values [seeds, steps]


def data_name(experiment: Experiment) -> str:
    """Returns what is read: the names of the data sets, or of a task that has none."""
    named = "task.dataset" in experiment.values
    return either(experiment, "task.dataset") if named else experiment.task.name


def either(experiment: Experiment, path: str) -> str:
    """Returns a field's values as one reads them."""
    return " or ".join(format_value(value) for value in experiment.values_of(path))


def varied(experiment: Experiment) -> list[str]:
    """Returns the paths in which settings differ."""
    return [path for path in experiment.axes if path != "seed"]


def setting_name(experiment: Experiment, setting: Experiment, without: str = "") -> str:
    """Returns the values in which a setting differs from the others, but for one path; empty where
    it is alone.
    """
    paths = [path for path in varied(experiment) if path != without]
    return ", ".join(f"{field_label(path)} {format_value(setting.values[path])}" for path in paths)


def rank(value: Any) -> tuple[bool, Any, str]:
    """Returns what values of a field are ordered by: None first, and numbers, then names."""
    return value is not None, value if isinstance(value, (int, float)) else 0, str(value)


def coloured(count: int) -> str:
    """Returns which of so many curves have colours, in words; nothing where all have."""
    if count <= len(drawing.COLOURS):
        return ""
    return f"; the best {plots.COLOURED} of {count} in colour, best first"


def by_setting(record: Record, rows: Iterable[Row], name: str, most: int) -> dict[str, Curve]:
    """Steps and values of the best settings, by their names; of an unfinished run, of members."""
    columns = _columns(rows, name)
    found = summarise(record.results.values())[:most]
    groups = _named(record.study.experiment, found)
    return _lines(columns, groups or {digest: [digest] for digest in list(columns)[:most]})


def panels(record: Record, rows: list[Row], name: str) -> dict[str, dict[str, Curve]]:
    """Returns lines by panel and by name: one panel of the best settings, or where these are too
    many a panel for each value of an axis. Of an unfinished run one panel, of members. A panel
    without a line is left out.
    """
    experiment, columns = record.study.experiment, _columns(rows, name)
    found = summarise(record.results.values())
    path = _path_of_panels(experiment, found)
    if path is None:
        lines = by_setting(record, rows, name, MAX_CURVES)
        return {"": lines} if lines else {}
    found.sort(key=lambda s: [rank(s.setting.values[p]) for p in varied(experiment)])
    by_value: dict[Any, list[Summary]] = {}
    for summary in found:
        by_value.setdefault(summary.setting.values[path], []).append(summary)
    drawn = {
        f"{field_label(path)} {format_value(value)}": _lines(
            columns, _named(experiment, by_value[value], path)
        )
        for value in sorted(by_value, key=rank)
    }
    return {title: lines for title, lines in drawn.items() if lines}


def _path_of_panels(experiment: Experiment, found: list[Summary]) -> str | None:
    """The axis whose values are few and leave each panel few settings; rather not the cell's."""
    few = len(drawing.COLOURS)
    if len(found) <= few:
        return None
    counts = {
        path: Counter(summary.setting.values[path] for summary in found)
        for path in varied(experiment)
    }
    good = [
        path
        for path, count in counts.items()
        if len(count) <= MOST_PANELS and max(count.values()) <= few
    ]
    return min(good, key=lambda path: (path == "cell", len(counts[path])), default=None)


def _named(
    experiment: Experiment, found: Iterable[Summary], without: str = ""
) -> dict[str, list[str]]:
    """Digests of members by the name of their setting."""
    return {
        setting_name(experiment, summary.setting, without): [
            result.member.digest for result in summary.results
        ]
        for summary in found
    }


def _columns(rows: Iterable[Row], name: str) -> dict[str, dict[int, float]]:
    """Values by member and step."""
    columns: dict[str, dict[int, float]] = {}
    for row in rows:
        if (value := row.get(name)) is not None:
            columns.setdefault(row["member"], {})[row["step"]] = float(value)
    return columns


def _lines(columns: dict[str, dict[int, float]], groups: dict[str, list[str]]) -> dict[str, Curve]:
    """Steps and values of groups of members, by their names."""
    lines: dict[str, Curve] = {}
    for title, digests in groups.items():
        members = [columns[digest] for digest in digests if digest in columns]
        members = [m for m in members if len(m) == max(map(len, members))]  # not the diverged
        steps = sorted(set.intersection(*map(set, members))) if members else []
        if steps:
            lines[title] = steps, [[m[step] for step in steps] for m in members]
    return lines
