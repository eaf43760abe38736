"""What a run's metrics show: the curves of its training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from lstm_jax.experiment import Experiment, shown, words
from lstm_jax.report import figures
from lstm_jax.report.figures import Figure
from lstm_jax.runs.metrics import Row
from lstm_jax.runs.record import Record
from lstm_jax.statistics import Summary, summarise

MOST_SETTINGS = 8  # curves that can be told apart
MOST_PANELS = 6

Line = tuple[list[int], list[list[float]]]  # steps, and values [seeds, steps]


def of_training(record: Record, rows: list[Row]) -> Iterator[Figure]:
    """Yields the curves of loss, metric and norms."""
    experiment = record.study.experiment
    batch = f"{data_name(experiment)}, training batches of {either(experiment, 'batch_size')}"
    metric = experiment.task.metric
    for name in ("loss", metric):
        panels = {title: lines for title, lines in _panels(record, rows, name).items() if lines}
        if panels:
            several = len(experiment.several("seed")) > 1
            yield Figure(
                name,
                f"{words(name).capitalize()} while training",
                f"{batch}, every {either(experiment, 'log_every')} steps, each before its update"
                + ("; mean over a setting's seeds, band from least to most" if several else ""),
                figures.draw_panels(panels, ("step", words(name))),
            )
    best = summarise(record.results.values())[:1]
    norms = {}
    for column, label in (("gradient_norm", "gradient"), ("update_norm", "update")):
        columns = _columns(rows, column)
        groups = _named(experiment, best) or {digest: [digest] for digest in list(columns)[:1]}
        for name, line in _lines(columns, groups).items():
            norms[f"{label}, {name}" if name else label] = line
    if norms:
        clips = " or ".join(clipping(norm) for norm in experiment.several("clip_norm"))
        yield Figure(
            "norms",
            "Norms of gradient and update",
            f"{batch}; over all parameters of the best setting; the gradient as it is before "
            f"clipping (here it is {clips})",
            figures.draw(figures.curves, norms, ("step", "global norm (log10)")),
        )


def clipping(clip_norm: float | None) -> str:
    """Returns whether a gradient is clipped, in words."""
    return "not clipped" if clip_norm is None else f"clipped at {clip_norm:g}"


def data_name(experiment: Experiment) -> str:
    """Returns what is read: the names of the data sets, or of a task that has none."""
    named = "task.dataset" in experiment.values
    return either(experiment, "task.dataset") if named else experiment.task.name


def either(experiment: Experiment, path: str) -> str:
    """Returns a field's values as one reads them."""
    return " or ".join(shown(value) for value in experiment.several(path))


def varied(experiment: Experiment) -> list[str]:
    """Returns the paths in which settings differ."""
    return [path for path in experiment.axes if path != "seed"]


def setting_name(experiment: Experiment, setting: Experiment, without: str = "") -> str:
    """Returns the values in which a setting differs from the others, but for one path; empty where
    it is alone.
    """
    paths = [path for path in varied(experiment) if path != without]
    return ", ".join(f"{words(path)} {shown(setting.values[path])}" for path in paths)


def rank(value: Any) -> tuple[bool, Any, str]:
    """Returns what values of a field are ordered by: None first, and numbers, then names."""
    return value is not None, value if isinstance(value, (int, float)) else 0, str(value)


def _panels(record: Record, rows: list[Row], name: str) -> dict[str, dict[str, Line]]:
    """Lines by panel and by name: one panel of the best settings, or where these are not all of
    them a panel for each value of an axis. Of an unfinished run one panel, of members.
    """
    experiment, columns = record.study.experiment, _columns(rows, name)
    found = summarise(record.results.values())
    if not found:
        groups = {digest: [digest] for digest in list(columns)[:MOST_SETTINGS]}
        return {"": _lines(columns, groups)}
    path = _path_of_panels(experiment, found)
    if path is None:
        return {"": _lines(columns, _named(experiment, found[:MOST_SETTINGS]))}
    found.sort(key=lambda s: [rank(s.setting.values[p]) for p in varied(experiment)])
    by_value: dict[Any, list[Summary]] = {}
    for summary in found:
        by_value.setdefault(summary.setting.values[path], []).append(summary)
    return {
        f"{words(path)} {shown(value)}": _lines(columns, _named(experiment, by_value[value], path))
        for value in sorted(by_value, key=rank)
    }


def _path_of_panels(experiment: Experiment, found: list[Summary]) -> str | None:
    """The axis whose values are few and leave each panel few settings; rather not the cell's."""
    if len(found) <= MOST_SETTINGS:
        return None
    counts = {
        path: Counter(summary.setting.values[path] for summary in found)
        for path in varied(experiment)
    }
    good = [
        path
        for path, count in counts.items()
        if len(count) <= MOST_PANELS and max(count.values()) <= MOST_SETTINGS
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
    """Values by member and step; of a norm its logarithm."""
    columns: dict[str, dict[int, float]] = {}
    for row in rows:
        if (value := row.get(name)) is not None:
            seen: Any = figures.log10(value) if name.endswith("norm") else value
            columns.setdefault(row["member"], {})[row["step"]] = float(seen)
    return columns


def _lines(columns: dict[str, dict[int, float]], groups: dict[str, list[str]]) -> dict[str, Line]:
    """Steps and values of groups of members, by their names."""
    lines: dict[str, Line] = {}
    for title, digests in groups.items():
        members = [columns[digest] for digest in digests if digest in columns]
        members = [m for m in members if len(m) == max(map(len, members))]  # not the diverged
        steps = sorted(set.intersection(*map(set, members))) if members else []
        if steps:
            lines[title] = steps, [[m[step] for step in steps] for m in members]
    return lines
