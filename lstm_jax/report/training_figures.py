"""What a run's metrics and results show: curves, the map of its settings, what parameters buy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lstm_jax.experiment import Experiment
from lstm_jax.report import figures
from lstm_jax.report.figures import Figure
from lstm_jax.statistics import Setting, settings

MOST_RATES = 12  # learning rates that a map has room for

Results = dict[str, dict[str, Any]]


def of_training(
    experiment: Experiment,
    results: Results,
    rows: list[dict[str, Any]],
    data: dict[str, Any],
) -> Iterator[Figure]:
    """Curves of the metrics; for a sweep the map of its settings as well."""
    of_batch = f"{experiment.dataset}, training batches of {experiment.batch_size}"
    for name, label in (("loss", "cross-entropy"), ("accuracy", "accuracy")):
        lines = _by_setting(results, rows, name)
        if lines:
            seeds = len(experiment.axis("seed"))
            yield Figure(
                name,
                f"{label.capitalize()} while training",
                f"{of_batch}, every {experiment.log_every} steps, each before its update"
                + ("; mean over a setting's seeds, band from least to most" if seeds > 1 else ""),
                figures.draw(figures.curves, lines, ("step", label)),
            )
    norms = {
        f"{label}, {name}": line
        for column, label in (("gradient_norm", "gradient"), ("update_norm", "update"))
        for name, line in _by_setting(results, rows, column, most=1).items()
    }
    if norms:
        yield Figure(
            "norms",
            "Norms of gradient and update",
            f"{of_batch}; over all parameters of the best setting; the gradient as it is before "
            f"clipping (here it is {clipping(experiment.clip_norm)})",
            figures.draw(figures.curves, norms, ("step", "global norm (log10)")),
        )
    if results and len(settings(results.values())) > 1:
        yield _map(experiment, results)
        if data:
            yield _against_parameters(experiment, results, data)
        yield from _against_time(experiment, results)


def clipping(clip_norm: float) -> str:
    return f"clipped at {clip_norm:g}" if clip_norm else "not clipped"


def _by_setting(
    results: Results, rows: list[dict[str, Any]], name: str, most: int = 8
) -> dict[str, tuple[Any, Any]]:
    """Steps and values [seeds, steps] of the best settings, by their names."""
    lines: dict[str, tuple[Any, Any]] = {}
    columns: dict[str, dict[int, float]] = {}
    for row in rows:
        value = row.get(name)
        if value is not None:
            shown = figures.log10(value) if name.endswith("norm") else value
            columns.setdefault(row["member"], {})[row["step"]] = float(shown)
    groups: dict[str, list[str]] = {}
    best = settings(results.values())[:most] if results else []
    for setting in best:
        groups[_name(setting)] = [
            digest
            for digest, result in results.items()
            if (result["hidden_size"], result["learning_rate"]) == setting[:2]
        ]
    if not best:
        groups = {digest: [digest] for digest in list(columns)[:most]}
    for title, digests in groups.items():
        members = [columns[digest] for digest in digests if digest in columns]
        members = [m for m in members if len(m) == max(map(len, members))]  # not the diverged
        steps = sorted(set.intersection(*map(set, members))) if members else []
        if steps:
            lines[title] = steps, [[m[step] for step in steps] for m in members]
    return lines


def _name(setting: Setting) -> str:
    return f"H {setting.hidden_size}, lr {setting.learning_rate:g}"


def _map(experiment: Experiment, results: Results) -> Figure:
    """Hidden size x learning rate; beside each other where a search has too many rates."""
    found = settings(results.values())
    sizes = sorted({s.hidden_size for s in found})
    rates = sorted({s.learning_rate for s in found})
    where = f"{experiment.dataset}, validation"
    if len(rates) > MOST_RATES:
        points = {
            f"H {size}": (
                [s.learning_rate for s in found if s.hidden_size == size],
                [s.validation.mean for s in found if s.hidden_size == size],
            )
            for size in sizes
        }
        return Figure(
            "settings",
            "Accuracy by learning rate",
            f"{where}; a point for each of {len(found)} settings, mean over its seeds",
            figures.draw(figures.scatter, points, ("learning rate", "accuracy")),
        )
    values = np.full((len(rates), len(sizes)), np.nan)
    notes = [["" for _ in sizes] for _ in rates]
    for s in found:
        x, y = rates.index(s.learning_rate), sizes.index(s.hidden_size)
        values[x, y] = s.validation.mean
        half = "" if s.validation.n == 1 else f"\n±{100 * s.validation.half_width:.1f}"
        notes[x][y] = f"{100 * s.validation.mean:.1f}{half}\nn={s.validation.n}"
    ticks = [f"{rate:g}" for rate in rates], [str(size) for size in sizes]
    labels = ("learning rate", "hidden size")
    return Figure(
        "settings",
        "Accuracy by hidden size and learning rate",
        f"{where}; mean over n seeds in percent, ± the half width of its 95 % interval",
        figures.draw(figures.heat_map, values, notes, ticks, labels, size=(6.4, 3.6)),
    )


def _against_parameters(experiment: Experiment, results: Results, data: dict[str, Any]) -> Figure:
    """What parameters buy."""
    rates = sorted({r["learning_rate"] for r in results.values()})

    def number_of(hidden: int) -> int:
        layers = data["features"] * hidden + 8 * hidden * hidden + hidden * data["classes"]
        return layers + 5 * hidden + data["classes"]

    shown = rates if len(rates) <= len(figures.COLOURS) else [None]
    points = {}
    for rate in shown:
        mates = [r for r in results.values() if rate in (None, r["learning_rate"])]
        points["all learning rates" if rate is None else f"lr {rate:g}"] = (
            [number_of(r["hidden_size"]) for r in mates],
            [r["validation_accuracy"] for r in mates],
        )
    return Figure(
        "parameters",
        "Accuracy against parameters",
        f"{experiment.dataset}, validation; a point for each of {len(results)} members",
        figures.draw(figures.scatter, points, ("parameters", "accuracy")),
    )


def _against_time(experiment: Experiment, results: Results) -> Iterator[Figure]:
    """What time buys; members of a run older than the record of times are left out."""
    timed = [r for r in results.values() if r.get("seconds")]
    points = {
        f"H {size}": (
            [r["seconds"] for r in timed if r["hidden_size"] == size],
            [r["validation_accuracy"] for r in timed if r["hidden_size"] == size],
        )
        for size in sorted({r["hidden_size"] for r in timed})
    }
    if points:
        yield Figure(
            "time",
            "Accuracy against time",
            f"{experiment.dataset}, validation; a point for each of {len(timed)} members; seconds "
            "of its training: its share of what all took that trained beside it",
            figures.draw(figures.scatter, points, ("seconds", "accuracy")),
        )
