"""What comes after the last rows of a file."""

from __future__ import annotations

from json import dumps

import numpy as np

from lstm_jax.data.dataset import Say
from lstm_jax.data.tables import read_table
from lstm_jax.errors import UserError
from lstm_jax.predict.forecasting import forecasts
from lstm_jax.predict.options import PredictOptions
from lstm_jax.predict.trained import TrainedModel


def predict(trained: TrainedModel, options: PredictOptions, tell: Say) -> None:
    """Prints a line for each value that follows the file's last rows, in the target's own unit.

    Raises UserError where no file is given, and for one that is too short or not as the model
    reads it.
    """
    if options.last is None or options.inputs:
        raise UserError("predict: a forecast begins at the end of a file: --last FILE.csv")
    metadata, window = trained.metadata, trained.member.values["task.window"]
    table = read_table(options.last, list(dict.fromkeys(metadata["columns"])))
    count = len(table.numbers[metadata["columns"][0]])
    if count < window:
        raise UserError(f"{options.last}: {count} rows are fewer than the {window} that are read")
    rows_TI = np.stack([table.numbers[name][-window:] for name in metadata["columns"]], axis=1)
    scaled_TI = (rows_TI - np.array(metadata["means"])[None]) / np.array(metadata["scales"])[None]
    found_S = forecasts(trained, scaled_TI[None].astype(np.float32))[0].astype(np.float64)
    values = (found_S * metadata["target_scale"] + metadata["target_mean"]).tolist()
    if options.json:
        answer = {"file": str(options.last), "after_row": count, "target": metadata["target"]}
        tell(dumps({**answer, "forecast": [float(f"{value:.7g}") for value in values]}))
        return
    tell(f"{metadata['target']} after {table.where(count - 1)}")
    for ahead, value in enumerate(values, 1):
        tell(f"+{ahead}  {value:.6g}")
