"""Forecasts of a trained model: of windows of a data set, and of what follows the end of a file.

Axes: N windows, T time steps of a window, I columns, S time steps of a forecast.
"""

from __future__ import annotations

import sys
from functools import partial
from json import dumps

import numpy as np

from lstm_jax.data.dataset import Arrays, Say
from lstm_jax.data.readers import TableOptions, read_series, read_table
from lstm_jax.data.time_series import (
    Forecaster,
    explain_gaps,
    gather_windows,
    rising_times,
)
from lstm_jax.errors import UserError
from lstm_jax.predict.predict import PredictOptions
from lstm_jax.predict.trained import TrainedModel


def predict(trained: TrainedModel, options: PredictOptions, say: Say) -> None:
    """Prints one line for each value that follows the last rows of a file, in the unit of the file.

    Raises UserError where no file is given, where it is too short, and where the model cannot read
    it.
    """
    if options.last is None or options.inputs:
        raise UserError("predict: a forecast begins at the end of a file: --last FILE.csv")
    metadata, (window, _) = trained.metadata, window_and_horizon(trained)
    warn = partial(print, file=sys.stderr)  # apart from the answer
    time = trained.member.values["task.time"]
    times = [] if time is None else [time]
    fields = "encoding", "decimal", "thousands"
    form = TableOptions(*(trained.member.values[f"task.{name}"] for name in fields))
    columns = list(dict.fromkeys(metadata["columns"]))
    rows = read_table(options.last, form, warn).with_header()
    table = read_series(rows, columns, times, warn)
    if time is not None:
        rising_times(table, time)
    num_rows = len(table.numbers[metadata["columns"][0]])
    if num_rows < window:
        raise UserError(
            f"{options.last}: {num_rows} rows are fewer than the {window} that the model reads"
        )
    explain_gaps(table, time, window, warn, only_last=True)
    x_TI = np.stack([table.numbers[name][-window:] for name in metadata["columns"]], axis=1)
    scaled_TI = (x_TI - np.array(metadata["means"])[None]) / np.array(metadata["scales"])[None]
    y_S = forecasts(trained, scaled_TI[None].astype(np.float32))[0].astype(np.float64)
    values = (y_S * metadata["target_scale"] + metadata["target_mean"]).tolist()
    if options.json:
        answer = {"file": str(options.last), "after_row": num_rows, "target": metadata["target"]}
        say(dumps({**answer, "forecast": [float(f"{value:.7g}") for value in values]}))
        return
    say(f"{metadata['target']} after {table.locate(num_rows - 1)}")
    for ahead, value in enumerate(values, 1):
        say(f"+{ahead}  {value:.6g}")


def window_and_horizon(trained: TrainedModel) -> tuple[int, int]:
    """Returns the number of time steps that the model reads and the number that it forecasts."""
    return trained.member.values["task.window"], trained.member.values["task.horizon"]


def forecasts(trained: TrainedModel, x_NTI: np.ndarray) -> np.ndarray:
    """Returns the values that follow the windows, float32 [N,S]. Both are scaled as in training."""
    return trained.outputs({"x": np.asarray(x_NTI)})


def forecaster(trained: TrainedModel) -> Forecaster:
    """Returns the model as a function of a split and window indices, as the baselines are."""

    def forecast(split: Arrays, index_N: np.ndarray) -> np.ndarray:
        return forecasts(trained, gather_windows(split, index_N, *window_and_horizon(trained))["x"])

    return forecast
