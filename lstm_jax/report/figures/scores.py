"""The scores of trained members on other conditions, as a table and as a curve."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lstm_jax.config.labels import field_label
from lstm_jax.data.dataset import Say
from lstm_jax.predict.scores import ScoredElsewhere, by_setting, read_scores, table_of, varied
from lstm_jax.report import drawing, plots
from lstm_jax.report.curves import colour_note, data_name, setting_name
from lstm_jax.report.drawing import Figure, TextTable
from lstm_jax.report.plots import Curve
from lstm_jax.runs.record import Record


def score_figures(record: Record, directory: Path, log: Say) -> Iterator[Figure | TextTable]:
    """Yields what `lstm-jax score` has written: a table, and a curve where one number varies."""
    scores = read_scores(record, directory, log)
    if not scores or not (names := varied(scores)):
        return
    experiment = record.study.experiment
    source = f"{data_name(experiment)}, test; members as they were trained, scored elsewhere"
    yield TextTable("scores", "Scored elsewhere", source, *table_of(record, scores))
    curves = _curves(record, scores) if len(names) == 1 else {}
    if curves:
        metric = field_label(experiment.task.metric)
        yield Figure(
            "scores_curve",
            f"{metric.capitalize()} by {field_label(names[0])}",
            f"{source}; mean over seeds, band from lowest to highest{colour_note(len(curves))}",
            drawing.draw(plots.curves, curves, (field_label(names[0]), f"test {metric}")),
        )


def _curves(record: Record, scores: list[ScoredElsewhere]) -> dict[str, Curve]:
    """Returns the metric of each setting by the only field that varies, where it is a number.

    A setting is left out where not all of its seeds have a finite score at all values.
    """
    experiment, metric = record.study.experiment, record.study.experiment.task.metric
    curves: dict[str, Curve] = {}
    for setting, conditions in by_setting(scores).items():
        x = [value for (value,) in conditions]
        if len(x) < 2 or not all(type(value) in (int, float) for value in x):
            continue
        seeds = [[each.test.get(metric) for each in conditions[value,]] for value in x]
        if len({len(some) for some in seeds}) == 1 and all(None not in some for some in seeds):
            name = setting_name(experiment, setting) or "all members"
            curves[name] = x, [list(column) for column in zip(*seeds, strict=True)]
    return curves
