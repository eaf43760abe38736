"""What a search has found after each of its trials."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from lstm_jax.config.labels import field_label
from lstm_jax.report import drawing, plots
from lstm_jax.report.curves import data_name
from lstm_jax.report.drawing import Figure
from lstm_jax.runs.record import Record
from lstm_jax.runs.statistics import summarise


def search_figures(record: Record) -> Iterator[Figure]:
    """Yields the validation metric of each trial of a random search or of `tpe`, in the order in
    which they were drawn, and the best one so far. Yields nothing for a grid or a halving, which
    has a figure of its own.
    """
    search, experiment = record.study.search, record.study.experiment
    order = {result.member.setting: None for result in record.results.values()}
    if search.method == "grid" or search.halving or len(order) < 2:
        return
    by_setting = {each.setting: each.validation.mean for each in summarise(record.results.values())}
    means, trials = [by_setting[setting] for setting in order], list(range(1, len(order) + 1))
    best = max if experiment.task.higher_is_better else min
    metric = field_label(experiment.task.metric)
    curves = {"best so far": (trials, list(accumulate(means, best))), "trial": (trials, means)}
    yield Figure(
        "search",
        f"Search: {metric} by trial",
        f"{data_name(experiment)}, validation; mean over the seeds of each setting that "
        f"{search.method} search drew, in its order, and the best of those until then",
        drawing.draw(plots.curves, curves, ("trial", metric), size=(6.4, 3.8)),
    )
