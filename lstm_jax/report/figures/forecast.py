"""What a forecaster does: its forecasts over the truth, its error beside that of simple forecasts.

Axes: N windows, T rows of a window, S values asked for.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lstm_jax.data.dataset import Dataset, num_examples
from lstm_jax.data.windows import gather_windows, simple_forecasts, squared_errors, target_variances
from lstm_jax.predict.forecast import forecaster, window_and_horizon
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.report import drawing, plots
from lstm_jax.report.drawing import Figure, Table

SHOWN = 300  # rows of validation under a curve
EXAMPLES = 5
LAST = 3  # known values that an example shows


def of_answers(trained: TrainedModel, dataset: Dataset, who: str) -> Iterator[Figure | Table]:
    """Yields five windows, the model beside simple forecasts, and its forecasts over the truth."""
    where = f"{dataset.name}, validation, n = {num_examples(dataset.validation):,}; {who}"
    yield _five(trained, dataset, where)
    window, horizon = window_and_horizon(trained)
    simple = simple_forecasts(dataset, window, horizon, trained.member.values["task.period"])
    forecasters = {"this model": forecaster(trained)} | simple
    errors = {
        split: {
            name: squared_errors(forecast, getattr(dataset, split), window, horizon)
            for name, forecast in forecasters.items()
        }
        for split in ("validation", "test")
    }
    yield _compared(trained, dataset, errors, who)
    yield _over_the_truth(trained, dataset, where)
    if horizon > 1:
        ahead_S = np.arange(1, horizon + 1)
        lines = {name: (ahead_S, e) for name, e in errors["validation"].items()}
        yield Figure(
            "error_by_horizon",
            "How far one sees: the error by the rows ahead",
            f"{where}; 1 is the variance of the training rows",
            drawing.draw(plots.curves, lines, ("rows ahead", "squared error"), log=True),
        )


def _compared(
    trained: TrainedModel, dataset: Dataset, errors: dict[str, dict[str, np.ndarray]], who: str
) -> Table:
    """Squared error and R2 on validation and test of the model and of each simple forecast."""
    window, horizon = window_and_horizon(trained)
    spread = {split: target_variances(getattr(dataset, split), window, horizon) for split in errors}
    rows = []
    for name in errors["test"]:
        row = [name]
        for split, of_split in errors.items():
            error = float(of_split[name].mean())
            row += [f"{error:.4g}", _r2(error, float(spread[split].mean()))]
        row += [f"{errors['test'][name][-1]:.4g}"] if horizon > 1 else []
        rows.append(row)
    header = ["forecast", "validation error", "validation R2", "test error", "test R2"]
    return Table(
        "beside",
        "Beside simple forecasts",
        f"{dataset.name}; {who}; squared errors, 1 being the variance of the training rows; R2 is "
        "1 - error / variance of what was asked for; all fitted on training alone, which is cut "
        f"{dataset.metadata['rule']}; linear: least squares on the same window of {window} rows",
        header + ([f"test error {horizon} ahead"] if horizon > 1 else []),
        rows,
    )


def _r2(error: float, variance: float) -> str:
    return f"{1 - error / variance:.4f}" if variance > 0 else "none"


def _five(trained: TrainedModel, dataset: Dataset, where: str) -> Table:
    """Windows of validation, evenly spaced, in the target's own unit."""
    split, (window, horizon) = dataset.validation, window_and_horizon(trained)
    count = num_examples(split)
    index_N = np.unique(np.linspace(0, count - 1, EXAMPLES).astype(np.int64))
    found_NS = _own(dataset, forecaster(trained)(split, index_N))
    target = _own(dataset, split["target"])
    shown = [0, horizon - 1] if horizon > 1 else [0]
    rows = []
    for index, found_S in zip(index_N, found_NS, strict=True):
        first = int(split["first"][index]) + window
        known = target[max(first - min(LAST, window), 0) : first]
        row = [str(index + 1), " ".join(f"{value:.4g}" for value in known)]
        for ahead in shown:
            row += [f"{target[first + ahead]:.4g}", f"{found_S[ahead]:.4g}"]
        rows.append(row)
    header = ["window", f"{dataset.metadata['target']}, last known"]
    for ahead in shown:
        header += [f"truth +{ahead + 1}", f"forecast +{ahead + 1}"]
    caption = f"{where}; evenly spaced windows, in the unit of the file"
    return Table("five", "Five windows", caption, header, rows)


def _over_the_truth(trained: TrainedModel, dataset: Dataset, where: str) -> Figure:
    """The first rows of validation, and what was said of each of them before."""
    split, (window, horizon) = dataset.validation, window_and_horizon(trained)
    index_N = np.arange(min(SHOWN, num_examples(split)))
    batch = gather_windows(split, index_N, window, horizon)
    found_NS = _own(dataset, forecaster(trained)(split, index_N))
    rows_N = index_N + 1
    lines = {"truth": (rows_N, _own(dataset, batch["y"][:, 0]))}
    for ahead in sorted({0, horizon - 1}):
        lines[f"{ahead + 1} ahead"] = (rows_N + ahead, found_NS[:, ahead])
    if horizon > 1:  # the truth goes on as far as the longest forecast
        later = _own(dataset, batch["y"][-1, 1:])
        values = np.concatenate([lines["truth"][1], later])
        lines["truth"] = (np.arange(1, len(values) + 1), values)
    return Figure(
        "forecasts",
        "Forecasts over the truth",
        f"{where}; its first {len(index_N)} windows; each forecast stands at the row it is of",
        drawing.draw(
            plots.curves, lines, ("row of validation", dataset.metadata["target"]), size=(6.4, 3.2)
        ),
    )


def _own(dataset: Dataset, scaled: np.ndarray) -> np.ndarray:
    """Values in the unit of the file."""
    return scaled * dataset.metadata["target_scale"] + dataset.metadata["target_mean"]
