"""What the results of a sweep show: its settings side by side, what parameters and time buy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from lstm_jax.config.experiment import Experiment, all_field_specs, field_label, format_value
from lstm_jax.predict import inference
from lstm_jax.report import drawing, plots
from lstm_jax.report.curves import data_name, rank, varied
from lstm_jax.report.drawing import Figure, Table
from lstm_jax.runs.record import Record
from lstm_jax.runs.results import Result
from lstm_jax.runs.statistics import Estimate, Summary, compare, summarise

MOST_VALUES = 12  # of an axis that a map has room for
MOST_MAPS = 3
MOST_COMPARED = 30


def of_settings(record: Record) -> Iterator[Figure | Table]:
    """Yields what settings differ in against their metric on validation: a map for each two axes
    with few values, and how far settings are apart on the same seeds.
    """
    experiment, found = record.study.experiment, summarise(record.results.values())
    if len(found) < 2:
        return
    metric, where = field_label(experiment.task.metric), f"{data_name(experiment)}, validation"
    paths = varied(experiment)
    counts = {path: len({s.setting.values[path] for s in found}) for path in paths}
    few = [path for path in paths if 1 < counts[path] <= MOST_VALUES]
    pairs = [pair for pair in itertools.combinations(few, 2) if _fills(found, *pair)][:MOST_MAPS]
    for y, x in pairs:
        alone = len(paths) == 2
        best = "" if alone else "; of the settings that share both values the best"
        yield Figure(
            "settings" if alone else f"settings_{_file_name(y)}_{_file_name(x)}",
            f"{metric.capitalize()} by {field_label(y)} and {field_label(x)}",
            f"{where}; mean over n seeds, from three on ± the half width of its 95 % interval{best}"
            f"{_solved_means(experiment)}",
            _map(experiment, found, x, y),
        )
    for path in [] if len(paths) == 2 and pairs else paths:
        alone = len(paths) == 1
        how = "mean over its seeds" + (", bar: its 95 % interval" if alone else "")
        yield Figure(
            "settings" if alone else f"settings_{_file_name(path)}",
            f"{metric.capitalize()} by {field_label(path)}",
            f"{where}; a point for each of {len(found)} settings, {how}",
            _points(experiment, found, path, bars=alone),
        )
    drawn = record.study.drawn if len(paths) > 1 else ()
    if chosen := [path for path in few if path not in drawn]:
        path = "cell" if "cell" in chosen else chosen[0]
        yield from _compared(experiment, found, path, drawn, where)
    yield from _against_time(record, metric, where)


def _fills(found: list[Summary], y: str, x: str) -> bool:
    """Returns whether a map of two axes would be more than half full: that of drawn numbers has one
    place in each column.
    """
    places = {(s.setting.values[y], s.setting.values[x]) for s in found}
    return 2 * len(places) > len({place[0] for place in places}) * len({p[1] for p in places})


def _file_name(path: str) -> str:
    return path.replace(".", "_")


def _solved_means(experiment: Experiment) -> str:
    """From which metric on the task calls a member's training a success, if it does."""
    task = experiment.task
    if task.solved_at is None:
        return ""
    side = "at least" if task.higher_is_better else "at most"
    return f"; solved: a seed's {field_label(task.metric)} is {side} {task.solved_at:g}"


def _compared(
    experiment: Experiment, found: list[Summary], path: str, drawn: Sequence[str], where: str
) -> Iterator[Table]:
    """How far the best value of a field is ahead of its others, all but drawn fields equal."""
    others = [other for other in varied(experiment) if other not in (path, *drawn)]
    at_best = f" (each at the best {' and '.join(map(field_label, drawn))} drawn)" if drawn else ""
    pairs = sorted(
        compare(found, path, drawn), key=lambda p: [rank(p.one.setting.values[o]) for o in others]
    )[:MOST_COMPARED]
    if pairs:
        yield Table(
            "compared",
            f"The best {field_label(path)} beside the others{at_best}, on the same seeds",
            f"{where}; by how much the mean {field_label(experiment.task.metric)} is better, ± "
            "the half width of its 95 % interval (Student's t on the differences of n seeds, one pair at a "
            "time): where the interval holds 0, the two are not told apart",
            [*map(field_label, others), "best", "beside", "ahead by"],
            [
                [
                    *(format_value(pair.one.setting.values[other]) for other in others),
                    *(format_value(side.setting.values[path]) for side in (pair.one, pair.other)),
                    _lead(pair.lead),
                ]
                for pair in pairs
            ],
        )


def _lead(lead: Estimate) -> str:
    """A mean and its interval, which two values have not."""
    width = f" ± {lead.half_width:.2g}" if lead.n > 2 else ", no interval"
    return f"{lead.mean:.4g}{width} (n {lead.n})"


