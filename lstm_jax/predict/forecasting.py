"""A trained model's forecasts, of windows as the data set holds them.

Axes: N windows, B batch, T rows of a window, I columns, S values asked for.
"""

from __future__ import annotations

import numpy as np

from lstm_jax.data.baselines import Forecaster
from lstm_jax.data.dataset import Arrays
from lstm_jax.data.windows import gather
from lstm_jax.predict.trained import TrainedModel


def shape(trained: TrainedModel) -> tuple[int, int]:
    """Returns the rows that are read and the values that are asked for."""
    return trained.member.values["task.window"], trained.member.values["task.horizon"]


def forecasts(trained: TrainedModel, x_NTI: np.ndarray) -> np.ndarray:
    """Returns the values that follow windows, float32 [N,S]; both are scaled as in training."""
    return trained.outputs({"x": np.asarray(x_NTI)})


def forecaster(trained: TrainedModel) -> Forecaster:
    """Returns the model as a forecaster of a split's windows, to be held against the baselines."""

    def forecast(split: Arrays, index_N: np.ndarray) -> np.ndarray:
        return forecasts(trained, gather(split, index_N, *shape(trained))["x"])

    return forecast
