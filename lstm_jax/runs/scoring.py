"""What is written down of members: rows of metrics, results, SHA-256 of parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.results import Score
from lstm_jax.data.dataset import Arrays
from lstm_jax.model.init import Params
from lstm_jax.runs.checkpoints import fingerprint
from lstm_jax.train.distributed import fetch
from lstm_jax.train.step import Metrics
from lstm_jax.train.sweep import Programs, name_arrays


def metric_rows(
    members: Sequence[Experiment],
    metrics: Metrics,
    start: int,
    stop: int,
    look: Sequence[Score] | None = None,
) -> list[dict[str, Any]]:
    """Returns a row for each member and each step that is to be logged; null if not finite.

    The members are of one group, and so log at the same steps and have the same metric. `look` is
    how they stood on validation before step `start`, if they were looked at: part of its row.
    """
    every, named = members[0].log_every, columns(members, metrics)
    rows = [
        {
            "member": member.digest,
            "step": step,
            **{name: finite(column[row, step - start]) for name, column in named.items()},
        }
        for step in range(start, stop)
        if step % every == 0
        for row, member in enumerate(members)
    ]
    for row, score in zip(rows, look or (), strict=False):
        row |= {f"validation_{name}": value for name, value in score.items()}
    return rows


def columns(members: Sequence[Experiment], metrics: Metrics) -> dict[str, np.ndarray]:
    """Returns the metrics of a segment by the names they have on record, float32 [rows, steps]."""
    metric = members[0].task.metric
    return {
        metric if name == "metric" else name: np.asarray(column)
        for name, column in metrics._asdict().items()
    }


def scores(
    programs: Programs, params: Params, members: Sequence[Experiment], splits: Mapping[str, Arrays]
) -> dict[str, list[Score]]:
    """Returns loss and metric of each member on each split, by the split's name."""
    metric, found = members[0].task.metric, {}
    for name, split in splits.items():
        sums = fetch(programs.score(params, split))
        loss, value, weight = (np.asarray(column, np.float64) for column in sums)
        found[name] = [
            {"loss": finite(loss[row] / weight[row]), metric: finite(value[row] / weight[row])}
            for row in range(len(members))
        ]
    return found


def parameter_digests(params: Params, count: int) -> list[str]:
    """Returns the SHA-256 of the parameters of each of the first `count` members."""
    arrays = fetch(name_arrays(params))
    return [fingerprint({k: array[row] for k, array in arrays.items()}) for row in range(count)]


def finite(value: Any) -> float | None:
    """Returns the number as JSON has it, which knows no nan."""
    return float(value) if np.isfinite(value) else None
