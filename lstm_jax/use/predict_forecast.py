"""What comes after the last rows of a file."""

from __future__ import annotations

from json import dumps

import numpy as np

from lstm_jax.data.tables import read_table
from lstm_jax.errors import UserError
from lstm_jax.tasks.task import Say
from lstm_jax.use.asked import Asked
from lstm_jax.use.forecasting import forecasts
from lstm_jax.use.trained import Trained


def predict(trained: Trained, asked: Asked, tell: Say) -> None:
    """Prints a line for each value that follows the file's last rows, in the target's own unit.

    Raises UserError where no file is given, and for one that is too short or not as the model
    reads it.
    """
    if asked.last is None or asked.inputs:
        raise UserError("predict: a forecast begins at the end of a file: --last FILE.csv")
    facts, window = trained.facts, trained.member.values["task.window"]
    table = read_table(asked.last, list(dict.fromkeys(facts["columns"])))
    count = len(table.numbers[facts["columns"][0]])
    if count < window:
        raise UserError(f"{asked.last}: {count} rows are fewer than the {window} that are read")
    rows_TI = np.stack([table.numbers[name][-window:] for name in facts["columns"]], axis=1)
    scaled_TI = (rows_TI - np.array(facts["means"])[None]) / np.array(facts["scales"])[None]
    found_S = forecasts(trained, scaled_TI[None].astype(np.float32))[0].astype(np.float64)
    values = (found_S * facts["target_scale"] + facts["target_mean"]).tolist()
    if asked.json:
        answer = {"file": str(asked.last), "after_row": count, "target": facts["target"]}
        tell(dumps({**answer, "forecast": [float(f"{value:.7g}") for value in values]}))
        return
    tell(f"{facts['target']} after {table.where(count - 1)}")
    for ahead, value in enumerate(values, 1):
        tell(f"+{ahead}  {value:.6g}")
