"""What a search has found after each of its trials."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import accumulate

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.labels import field_label
from lstm_jax.errors import EnvironmentProblem
from lstm_jax.report import drawing, plots
from lstm_jax.report.curves import data_name
from lstm_jax.report.drawing import Figure
from lstm_jax.runs.record import Record
from lstm_jax.runs.statistics import summarise


def search_figures(record: Record) -> Iterator[Figure]:
    """Yields the validation metric of each trial of a random search or of `tpe`, in the order in
    which they were drawn, and the best one so far. A trial that halving dropped has the metric of
    its last rung, and is not the best one. Yields nothing for a grid.
    """
    search, experiment = record.study.search, record.study.experiment
    if search.method == "grid":
        return
    finished, dropped = (
        {each.setting: each.validation.mean for each in summarise(results)}
        for results in (record.results.values(), record.dropped)
    )
    order = [each for each in _in_order(record) if each in finished or each in dropped]
    if len(order) < 2 or not finished:
        return
    numbers = {setting: number for number, setting in enumerate(order, 1)}
    trials = [numbers[setting] for setting in order if setting in finished]
    means = [finished[setting] for setting in order if setting in finished]
    sign = 1 if experiment.task.higher_is_better else -1

    def best(before: float, mean: float) -> float:
        return mean if math.isnan(before) or sign * mean > sign * before else before

    metric = field_label(experiment.task.metric)
    curves = {"best so far": (trials, list(accumulate(means, best))), "trial": (trials, means)}
    note = ""
    if lost := [setting for setting in order if setting not in finished]:
        curves["dropped"] = [numbers[each] for each in lost], [dropped[each] for each in lost]
        note = "; a dropped trial has the metric of the last rung that it reached"
    yield Figure(
        "search",
        f"Search: {metric} by trial",
        f"{data_name(experiment)}, validation; mean over the seeds of each setting that "
        f"{search.method} search drew, in its order, and the best of those until then{note}",
        drawing.draw(
            plots.curves, curves, ("trial", metric), size=(6.4, 3.8), unjoined=("trial", "dropped")
        ),
    )


def _in_order(record: Record) -> list[Experiment]:
    """Returns the settings in the order in which they were drawn; of a `tpe` without its Optuna,
    those that are finished, in the order in which they did.
    """
    try:
        return record.study.settings_tried(record.scores)
    except EnvironmentProblem:
        return list(dict.fromkeys(result.member.setting for result in record.results.values()))
