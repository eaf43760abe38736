"""What the results of a sweep show: its settings side by side, what parameters and time buy."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from lstm_jax.experiment import Experiment, all_specs, shown, words
from lstm_jax.report import figures
from lstm_jax.report.figures import Figure
from lstm_jax.report.training_figures import data_name, varied
from lstm_jax.results import Result
from lstm_jax.runs.record import Record
from lstm_jax.statistics import Summary, summarise
from lstm_jax.use import forward

MOST_VALUES = 12  # of an axis that a map has room for


def of_settings(record: Record) -> Iterator[Figure]:
    """Yields what settings differ in against their metric on validation: a map for two axes."""
    experiment, found = record.study.experiment, summarise(record.results.values())
    if len(found) < 2:
        return
    metric = words(experiment.task.metric)
    where = f"{data_name(experiment)}, validation"
    paths = varied(experiment)
    counts = [len({summary.setting.values[path] for summary in found}) for path in paths]
    if len(paths) == 2 and max(counts) <= MOST_VALUES:
        y, x = paths
        yield Figure(
            "settings",
            f"{metric.capitalize()} by {words(y)} and {words(x)}",
            f"{where}; mean over n seeds, from three on ± the half width of its 95 % interval",
            _map(experiment, found, x, y),
        )
        paths = []
    for path in paths:
        alone = len(paths) == 1
        how = "mean over its seeds" + (", bar: its 95 % interval" if alone else "")
        yield Figure(
            "settings" if alone else f"settings_{path.replace('.', '_')}",
            f"{metric.capitalize()} by {words(path)}",
            f"{where}; a point for each of {len(found)} settings, {how}",
            _points(experiment, found, path, bars=alone),
        )
    yield from _against_time(record, metric, where)


def of_parameters(record: Record) -> Iterator[Figure]:
    """Yields what parameters buy. Raises UserError where a model cannot be made any more."""
    experiment, results = record.study.experiment, list(record.results.values())
    if len({result.member.setting for result in results}) < 2:
        return
    groups = {result.member.group: result.member for result in results}
    count = {group: _number_of_parameters(member, record) for group, member in groups.items()}
    points = {
        name: ([count[r.member.group] for r in mates], [r.validation_metric for r in mates])
        for name, mates in _series(experiment, results, traced=True).items()
    }
    metric = words(experiment.task.metric)
    yield Figure(
        "parameters",
        f"{metric.capitalize()} against parameters",
        f"{data_name(experiment)}, validation; a point for each of {len(results)} members",
        figures.draw(figures.scatter, points, ("parameters", metric)),
    )


def _against_time(record: Record, metric: str, where: str) -> Iterator[Figure]:
    """What time buys; members whose time is not known are left out."""
    timed = [result for result in record.results.values() if result.seconds]
    points = {
        name: ([r.seconds for r in mates], [r.validation_metric for r in mates])
        for name, mates in _series(record.study.experiment, timed, traced=False).items()
    }
    if timed:
        yield Figure(
            "time",
            f"{metric.capitalize()} against time",
            f"{where}; a point for each of {len(timed)} members; seconds of its training: its "
            "share of what all took that trained beside it",
            figures.draw(figures.scatter, points, ("seconds", metric)),
        )


def _map(experiment: Experiment, found: list[Summary], x: str, y: str) -> figures.Drawing:
    columns, rows = (_in_order({s.setting.values[path] for s in found}) for path in (x, y))
    values = np.full((len(columns), len(rows)), np.nan)
    notes = [["" for _ in rows] for _ in columns]
    for s in found:
        place = columns.index(s.setting.values[x]), rows.index(s.setting.values[y])
        values[place] = s.validation.mean
        half = "" if math.isnan(s.validation.half_width) else f"\n±{s.validation.half_width:.2g}"
        notes[place[0]][place[1]] = f"{s.validation.mean:.4g}{half}\nn={s.validation.n}"
    ticks = [shown(value) for value in columns], [shown(value) for value in rows]
    up = experiment.task.higher_is_better
    return figures.draw(
        figures.heat_map, values, notes, ticks, (words(x), words(y)), up, size=(6.4, 3.6)
    )


def _points(experiment: Experiment, found: list[Summary], path: str, bars: bool) -> figures.Drawing:
    """Names, and fields that may be switched off, stand side by side; numbers on their scale."""
    values = [summary.setting.values[path] for summary in found]
    means = [summary.validation.mean for summary in found]
    arms = np.array([(e.mean - e.low, e.high - e.mean) for e in (s.validation for s in found)]).T
    labels = words(path), words(experiment.task.metric)
    ticks = None
    if any(isinstance(value, str) or value is None for value in values):
        ticks = _in_order(set(values))
        values = [ticks.index(value) for value in values]
    log = ticks is None and all_specs(experiment)[path].log and min(values) > 0
    names = None if ticks is None else [shown(tick) for tick in ticks]
    return figures.draw(figures.points, values, means, arms if bars else None, labels, log, names)


def _in_order(values: set[Any]) -> list[Any]:
    """None first, and numbers, then names."""
    return sorted(values, key=lambda v: (v is not None, v if not isinstance(v, str) else 0, str(v)))


def _series(
    experiment: Experiment, results: list[Result], *, traced: bool
) -> dict[str, list[Result]]:
    """The results by the value of an axis that has colours enough, of the wanted kind if any."""
    specs = all_specs(experiment)
    paths = [
        path
        for path in sorted(varied(experiment), key=lambda p: specs[p].traced != traced)
        if len({result.member.values[path] for result in results}) <= len(figures.COLOURS)
    ]
    groups: dict[str, list[Result]] = {}
    for result in results:
        own = [f"{words(path)} {shown(result.member.values[path])}" for path in paths[:1]]
        groups.setdefault("".join(own) or "all settings", []).append(result)
    return groups


def _number_of_parameters(member: Experiment, record: Record) -> int:
    shapes = forward.shapes(member, member.task.ends(record.facts_of(member)))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
