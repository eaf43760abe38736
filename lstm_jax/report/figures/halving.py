"""Who was dropped by a halving, and when."""

from __future__ import annotations

from collections.abc import Iterator

from lstm_jax.config.experiment import field_label
from lstm_jax.report import drawing, plots
from lstm_jax.report.curves import coloured, data_name
from lstm_jax.report.drawing import Figure
from lstm_jax.runs.record import Record
from lstm_jax.runs.results import Result


def of_halving(record: Record) -> Iterator[Figure]:
    """Yields how members stood at each rung, those that went furthest first; else nothing."""
    if not record.rungs:
        return
    experiment = record.study.experiment
    stood: dict[str, list[Result]] = {}
    for rung in [*record.rungs.values(), record.results]:
        for digest, result in rung.items():
            stood.setdefault(digest, []).append(result)
    order = sorted(stood.values(), key=lambda found: _furthest_first(found[-1]))
    lines = {
        experiment.label(found[-1].member): (
            [result.steps for result in found],
            [result.validation_metric for result in found],
        )
        for found in order
    }
    metric = field_label(experiment.task.metric)
    yield Figure(
        "halving",
        f"Who was dropped, and when: {metric} at each rung",
        f"{data_name(experiment)}, validation; a curve ends where its member was dropped"
        + coloured(len(lines)),
        drawing.draw(plots.curves, lines, ("step", metric), size=(6.4, 3.8)),
    )


def _furthest_first(last: Result) -> tuple[int, float]:
    return -last.steps, -last.rank if last.member.task.higher_is_better else last.rank
