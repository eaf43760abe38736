"""Cells by task: the best setting of each cell in each condition, of one run or of several.

A condition is a column, and columns are never ranked across: each has its own metric and colours.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lstm_jax.config.labels import field_label, format_value
from lstm_jax.report import drawing, plots
from lstm_jax.report.drawing import Figure, TextTable
from lstm_jax.runs.record import Record
from lstm_jax.runs.statistics import Estimate, Summary, lead_on_test, summarise

MAX_DRAWN = 12  # columns that a figure has room for

Condition = tuple[tuple[str, Any], ...]  # `Experiment.condition`


class Column(NamedTuple):
    """The results of one condition, by the name of the row."""

    label: str
    metric: str  # in words
    higher_is_better: bool
    trivial: float | None
    settings: dict[str, Summary]  # of each row the one chosen on validation

    @property
    def scores(self) -> dict[str, Estimate]:
        """The test metric of each row in which no member diverged and the mean is finite."""
        return {
            row: each.test
            for row, each in self.settings.items()
            if not each.diverged and math.isfinite(each.test.mean)
        }

    @property
    def best(self) -> str | None:
        """The row with the best mean on the test; None where no row has one."""
        sign = 1 if self.higher_is_better else -1
        return max(self.scores, key=lambda row: sign * self.scores[row].mean, default=None)

    @property
    def title(self) -> str:
        """The condition and its metric."""
        return f"{self.label}: {self.metric}"


def condition_labels(conditions: Iterable[Condition]) -> dict[Condition, str]:
    """Returns for each condition a text of the values in which it differs from the others.

    Fields are compared between conditions of one task. The text begins with the task's name where
    there are several tasks, and is empty where there is one condition.
    """
    by_task: dict[str, list[dict[str, Any]]] = {}
    for condition in (conditions := dict.fromkeys(conditions)):
        by_task.setdefault(dict(condition)["task"], []).append(dict(condition))
    labels = {}
    for condition, values in zip(conditions, map(dict, conditions), strict=True):
        alike = by_task[values["task"]]
        texts = [values["task"]] if len(by_task) > 1 else []
        texts += [
            f"{field_label(path)} {format_value(value)}"
            for path, value in values.items()
            if len({str(each.get(path)) for each in alike}) > 1
        ]
        labels[condition] = ", ".join(texts)
    return labels


def grid_elements(runs: Sequence[tuple[str, Record]]) -> Iterator[Figure | TextTable]:
    """Yields a table of cells by condition, the leads of the best cells, and a map.

    `runs` holds a title and a record for each run. Yields nothing where there are fewer than two
    cells or two conditions.
    """
    columns = columns_of(runs)
    rows = list(dict.fromkeys(row for column in columns for row in column.settings))
    if len(columns) < 2 or len(rows) < 2:
        return
    trivial = [column.trivial for column in columns]
    counts = {score.n for column in columns for score in column.scores.values()}
    seeds = f"over {counts.pop()} seeds" if len(counts) == 1 else "over the seeds"
    lower = dict.fromkeys(column.metric for column in columns if not column.higher_is_better)
    caption = (
        f"Test; of each cell the setting chosen on validation; mean {seeds}, of 3 or more with the "
        "95 % interval (Student's t). Columns are different questions, which are not ranked. "
        "Bold: the best mean of its column"
        + (f", which is the lowest of {' and '.join(lower)}" if lower else "")
        + ". Training time: mean of a member, which depends on the machine and what else it did."
    )
    costs = {row: _costs(row, columns) for row in rows}
    body = [
        [row, *(_text(column, row) for column in columns), *costs[row].values()] for row in rows
    ]
    if any(score is not None for score in trivial):
        scores = ("" if score is None else f"{score:.4g}" for score in trivial)
        body.append(["trivial", *scores, "", ""])
    bold = {
        (rows.index(column.best), number)
        for number, column in enumerate(columns, 1)
        if column.best is not None
    }
    titles = [column.title for column in columns]
    header = ["cell", *titles, "num parameters", "training time"]
    yield TextTable("grid", "Cells by task", caption, header, body, bold)
    yield from _leads(columns, rows, titles)
    if len(columns) <= MAX_DRAWN:
        yield Figure(
            "grid_map",
            "Cells by task, in colours",
            "test; mean and half the width of its 95 % interval; colours of each column by itself: "
            "the share of the way to its best mean, from the score of the best answer without a "
            "model or, where that is not known, from the worst mean; errors that become ten times "
            "less, by their logarithm",
            _map(columns, rows, costs),
        )


def columns_of(runs: Sequence[tuple[str, Record]]) -> list[Column]:
    """Returns a column for each condition of the runs, in their order.

    A row is a cell. A cell that several runs have trained on one condition has a row for each run.
    """
    found: dict[Condition, dict[tuple[str, str], Summary]] = {}
    trivial: dict[Condition, float | None] = {}
    for title, record in runs:
        for summary in summarise(record.results.values()):  # the best of a condition first
            setting = summary.setting
            rows = found.setdefault(setting.condition, {})
            rows.setdefault((format_value(setting.cell), title), summary)
            if trivial.get(setting.condition) is None:
                trivial[setting.condition] = record.trivial_score_of(setting)
    shared = {
        cell
        for rows in found.values()
        for cell, count in Counter(cell for cell, _ in rows).items()
        if count > 1
    }
    labels = condition_labels(found)
    in_order = dict.fromkeys(
        (format_value(result.member.cell), title)
        for title, record in runs
        for result in record.results.values()
    )
    columns = []
    for condition, rows in found.items():
        task = next(iter(rows.values())).setting.task
        settings = {
            f"{cell}, {title}" if cell in shared else cell: rows[cell, title]
            for cell, title in in_order
            if (cell, title) in rows
        }
        columns.append(
            Column(
                *(labels[condition], field_label(task.metric), task.higher_is_better),
                *(trivial[condition], settings),
            )
        )
    return columns


def shares(
    means: Sequence[float], higher_is_better: bool, trivial: float | None = None
) -> np.ndarray:
    """Returns how far each mean is on the way from the trivial score to the best mean, 0 to 1.

    Without a trivial score the way begins at the worst mean. A mean of nan stays nan. Errors, of
    which a lower one is better, go by their logarithm where the best is less than a tenth of the
    start of the way: else 0.03 and 0.0003 would both look like the best.
    """
    values = np.asarray(means, float)
    if not np.isfinite(values).any():
        return values
    if not higher_is_better and np.nanmin(values) > 0:
        highest = np.nanmax(values) if trivial is None else trivial
        if np.nanmin(values) < highest / 10:
            values, trivial = np.log(values), None if trivial is None else math.log(trivial)
    values = values if higher_is_better else -values
    best, start = np.nanmax(values), np.nanmin(values)
    if trivial is not None:
        start = trivial if higher_is_better else -trivial
    if best <= start:  # no mean is better than the trivial score, or all are equal
        return np.where(np.isnan(values), np.nan, float(trivial is None))
    return np.clip((values - start) / (best - start), 0.0, 1.0)


def _text(column: Column, row: str) -> str:
    """Returns the result of a row in a column as the text of a cell."""
    if row not in column.settings:
        return ""
    if (score := column.scores.get(row)) is None:
        return "diverged" if column.settings[row].diverged else "no score"
    return score.with_interval


def _costs(row: str, columns: Sequence[Column]) -> dict[str, str]:
    """Returns the number of parameters of a row and the seconds that a member trained."""
    settings = [column.settings[row] for column in columns if row in column.settings]
    results = [result for each in settings for result in each.results]
    sizes = sorted({each.num_parameters for each in results if each.num_parameters is not None})
    seconds = [each.seconds for each in results if each.seconds is not None]
    return {
        "parameters": " to ".join(f"{size:,}" for size in dict.fromkeys([*sizes[:1], *sizes[-1:]])),
        "time": f"{sum(seconds) / len(seconds):.3g} s" if seconds else "",
    }


def _leads(
    columns: Sequence[Column], rows: Sequence[str], titles: Sequence[str]
) -> Iterator[TextTable]:
    """Yields a table of how far each cell is behind the best one of its column, paired by seed."""
    leads: list[dict[str, Estimate]] = []
    for column in columns:
        pairs = {
            row: lead_on_test(column.settings[column.best], column.settings[row])
            for row in column.scores
            if column.best is not None and row != column.best
        }
        leads.append({row: lead for row, lead in pairs.items() if lead is not None and lead.n > 1})
    if not any(leads):
        return
    body = []
    for row in rows:
        cells = []
        for column, paired in zip(columns, leads, strict=True):
            lead, text = paired.get(row), "best" if row == column.best else ""
            cells.append(text if lead is None else f"{lead.with_interval} (n {lead.n})")
        body.append([row, *cells])
    yield TextTable(
        "grid_leads",
        "Behind the best cell, on the same seeds",
        "Test; how much better the mean of the column's best cell is over n common seeds, with the "
        "95 % interval of the differences (Student's t, for one pair at a time); where it contains "
        "0, the two cannot be told apart",
        ["cell", *titles],
        body,
    )


def _map(
    columns: Sequence[Column], rows: Sequence[str], costs: Mapping[str, Mapping[str, str]]
) -> drawing.Drawing:
    """Returns the map: a row for each cell, with its costs beside it."""
    colours, notes = [], []
    for column in columns:
        scores = column.scores
        means = [scores[row].mean if row in scores else math.nan for row in rows]
        colours.append(shares(means, column.higher_is_better, column.trivial))
        notes.append([_note(column, row) for row in rows])
    for name in ("parameters", "time"):
        colours.append(np.full(len(rows), math.nan))
        notes.append([costs[row][name].replace(" to ", "\nto ") for row in rows])
    heads = [f"{column.label}\n{column.metric}".replace(", ", "\n") for column in columns]
    return plots.draw_result_map(
        np.array(colours).T, notes, rows, [*heads, "num\nparameters", "training\ntime"]
    )


def _note(column: Column, row: str) -> str:
    """Returns the result of a row in a column as the text in its colour."""
    if (score := column.scores.get(row)) is None:
        return _text(column, row)
    return f"{score.mean:.4g}" + (f"\n±{score.half_width:.2g}" if score.n > 2 else "")
