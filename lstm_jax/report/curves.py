"""Metrics as curves, one for each setting, and the figures of a run's training.

The names of data, fields and settings that all captions share are made here too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.labels import field_label, format_value
from lstm_jax.report import drawing, plots
from lstm_jax.report.drawing import Figure
from lstm_jax.report.plots import Curve
from lstm_jax.runs.evaluation import EVAL_EXAMPLES
from lstm_jax.runs.metrics_file import Row
from lstm_jax.runs.record import Record
from lstm_jax.runs.statistics import Summary, chosen, summarise

MAX_CURVES = 60  # of one figure; the best of them in colour
MAX_PANELS = 6


def data_name(experiment: Experiment) -> str:
    """Returns the names of the data sets, or the task's name where it has no data set."""
    named = "task.dataset" in experiment.values
    return joined_values(experiment, "task.dataset") if named else experiment.task.name


def joined_values(experiment: Experiment, path: str, between: str = " or ") -> str:
    """Returns the values of a field as text: `0.001 or 0.01`."""
    return between.join(format_value(value) for value in experiment.values_of(path))


def joined_labels(experiment: Experiment) -> str:
    """Returns the names of the conditions that have several values."""
    return " and ".join(map(field_label, experiment.condition_axes))


def varied_paths(experiment: Experiment) -> list[str]:
    """Returns the paths of the fields in which settings differ."""
    return [path for path in experiment.axes if path != "seed"]


def setting_name(experiment: Experiment, setting: Experiment, without: Collection[str] = ()) -> str:
    """Returns the values in which a setting differs from the others, except for some paths.

    The name is empty where there is one setting only.
    """
    paths = [path for path in varied_paths(experiment) if path not in without]
    values = setting.values
    return ", ".join(f"{field_label(path)} {format_value(values.get(path))}" for path in paths)


def rank(value: Any) -> tuple[bool, Any, str]:
    """Returns the key that sorts the values of a field: None first, then numbers, then names."""
    return value is not None, value if isinstance(value, (int, float)) else 0, str(value)


def colour_note(count: int) -> str:
    """Returns a note for the caption where only the best of so many curves have colours."""
    if count <= len(drawing.COLOURS):
        return ""
    return f"; the best {plots.NUM_COLOURED} of {count} have colours, the best first"


def clipping(clip_norm: float | None) -> str:
    """Returns in words whether gradients are clipped."""
    return "not clipped" if clip_norm is None else f"clipped at {clip_norm:g}"


def curves_by_setting(
    record: Record,
    rows: Iterable[Row],
    column: str,
    summaries: Sequence[Summary],
    max_curves: int = MAX_CURVES,
) -> dict[str, Curve]:
    """Returns the curves of these settings by name; of members where none is finished."""
    members = _values_by_member(rows, column)
    groups = _digests_by_setting(record.study.experiment, summaries[:max_curves])
    return _curves(members, groups or {digest: [digest] for digest in list(members)[:max_curves]})


def curves_by_panel(record: Record, rows: list[Row], column: str) -> dict[str, dict[str, Curve]]:
    """Returns curves by panel title and by setting name, without empty panels.

    One panel has room for the best settings. Where there are more settings than colours, or several
    conditions, each value of one field has a panel of its own, if there is a field with few values
    that divides the settings well. Where no setting is finished, one panel shows the members.
    """
    experiment, summaries = record.study.experiment, summarise(record.results.values())
    path = _panel_path(experiment, summaries)
    if path is None:
        curves = curves_by_setting(record, rows, column, summaries)
        return {"": curves} if curves else {}
    members = _values_by_member(rows, column)
    summaries.sort(key=lambda s: [rank(s.setting.values.get(p)) for p in varied_paths(experiment)])
    by_value: dict[Any, list[Summary]] = {}
    for summary in summaries:
        by_value.setdefault(summary.setting.values.get(path), []).append(summary)
    panels = {
        f"{field_label(path)} {format_value(value)}": _curves(
            members, _digests_by_setting(experiment, by_value[value], [path])
        )
        for value in sorted(by_value, key=rank)
    }
    return {title: curves for title, curves in panels.items() if curves}


def _panel_path(experiment: Experiment, summaries: list[Summary]) -> str | None:
    """Returns the field with the fewest values whose panels each have few enough curves.

    Prefers conditions to settings, and other fields to the cell. Returns None where one panel is
    enough or no field fits.
    """
    max_curves, conditions = len(drawing.COLOURS), experiment.condition_axes
    if len(summaries) <= max_curves and not conditions:
        return None
    counts = {
        path: Counter(summary.setting.values.get(path) for summary in summaries)
        for path in varied_paths(experiment)
    }
    paths = [
        path
        for path, count in counts.items()
        if len(count) <= MAX_PANELS and max(count.values()) <= max_curves
    ]
    if len(summaries) <= max_curves:
        paths = [path for path in paths if path in conditions]

    def order(path: str) -> tuple[bool, bool, int]:
        return path not in conditions, path == "cell", len(counts[path])

    return min(paths, key=order, default=None)