def of_parameters(record: Record) -> Iterator[Figure]:
    """Yields what parameters buy. Raises UserError where a model cannot be made any more."""
    experiment, results = record.study.experiment, list(record.results.values())
    if len({result.member.setting for result in results}) < 2:
        return
    groups = {result.member.static_key: result.member for result in results}
    count = {group: _number_of_parameters(member, record) for group, member in groups.items()}
    if len(set(count.values())) < 2:
        return
    points = {
        name: ([count[r.member.static_key] for r in mates], [r.validation_metric for r in mates])
        for name, mates in _series(experiment, results, traced=True).items()
    }
    metric = field_label(experiment.task.metric)
    yield Figure(
        "parameters",
        f"{metric.capitalize()} against parameters",
        f"{data_name(experiment)}, validation; a point for each of {len(results)} members",
        drawing.draw(plots.scatter, points, ("parameters", metric)),
    )


def _against_time(record: Record, metric: str, where: str) -> Iterator[Figure]:
    """What time buys; members whose time is not known are left out."""
    timed = [result for result in record.results.values() if result.seconds]
    points = {
        name: ([r.seconds for r in mates], [r.validation_metric for r in mates])
        for name, mates in _series(record.study.experiment, timed, traced=False).items()
    }
    if len({result.seconds for result in timed}) > 1:
        yield Figure(
            "time",
            f"{metric.capitalize()} against time",
            f"{where}; a point for each of {len(timed)} members; seconds of its training: its "
            "share of what all took that trained beside it",
            drawing.draw(plots.scatter, points, ("seconds", metric)),
        )


def _map(experiment: Experiment, found: list[Summary], x: str, y: str) -> drawing.Drawing:
    """The best setting at each two values."""
    columns, rows = (sorted({s.setting.values[p] for s in found}, key=rank) for p in (x, y))
    values = np.full((len(columns), len(rows)), np.nan)
    notes = [["" for _ in rows] for _ in columns]
    for s in reversed(found):  # the best come first
        place = columns.index(s.setting.values[x]), rows.index(s.setting.values[y])
        values[place] = s.validation.mean
        notes[place[0]][place[1]] = _note(s)
    ticks = [format_value(value) for value in columns], [format_value(value) for value in rows]
    up = experiment.task.higher_is_better
    return drawing.draw(
        plots.heat_map, values, notes, ticks, (field_label(x), field_label(y)), up, size=(6.4, 3.6)
    )


def _note(summary: Summary) -> str:
    """Mean, interval, and how many seeds solved the task where it says what that is."""
    n, task = summary.validation.n, summary.setting.task
    half = "" if n < 3 else f"\n±{summary.validation.half_width:.2g}"
    if task.solved_at is None:
        return f"{summary.validation.mean:.4g}{half}\nn={n}"
    sign = 1 if task.higher_is_better else -1
    solved = sum(
        sign * result.validation_metric >= sign * task.solved_at for result in summary.results
    )
    return f"{summary.validation.mean:.2g}{half}\n{solved} of {n} solved"


def _points(experiment: Experiment, found: list[Summary], path: str, bars: bool) -> drawing.Drawing:
    """Names, and fields that may be switched off, stand side by side; numbers on their scale."""
    values = [summary.setting.values[path] for summary in found]
    means = [summary.validation.mean for summary in found]
    arms = np.array([(e.mean - e.low, e.high - e.mean) for e in (s.validation for s in found)]).T
    labels = field_label(path), field_label(experiment.task.metric)
    ticks = None
    if any(isinstance(value, str) or value is None for value in values):
        ticks = sorted(set(values), key=rank)
        values = [ticks.index(value) for value in values]
    log = ticks is None and all_field_specs(experiment)[path].log and min(values) > 0
    names = None if ticks is None else [format_value(tick) for tick in ticks]
    return drawing.draw(plots.points, values, means, arms if bars else None, labels, log, names)


def _series(
    experiment: Experiment, results: list[Result], *, traced: bool
) -> dict[str, list[Result]]:
    """The results by the value of an axis that has colours enough, of the wanted kind if any."""
    field_specs = all_field_specs(experiment)
    paths = [
        path
        for path in sorted(varied(experiment), key=lambda p: field_specs[p].traced != traced)
        if len({result.member.values[path] for result in results}) <= len(drawing.COLOURS)
    ]
    groups: dict[str, list[Result]] = {}
    for result in results:
        own = [
            f"{field_label(path)} {format_value(result.member.values[path])}" for path in paths[:1]
        ]
        groups.setdefault("".join(own) or "all settings", []).append(result)
    return groups


def _number_of_parameters(member: Experiment, record: Record) -> int:
    shapes = inference.param_shapes(member, member.task.model_spec(record.metadata_of(member)))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
