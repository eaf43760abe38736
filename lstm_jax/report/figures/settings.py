"""The results of a sweep: its settings compared, what parameters and time buy, and halving."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.experiment_values import all_field_specs
from lstm_jax.config.labels import field_label, format_value
from lstm_jax.predict import inference
from lstm_jax.report import drawing, plots
from lstm_jax.report.curves import colour_note, data_name, rank, setting_name, varied_paths
from lstm_jax.report.drawing import Drawing, Figure, TextTable
from lstm_jax.runs.record import Record
from lstm_jax.runs.results import Result
from lstm_jax.runs.statistics import Summary, by_condition, compare, summarise

MAX_VALUES = 12  # of a field that a heat map has room for
MAX_MAPS = 3
MAX_CONDITIONS = 6  # that have points of their own
MAX_COMPARISONS = 30
MAX_ROWS = 200  # of a table of settings


def settings_figures(record: Record) -> Iterator[Figure | TextTable]:
    """Yields the validation metric against the fields in which settings differ, a comparison of
    settings on the same seeds, and the metric against time.

    Two fields with few values each make a heat map, any other field points. Where the task has
    several conditions, a map shows all of them, and points are drawn for each. Yields nothing for
    one setting.
    """
    experiment, summaries = record.study.experiment, summarise(record.results.values())
    if len(summaries) < 2:
        return
    task, metric = experiment.task, field_label(experiment.task.metric)
    source, paths = f"{data_name(experiment)}, validation", varied_paths(experiment)
    counts = {path: len({s.setting.values.get(path) for s in summaries}) for path in paths}
    few = [path for path in paths if 1 < counts[path] <= MAX_VALUES]
    conditions = {*experiment.condition_axes}
    pairs = [
        pair
        for pair in itertools.combinations(few, 2)
        if conditions <= {*pair} and _fills_map(summaries, *pair)
    ][:MAX_MAPS]
    solved = ""
    if task.solved_at is not None:
        side = "at least" if task.higher_is_better else "at most"
        solved = f"; a seed has solved the task if its {metric} is {side} {task.solved_at:g}"
    for y, x in pairs:
        only_pair = len(paths) == 2
        best = "" if only_pair else "; the best of the settings that share both values"
        yield Figure(
            "settings" if only_pair else f"settings_{y}_{x}".replace(".", "_"),
            f"{metric.capitalize()} by {field_label(y)} and {field_label(x)}",
            f"{source}; mean over n seeds, ± half the width of its 95 % interval for n of 3 or "
            f"more{best}{solved}",
            _map(experiment, summaries, x, y),
        )
    settings = [path for path in paths if path not in conditions]
    asked = by_condition(summaries)[:MAX_CONDITIONS] if settings else [summaries]
    shown = [] if len(paths) == 2 and pairs else settings or paths
    for path, (index, group) in itertools.product(shown, enumerate(asked)):
        only_path = len(settings or paths) == 1
        mean = "mean over its seeds" + (" with 95 % interval" if only_path else "")
        condition = experiment.condition_label(group[0].setting) if settings else ""
        name = "settings" if len(paths) == 1 else f"settings_{path}".replace(".", "_")
        yield Figure(
            f"{name}_{index}" if index else name,
            f"{metric.capitalize()} by {field_label(path)}" + (condition and f", {condition}"),
            f"{source}; one point for each of {len(group)} settings: {mean}",
            _points(experiment, group, path, intervals=only_path),
        )
    drawn = record.study.drawn if len(paths) > 1 else ()
    if candidates := [path for path in few if path not in {*drawn, *conditions}]:
        path = "cell" if "cell" in candidates else candidates[0]
        yield from _comparison_table(experiment, summaries, path, drawn, source)
    timed = [result for result in record.results.values() if result.seconds]
    if len({result.seconds for result in timed}) > 1:
        groups = {
            name: ([r.seconds for r in results], [r.validation_metric for r in results])
            for name, results in _groups(experiment, timed, traced=False).items()
        }
        yield Figure(
            "time",
            f"{metric.capitalize()} against time",
            f"{source}; one point for each of {len(timed)} members; training time: the member's "
            "share of the time of all members that trained beside it",
            drawing.draw(plots.scatter, groups, ("seconds", metric)),
        )


def metric_tables(record: Record) -> Iterator[TextTable]:
    """Yields the metrics on the test beside the one that decides, where there are settings."""
    experiment = record.study.experiment
    summaries = summarise(record.results.values())[:MAX_ROWS]
    names = list(dict.fromkeys(name for each in summaries for name in each.other_tests))
    if names and len(record.results) > 1:
        yield TextTable(
            "metrics",
            "Other metrics",
            f"{data_name(experiment)}, test; mean over the seeds of a setting; in the order of the "
            f"settings by {field_label(experiment.task.metric)} on validation",
            [*(["setting"] if len(summaries) > 1 else []), *map(field_label, names)],
            [
                [
                    *([setting_name(experiment, each.setting)] if len(summaries) > 1 else []),
                    *(str(each.other_tests.get(name, "")) for name in names),
                ]
                for each in summaries
            ],
        )


def parameter_figures(record: Record) -> Iterator[Figure]:
    """Yields the metric against the number of parameters, where that differs between settings.

    Raises UserError where a model can no longer be made.
    """
    experiment, results = record.study.experiment, list(record.results.values())
    if len({result.member.setting for result in results}) < 2:
        return
    count: dict[Experiment, int] = {}
    for member in {result.member.static_key: result.member for result in results}.values():
        shapes = inference.param_shapes(member, member.task.model_spec(record.metadata_of(member)))
        count[member.static_key] = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    if len(set(count.values())) < 2:
        return
    groups = {
        name: ([count[r.member.static_key] for r in group], [r.validation_metric for r in group])
        for name, group in _groups(experiment, results, traced=True).items()
    }
    metric = field_label(experiment.task.metric)
    yield Figure(
        "parameters",
        f"{metric.capitalize()} against number of parameters",
        f"{data_name(experiment)}, validation; one point for each of {len(results)} members",
        drawing.draw(plots.scatter, groups, ("parameters", metric)),
    )


def halving_figures(record: Record) -> Iterator[Figure]:
    """Yields the metric of members at each rung of a halving, those that trained longest first."""
    if not record.rungs:
        return
    experiment = record.study.experiment
    by_member: dict[str, list[Result]] = {}
    for rung in [*record.rungs.values(), record.results]:
        for digest, result in rung.items():
            by_member.setdefault(digest, []).append(result)

    def longest_then_best_first(results: list[Result]) -> tuple[int, float]:
        last = results[-1]
        return -last.steps, -last.rank if last.member.task.higher_is_better else last.rank

    curves = {
        experiment.label(results[-1].member): (
            [result.steps for result in results],
            [result.validation_metric for result in results],
        )
        for results in sorted(by_member.values(), key=longest_then_best_first)
    }
    metric = field_label(experiment.task.metric)
    yield Figure(
        "halving",
        f"Halving: {metric} at each rung",
        f"{data_name(experiment)}, validation; a curve ends where its member was dropped"
        + colour_note(len(curves)),
        drawing.draw(plots.curves, curves, ("step", metric), size=(6.4, 3.8)),
    )


def _fills_map(summaries: list[Summary], y: str, x: str) -> bool:
    """Returns whether a map of two fields is more than half full. Numbers that a search has drawn
    would fill one place in each column.
    """
    positions = {(s.setting.values.get(y), s.setting.values.get(x)) for s in summaries}
    rows, columns = map(set, zip(*positions, strict=True))
    return 2 * len(positions) > len(rows) * len(columns)


def _map(experiment: Experiment, summaries: list[Summary], x: str, y: str) -> Drawing:
    """Returns a heat map of the best setting for each two values, with mean, interval and either
    the number of seeds or how many of them solved the task.
    """
    task = experiment.task
    columns, rows = (sorted({s.setting.values.get(p) for s in summaries}, key=rank) for p in (x, y))
    values = np.full((len(columns), len(rows)), np.nan)
    notes = [["" for _ in rows] for _ in columns]
    for s in reversed(summaries):  # the best come first
        position = columns.index(s.setting.values.get(x)), rows.index(s.setting.values.get(y))
        mean, n = s.validation.mean, s.validation.n
        half_width = "" if n < 3 else f"\n±{s.validation.half_width:.2g}"
        note = f"{mean:.4g}{half_width}\nn={n}"
        if task.solved_at is not None:
            sign = 1 if task.higher_is_better else -1
            solved = [sign * r.validation_metric >= sign * task.solved_at for r in s.results]
            note = f"{mean:.2g}{half_width}\n{sum(solved)} of {n} solved"
        values[position], notes[position[0]][position[1]] = mean, note
    ticks = [format_value(value) for value in columns], [format_value(value) for value in rows]
    labels = field_label(x), field_label(y)
    return drawing.draw(
        plots.heat_map, values, notes, ticks, labels, task.higher_is_better, size=(6.4, 3.6)
    )


def _points(
    experiment: Experiment, summaries: list[Summary], path: str, intervals: bool
) -> Drawing:
    """Returns the metric against a field: numbers on their scale, names and None side by side."""
    values: list[Any] = [summary.setting.values.get(path) for summary in summaries]
    means = [summary.validation.mean for summary in summaries]
    estimates = [summary.validation for summary in summaries]
    arms = np.array([(e.mean - e.low, e.high - e.mean) for e in estimates]).T
    labels = field_label(path), field_label(experiment.task.metric)
    names = None
    if any(isinstance(value, str) or value is None for value in values):
        ticks = sorted(set(values), key=rank)
        values = [ticks.index(value) for value in values]
        names = [format_value(tick) for tick in ticks]
    log = names is None and all_field_specs(experiment)[path].log and min(values) > 0
    return drawing.draw(
        plots.points, values, means, arms if intervals else None, labels, log, names
    )


def _comparison_table(
    experiment: Experiment, summaries: list[Summary], path: str, drawn: Sequence[str], source: str
) -> Iterator[TextTable]:
    """Yields a table of how far the best value of a field is ahead of its other values, all fields
    equal but those that a search has drawn.
    """
    others = [other for other in varied_paths(experiment) if other not in (path, *drawn)]
    at_best = (
        f" (each with its best {' and '.join(map(field_label, drawn))} drawn)" if drawn else ""
    )
    pairs = sorted(
        compare(summaries, path, drawn),
        key=lambda p: [rank(p.best.setting.values.get(other)) for other in others],
    )[:MAX_COMPARISONS]
    rows = []
    for pair in pairs:
        lead = pair.lead
        interval = f" ± {lead.half_width:.2g}" if lead.n > 2 else ", no interval"
        rows.append(
            [
                *(format_value(pair.best.setting.values.get(other)) for other in others),
                *(format_value(side.setting.values.get(path)) for side in (pair.best, pair.other)),
                f"{lead.mean:.4g}{interval} (n {lead.n})",
            ]
        )
    if rows:
        yield TextTable(
            "compared",
            f"The best {field_label(path)} compared with the others{at_best}, on the same seeds",
            f"{source}; ahead by: how much better the mean {field_label(experiment.task.metric)} "
            "is, ± half the width of its 95 % interval (Student's t on the differences of n seeds, "
            "for one pair at a time); where the interval contains 0, the two values cannot be "
            "told apart",
            [*map(field_label, others), "best", "other", "ahead by"],
            rows,
        )


def _groups(
    experiment: Experiment, results: list[Result], *, traced: bool
) -> dict[str, list[Result]]:
    """Returns the results in groups, one colour each, by the values of a field.

    Prefers a condition, then a field that is traced, or static where `traced` is False. All results
    are one group where no field has few enough values.
    """
    field_specs, conditions = all_field_specs(experiment), experiment.condition_axes

    def order(path: str) -> tuple[bool, bool]:
        return path not in conditions, field_specs[path].traced != traced

    paths = [
        path
        for path in sorted(varied_paths(experiment), key=order)
        if len({result.member.values.get(path) for result in results}) <= len(drawing.COLOURS)
    ]
    groups: dict[str, list[Result]] = {}
    for result in results:
        names = [
            f"{field_label(path)} {format_value(result.member.values.get(path))}"
            for path in paths[:1]
        ]
        groups.setdefault("".join(names) or "all settings", []).append(result)
    return groups
