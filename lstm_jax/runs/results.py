"""What is written down of members: rows of metrics and of scores, SHA-256 of parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from lstm_jax.runs.checkpoints import fingerprint
from lstm_jax.experiment import Member
from lstm_jax.data.load import Split
from lstm_jax.train.sweep import Programs, name_arrays
from lstm_jax.train.step import Metrics, Params, TrainState


def metric_rows(
    digests: Sequence[str], metrics: Metrics, start: int, stop: int, every: int
) -> list[dict[str, Any]]:
    """A row for each member and each step that is a multiple of `every`; null if not finite."""
    columns = {name: np.asarray(column) for name, column in metrics._asdict().items()}
    return [
        {
            "member": digest,
            "step": step,
            **{name: finite(column[row, step - start]) for name, column in columns.items()},
        }
        for step in range(start, stop)
        if step % every == 0
        for row, digest in enumerate(digests)
    ]


def score_rows(
    programs: Programs,
    state: TrainState,
    members: Mapping[str, Member],
    steps: int,
    splits: Mapping[str, Split],
) -> dict[str, dict[str, Any]]:
    """A row for each member, by its digest: who it is and how it does on each split."""
    scores = {name: programs.score(state.params, split) for name, split in splits.items()}
    rows = {}
    for index, (digest, member) in enumerate(members.items()):
        bad = int(state.diverged_at[index])
        row: dict[str, Any] = {
            **asdict(member),
            "steps": steps,
            "diverged_at": None if bad < 0 else bad,
        }
        for name, split in splits.items():
            row[f"{name}_accuracy"] = int(scores[name].correct[index]) / len(split.labels)
            row[f"{name}_loss"] = finite(scores[name].loss[index])
        rows[digest] = row
    return rows


def parameter_digests(params: Params, count: int) -> list[str]:
    """SHA-256 of the parameters of each of the first `count` members."""
    arrays = {name: np.asarray(leaf) for name, leaf in name_arrays(params).items()}
    return [fingerprint({k: array[row] for k, array in arrays.items()}) for row in range(count)]


def finite(value: Any) -> float | None:
    """As JSON has it, which knows no nan."""
    return float(value) if np.isfinite(value) else None
