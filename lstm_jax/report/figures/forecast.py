"""Answers of a forecaster: its forecasts and the true values, its error beside simple forecasts.

Axes: N windows, S time steps ahead.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lstm_jax.data.dataset import Arrays, Dataset, num_examples
from lstm_jax.data.time_series import (
    Scales,
    gather_windows,
    series_of,
    simple_forecasts,
    squared_errors,
    target_variances,
)
from lstm_jax.predict.forecast import forecaster, window_and_horizon
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.report import drawing, plots
from lstm_jax.report.drawing import Figure, TextTable
from lstm_jax.report.plots import Curve

MAX_WINDOWS = 300  # of validation, in the figure of forecasts
NUM_EXAMPLES = 5
NUM_KNOWN = 3  # known values that an example shows


def answer_figures(
    trained: TrainedModel, dataset: Dataset, member_label: str
) -> Iterator[Figure | TextTable]:
    """Yields five windows, the error beside simple forecasts, the forecasts with the true values,
    and the error by the time steps ahead where the horizon is longer than one.
    """
    source = f"{dataset.name}, validation, n = {num_examples(dataset.validation):,}; {member_label}"
    yield _window_table(trained, dataset, source)
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
    yield _error_table(trained, dataset, errors, member_label)
    yield _forecast_figure(trained, dataset, source)
    if horizon > 1:
        ahead_S = np.arange(1, horizon + 1)
        curves = {name: (ahead_S, error_S) for name, error_S in errors["validation"].items()}
        yield Figure(
            "error_by_horizon",
            "Error by the time steps ahead",
            f"{source}; squared error, where 1 is the variance of the training data",
            drawing.draw(plots.curves, curves, ("time steps ahead", "squared error"), log=True),
        )


def _window_table(trained: TrainedModel, dataset: Dataset, source: str) -> TextTable:
    """Returns a table of validation windows, evenly spaced, in the unit of the file."""
    split, (window, horizon) = dataset.validation, window_and_horizon(trained)
    count = num_examples(split)
    index_N = np.unique(np.linspace(0, count - 1, NUM_EXAMPLES).astype(np.int64))
    forecasts_NS = _in_file_unit(dataset, split, index_N, forecaster(trained)(split, index_N))
    num_known = min(NUM_KNOWN, window)
    around = np.arange(window - num_known, window + horizon)  # rows of a window and what follows
    true = split["target"][split["first"][index_N][:, None] + around[None]]
    columns = [0, horizon - 1] if horizon > 1 else [0]
    rows = []
    for index, true_row, forecast_S in zip(
        index_N, _in_file_unit(dataset, split, index_N, true), forecasts_NS, strict=True
    ):
        row = [str(index + 1), " ".join(f"{value:.4g}" for value in true_row[:num_known])]
        for ahead in columns:
            row += [f"{true_row[num_known + ahead]:.4g}", f"{forecast_S[ahead]:.4g}"]
        rows.append(row)
    header = ["window", f"{dataset.metadata['target']}, last known values"]
    for ahead in columns:
        header += [f"true value +{ahead + 1}", f"forecast +{ahead + 1}"]
    caption = f"{source}; evenly spaced windows, values in the unit of the file"
    return TextTable("windows", "Five windows", caption, header, rows)


def _error_table(
    trained: TrainedModel,
    dataset: Dataset,
    errors: dict[str, dict[str, np.ndarray]],
    member_label: str,
) -> TextTable:
    """Returns a table of squared error and R2 of the model and of each simple forecast."""
    window, horizon = window_and_horizon(trained)
    variance_S = {
        split: target_variances(getattr(dataset, split), window, horizon) for split in errors
    }
    rows = []
    for name in errors["test"]:
        row = [name]
        for split, by_name in errors.items():
            error, variance = float(by_name[name].mean()), float(variance_S[split].mean())
            row += [f"{error:.4g}", f"{1 - error / variance:.4f}" if variance > 0 else "none"]
        row += [f"{errors['test'][name][-1]:.4g}"] if horizon > 1 else []
        rows.append(row)
    header = ["forecast", "validation error", "validation R2", "test error", "test R2"]
    return TextTable(
        "simple_forecasts",
        "Error beside simple forecasts",
        f"{dataset.name}; {member_label}; squared errors, where 1 is the variance of the training "
        "data; R2 is 1 - error / variance of the true values; all forecasts are fitted on the "
        f"training data only; splits: {dataset.metadata['rule']}; linear: least squares on the "
        f"same window of {window} time steps",
        header + ([f"test error +{horizon}"] if horizon > 1 else []),
        rows,
    )


def _forecast_figure(trained: TrainedModel, dataset: Dataset, source: str) -> Figure:
    """Returns the true values of the first validation windows, up to a gap, and the forecasts made
    of them.
    """
    split, (window, horizon) = dataset.validation, window_and_horizon(trained)
    number_N = series_of(split, np.arange(num_examples(split)))
    of_first_N = np.flatnonzero(number_N == number_N[0])[:MAX_WINDOWS]
    follows = np.diff(split["first"][of_first_N]) == 1
    index_N = of_first_N[: int(np.argmin(np.r_[follows, False])) + 1]
    y_NS = gather_windows(split, index_N, window, horizon)["y"]
    true_NS = _in_file_unit(dataset, split, index_N, y_NS)
    forecasts_NS = _in_file_unit(dataset, split, index_N, forecaster(trained)(split, index_N))
    time_N = np.arange(1, len(index_N) + 1)
    # The true values go on as far as the longest forecast.
    true = np.concatenate([true_NS[:, 0], true_NS[-1, 1:]])
    curves: dict[str, Curve] = {"true values": (np.arange(1, len(true) + 1), true)}
    for ahead in sorted({0, horizon - 1}):
        curves[f"forecast +{ahead + 1}"] = time_N + ahead, forecasts_NS[:, ahead]
    name = Scales.of(dataset.metadata).series[number_N[0]]
    of_series = f" of the series {name}" if name else ""
    labels = "time step of validation", dataset.metadata["target"]
    return Figure(
        "forecasts",
        "Forecasts and true values",
        f"{source}; the first {len(index_N)} windows{of_series}; each forecast is drawn at the "
        "time step that it predicts",
        drawing.draw(plots.curves, curves, labels, size=(6.4, 3.2)),
    )


def _in_file_unit(
    dataset: Dataset, split: Arrays, index_N: np.ndarray, y_NS: np.ndarray
) -> np.ndarray:
    """Returns scaled values of the target, of these windows, in the unit of the file."""
    return Scales.of(dataset.metadata).unscale_target(y_NS, series_of(split, index_N))
