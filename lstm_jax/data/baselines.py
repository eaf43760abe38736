"""What simple forecasts get: the mean, persistence, seasonal persistence, linear autoregression.

Errors are squared, in the units of the scaled target, float64 [S] for each of S values asked for.
Axes: N windows, T rows, I columns, D = T * I + 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lstm_jax.data.dataset import Arrays, Dataset
from lstm_jax.data.windows import gather

MOST_WINDOWS = 20_000  # of training that the linear model is fitted to, evenly spaced
BLOCK = 4000  # windows at a time

Forecaster = Callable[[Arrays, np.ndarray], np.ndarray]  # of windows by index, [N,S]


def baselines(dataset: Dataset, window: int, horizon: int, period: int) -> dict[str, Forecaster]:
    """Returns the simple forecasts by name, fitted on training alone.

    The linear one takes all columns of the whole window, by least squares; the seasonal one, where
    there is a period, repeats the last one.
    """
    ahead_S = np.arange(horizon)

    def persistence(split: Arrays, index_N: np.ndarray) -> np.ndarray:
        last_N = split["target"][split["first"][index_N] + window - 1]
        return np.repeat(last_N[:, None], horizon, axis=1)

    def seasonal(split: Arrays, index_N: np.ndarray) -> np.ndarray:
        first_N1 = split["first"][index_N][:, None] + window
        return split["target"][first_N1 + (ahead_S % period - period)[None]]

    found: dict[str, Forecaster] = {"mean": mean_forecast(horizon), "persistence": persistence}
    if period:
        found[f"seasonal ({period})"] = seasonal
    return found | {"linear": _linear(dataset.train, window, horizon)}


def mean_forecast(horizon: int) -> Forecaster:
    """Returns the forecast that is always the mean of the training rows: zero, as all is scaled."""
    return lambda split, index_N: np.zeros((len(index_N), horizon))


def squared_errors(forecast: Forecaster, split: Arrays, window: int, horizon: int) -> np.ndarray:
    """Returns the mean over all windows of a split, float64 [S]."""
    count, total_S = len(split["first"]), np.zeros(horizon)
    for first in range(0, count, BLOCK):
        index_N = np.arange(first, min(first + BLOCK, count))
        y_NS = gather(split, index_N, window, horizon)["y"].astype(np.float64)
        total_S += np.sum((forecast(split, index_N) - y_NS) ** 2, axis=0)
    return total_S / count


def variances(split: Arrays, window: int, horizon: int) -> np.ndarray:
    """Returns the variances of the values asked for, around their own means, float64 [S]."""
    firsts, count = split["first"][0] + window, len(split["first"])
    values = split["target"].astype(np.float64)
    return np.array([np.var(values[firsts + s : firsts + s + count]) for s in range(horizon)])


def _linear(train: Arrays, window: int, horizon: int) -> Forecaster:
    count = len(train["first"])
    index_N = np.unique(np.linspace(0, count - 1, min(count, MOST_WINDOWS)).astype(np.int64))

    def design(split: Arrays, index_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        batch = gather(split, index_N, window, horizon)
        x_ND = batch["x"].reshape(len(index_N), -1).astype(np.float64)
        return np.c_[x_ND, np.ones(len(x_ND))], batch["y"].astype(np.float64)

    weights_DS = np.linalg.lstsq(*design(train, index_N), rcond=None)[0]
    return lambda split, index_N: design(split, index_N)[0] @ weights_DS
