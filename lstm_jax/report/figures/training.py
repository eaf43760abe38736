"""What a run's metrics show: the curves of its training."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lstm_jax.config.experiment import field_label
from lstm_jax.report import drawing, plots
from lstm_jax.report.curves import by_setting, coloured, data_name, either, panels
from lstm_jax.report.drawing import Figure
from lstm_jax.runs.evaluation import EVAL_EXAMPLES
from lstm_jax.runs.metrics_file import Row
from lstm_jax.runs.record import Record


def of_training(record: Record, rows: list[Row]) -> Iterator[Figure]:
    """Yields the curves of loss and metric, on training batches and on validation, and norms."""
    yield from _of_metrics(record, rows)
    experiment = record.study.experiment
    norms = {
        f"{label}, {name}" if name else label: line
        for column, label in (("gradient_norm", "gradient"), ("update_norm", "update"))
        for name, line in by_setting(record, rows, column, 1).items()
    }
    if norms:
        clips = " or ".join(clipping(norm) for norm in experiment.values_of("clip_norm"))
        sizes = either(experiment, "batch_size")
        yield Figure(
            "norms",
            "Norms of gradient and update",
            f"{data_name(experiment)}, training batches of {sizes}; over all parameters of the "
            f"best setting; the gradient as it is before clipping (here it is {clips})",
            drawing.draw(plots.curves, norms, ("step", "global norm"), log=True),
        )


def _of_metrics(record: Record, rows: list[Row]) -> Iterator[Figure]:
    """Training and validation in one figure where one setting was trained, else in two."""
    experiment = record.study.experiment
    batch = f"{data_name(experiment)}, training batches of {either(experiment, 'batch_size')}"
    several = len(experiment.values_of("seed")) > 1
    seeds = "; mean over a setting's seeds, band from least to most" if several else ""
    looked = f"at most the first {EVAL_EXAMPLES:,} examples of validation, at the end all of them"
    rows = [*rows, *_ends(record)]
    for name in _drawn(record, rows):
        training = panels(record, rows, name)
        looks = panels(record, rows, f"validation_{name}")
        shown = training
        if [len(lines) for each in (training, looks) for lines in each.values()] == [1, 1]:
            (train,), (validation,) = training[""].values(), looks[""].values()
            shown = {"": {"training": train, "validation": validation}}
        if shown:
            yield Figure(
                name,
                f"{field_label(name).capitalize()} while training",
                f"{batch}, every {either(experiment, 'log_every')} steps, each before its update"
                + (f"; {looked}" if shown is not training else "")
                + seeds
                + coloured(max(map(len, shown.values()))),
                plots.draw_panels(shown, ("step", field_label(name))),
            )
        if looks and shown is training:
            yield Figure(
                f"validation_{name}",
                f"{field_label(name).capitalize()} on validation while training",
                f"{data_name(experiment)}, {looked}{seeds}"
                + coloured(max(map(len, looks.values()))),
                plots.draw_panels(looks, ("step", field_label(name))),
            )


def _drawn(record: Record, rows: list[Row]) -> list[str]:
    """Loss and metric; the metric alone where it is the loss."""
    metric = record.study.experiment.task.metric
    pairs = [(row["loss"], row[metric]) for row in rows if row.keys() >= {"loss", metric}]
    losses, metrics = np.array(pairs, float).reshape(-1, 2).T
    same = np.allclose(losses, metrics, equal_nan=True)
    return [metric] if same else ["loss", metric]


def _ends(record: Record) -> Iterator[Row]:
    """How members that were looked at while they trained stand on validation at their end."""
    for result in record.results.values():
        # The best parameters that were kept are not those of the end.
        if result.member.num_evals > 1 and result.member.restore_best is False:
            found = {f"validation_{name}": value for name, value in result.validation.items()}
            yield {"member": result.member.digest, "step": result.steps} | found


def clipping(clip_norm: float | None) -> str:
    """Returns whether a gradient is clipped, in words."""
    return "not clipped" if clip_norm is None else f"clipped at {clip_norm:g}"