def _digests_by_setting(
    experiment: Experiment, summaries: Iterable[Summary], without: Collection[str] = ()
) -> dict[str, list[str]]:
    """Returns the digests of members by the name of their setting."""
    return {
        setting_name(experiment, summary.setting, without): [
            result.member.digest for result in summary.results
        ]
        for summary in summaries
    }


def _values_by_member(rows: Iterable[Row], column: str) -> dict[str, dict[int, float]]:
    """Returns the values of a column by member and by step."""
    members: dict[str, dict[int, float]] = {}
    for row in rows:
        if (value := row.get(column)) is not None:
            members.setdefault(row["member"], {})[row["step"]] = float(value)
    return members


def _curves(members: dict[str, dict[int, float]], groups: dict[str, list[str]]) -> dict[str, Curve]:
    """Returns for each group of members the steps and the values, [seeds, steps]."""
    curves: dict[str, Curve] = {}
    for name, digests in groups.items():
        seeds = [members[digest] for digest in digests if digest in members]
        seeds = [m for m in seeds if len(m) == max(map(len, seeds))]  # not the diverged
        steps = sorted(set.intersection(*map(set, seeds))) if seeds else []
        if steps:
            curves[name] = steps, [[m[step] for step in steps] for m in seeds]
    return curves


def training_figures(record: Record, rows: list[Row]) -> Iterator[Figure]:
    """Yields the curves of loss and metric, on training batches and on validation, and the norms of
    gradient and update.
    """
    yield from _metric_figures(record, rows)
    experiment = record.study.experiment
    best = chosen(summarise(record.results.values()))[: len(drawing.COLOURS) // 2]
    norms = {
        f"{setting}, {name}" if setting else name: curve
        for column, name in (("gradient_norm", "gradient"), ("update_norm", "update"))
        for setting, curve in curves_by_setting(
            record, rows, column, best, max(1, len(best))
        ).items()
    }
    if norms:
        clips = " or ".join(clipping(norm) for norm in experiment.values_of("clip_norm"))
        sizes = joined_values(experiment, "batch_size")
        of_each = f" of each {joined_labels(experiment)}" if len(best) > 1 else ""
        yield Figure(
            "norms",
            "Norms of gradient and update",
            f"{data_name(experiment)}, training batches of {sizes}; norms over all parameters, for "
            f"the best setting{of_each}; the gradient before clipping (in this run it is {clips})",
            drawing.draw(plots.curves, norms, ("step", "global norm"), log=True),
        )


def _metric_figures(record: Record, rows: list[Row]) -> Iterator[Figure]:
    """Yields training and validation curves: in one figure for one setting, else in two figures."""
    experiment = record.study.experiment
    metric, rows = experiment.task.metric, list(rows)
    pairs = [(row["loss"], row[metric]) for row in rows if row.keys() >= {"loss", metric}]
    losses, metrics = np.array(pairs, float).reshape(-1, 2).T
    metric_is_loss = np.allclose(losses, metrics, equal_nan=True)
    for result in record.results.values():
        # The restored best parameters are not those of the last step.
        if result.member.num_evals > 1 and result.member.restore_best is False:
            scores = {f"validation_{name}": value for name, value in result.validation.items()}
            rows.append({"member": result.member.digest, "step": result.steps} | scores)
    batches = (
        f"{data_name(experiment)}, training batches of {joined_values(experiment, 'batch_size')}"
    )
    examples = (
        f"the first {EVAL_EXAMPLES:,} validation examples, or all of them after the last step"
    )
    many_seeds = len(experiment.values_of("seed")) > 1
    seeds = "; mean over the seeds of a setting, band from lowest to highest" if many_seeds else ""
    if seeds and any(result.stopped_at is not None for result in record.results.values()):
        seeds += "; without seeds that were stopped before others of their setting"
    for name in [metric] if metric_is_loss else ["loss", metric]:
        training = curves_by_panel(record, rows, name)
        validation = curves_by_panel(record, rows, f"validation_{name}")
        in_one = [len(curves) for p in (training, validation) for curves in p.values()] == [1, 1]
        panels = training
        if in_one:
            (on_training,), (on_validation,) = (
                curves.values() for p in (training, validation) for curves in p.values()
            )
            panels = {"": {"training": on_training, "validation": on_validation}}
        if panels:
            yield Figure(
                name,
                f"{field_label(name).capitalize()} while training",
                f"{batches}, every {joined_values(experiment, 'log_every')} steps, before the "
                f"update of the step{f'; validation: {examples}' if in_one else ''}{seeds}"
                + colour_note(max(map(len, panels.values()))),
                plots.draw_panels(panels, ("step", field_label(name))),
            )
        if validation and not in_one:
            yield Figure(
                f"validation_{name}",
                f"{field_label(name).capitalize()} on validation while training",
                f"{data_name(experiment)}, {examples}{seeds}"
                + colour_note(max(map(len, validation.values()))),
                plots.draw_panels(validation, ("step", field_label(name))),
            )
