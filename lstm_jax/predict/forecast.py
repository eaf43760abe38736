"""Forecasts of a trained model: of windows of a data set, and of what follows the end of a file.

Axes: N windows, T time steps of a window, I columns, S time steps of a forecast.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from json import dumps
from typing import Any, NamedTuple

import numpy as np

from lstm_jax.data.columns import SeriesTable
from lstm_jax.data.dataset import Arrays, Say
from lstm_jax.data.readers import table_of_frame
from lstm_jax.data.series import (
    MAX_SHOWN,
    Series,
    SeriesSplit,
    SeriesTimes,
    listed,
    order_by_time,
    recorded_step,
    say_missing,
    without_missing,
)
from lstm_jax.data.table import Table
from lstm_jax.data.time_series import Forecaster, Scales, gather_windows
from lstm_jax.data.times import NUMBER, Times, TimeStep
from lstm_jax.errors import UserError
from lstm_jax.predict.predict import PredictOptions
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.runs.array_columns import Columns
from lstm_jax.runs.files import printable
from lstm_jax.tasks.forecast import Forecast

DIGITS = ".9g"  # of a printed value: enough for any float32, also of a series far from 0


def predict(trained: TrainedModel, options: PredictOptions, say: Say) -> None:
    """Prints one line for each value that follows the last rows of a file, in the unit of the file,
    with its time where times are known; of each series, where the model was trained on several.

    Raises UserError where no file is given, where it is too short, and where the model cannot read
    it, among others because its rows are of another time step; where it has no forecast of one of
    several series, after it has answered the others.
    """
    if options.last is None or options.inputs:
        raise UserError("predict: a forecast begins at the end of a file: --last FILE.csv")
    target, task = trained.metadata["target"], forecast_task(trained)
    file, problems = options.last, dict[str, str]()

    def warn(line: str) -> None:
        print(printable(line), file=sys.stderr)  # apart from the answer

    rows = task.read_rows(file, warn)
    results = continue_table(trained, rows, problems, warn)
    for result in results:
        shown = [result.times.show(time) for time in result.when] if result.times else []
        values = [f"{value:{DIGITS}}" for value in result.values]
        if options.json:
            answer = {"file": str(file), "after_row": result.row + 1, "target": target}
            answer |= {"series": result.series} if result.series else {}
            answer |= {"times": shown[1:]} if shown else {}
            say(dumps({**answer, "forecast": [float(value) for value in values]}))
            continue
        name = f"{target}{f' of {result.series}' if result.series else ''}"
        say(f"{name} after {rows.locate(result.row)}{f' ({shown[0]})' if shown else ''}")
        for ahead, value in enumerate(values, 1):
            say(f"+{ahead}  {f'{shown[ahead]}: ' if shown else ''}{value}")
    for name, problem in list(problems.items())[:MAX_SHOWN]:
        warn(f"no forecast of {name}: {problem}")
    if problems:
        raise UserError(
            f"{file}: no forecast of {len(problems):,} of {len(results) + len(problems):,} series: "
            f"{listed(problems)}"
        )


def forecast(trained: TrainedModel, rows: Any, series: str = "") -> Any:
    """Returns what follows the last rows of a data frame of pandas or Polars, as a data frame: a
    row for each value, with its time where times are known, and with its series where the model was
    trained on several. A table of PyArrow is answered by `Columns`.

    Or returns what follows windows of an array [N,T,I], or one window [T,I], of one series: float64
    [N,S]. The columns of an array are those of the data set; `series` names their series.

    All numbers are in the units of the data of training. What is doubtful is a warning. Raises
    UserError as `predict` does, for an array of another shape, and for a data frame with `series`.
    """
    task, metadata, problems = forecast_task(trained), trained.metadata, dict[str, str]()
    if not hasattr(rows, "__arrow_c_stream__"):
        return _continue_windows(trained, np.asarray(rows), series)
    if series:
        raise UserError(
            f"predict: series={series!r} is for an array; a data frame names its series in a "
            "column; leave series away"
        )
    doubts = list[str]()
    try:
        results = continue_table(trained, table_of_frame(rows), problems, doubts.append)
    finally:
        for doubt in doubts:
            warnings.warn(doubt, stacklevel=3)  # at the caller of `TrainedModel.predict`
    if problems:
        raise UserError(f"no forecast of {listed(problems)}: {next(iter(problems.values()))}")
    answers = list[dict[str, Any]]()
    for result in results:
        of_series = {task.series: result.series} if task.series else {}
        for ahead, value in enumerate(result.values, 1):
            time = {result.column: result.times.date(result.when[ahead])} if result.times else {}
            answers.append({**of_series, **time, metadata["target"]: value})
    columns, package = Columns(answers), type(rows).__module__.partition(".")[0]
    if package == "pandas":
        return columns.to_pandas().infer_objects()  # dates become a column of dates
    return columns.to_polars() if package == "polars" else columns


class SeriesForecast(NamedTuple):
    """What follows the last rows of one series, in the unit of the target."""

    series: str  # its name; empty where the data hold one series
    row: int  # the last row of the table that was read, from 0
    values: list[float]
    column: str = ""  # of the times; empty where no time is known
    times: Times | None = None
    when: Sequence[float] = ()  # the time of the last row, and that of each value


def continue_table(
    trained: TrainedModel, rows: Table, problems: dict[str, str], warn: Say
) -> list[SeriesForecast]:
    """Returns the forecast of each series of a table that names its columns.

    Of several series, those without a forecast are added to `problems`, each with its reason.
    Raises UserError as `predict` does.
    """
    metadata, task = trained.metadata, forecast_task(trained)
    columns, scales, results = metadata["columns"], Scales.of(metadata), list[SeriesForecast]()
    _check_encoding(rows, columns, task.encoding)
    table = task.read_columns(rows, columns, warn)
    each, times = order_by_time(table, columns, task.time, task.series, warn)
    step = _time_step(metadata.get("time", {}), each, times, table)
    say_missing(table, each, task.missing, warn)
    for one in each:
        try:
            if one.name not in scales.series:
                raise UserError(f"{rows.path}: the model was not trained on the series {one.name}")
            last_rows = _last_rows(one, step, task, times, table, warn)
        except UserError as error:
            if len(each) == 1:
                raise
            problems[one.name] = str(error)
            continue
        x_TI = np.stack([last_rows.columns[name] for name in columns], axis=1)
        (values_S,) = _continue_windows(trained, x_TI, one.name)
        result = SeriesForecast(one.name, int(last_rows.rows[-1]), values_S.tolist())
        if times and step and last_rows.times is not None:
            now = float(last_rows.times[-1])
            with suppress(OverflowError, ValueError):  # after the year 9999
                when = [now, *step.after(now, task.horizon)]
                times.times.show(when[-1])
                result = result._replace(column=times.column, times=times.times, when=when)
        results.append(result)
    return results


def _continue_windows(trained: TrainedModel, rows: np.ndarray, series: str) -> np.ndarray:
    """Returns the values that follow windows [N,T,I] or [T,I] of a series: float64 [N,S]. Both are
    in the units of the data. Raises UserError for another shape, and for a series without a name.
    """
    task, scales = forecast_task(trained), Scales.of(trained.metadata)
    rows_NTI = rows[None] if rows.ndim == 2 else rows
    shape = task.window, len(trained.metadata["columns"])
    if rows_NTI.dtype.kind not in "iuf" or rows_NTI.shape[1:] != shape:
        raise UserError(
            f"predict: windows are {rows.dtype} {list(rows.shape)}; this model reads numbers "
            f"[N, {shape[0]}, {shape[1]}], or a data frame with the columns "
            f"{', '.join(trained.metadata['columns'])}"
        )
    number_N = np.full(len(rows_NTI), series_number(scales, series))
    scaled_NTI = scales.scale_rows(rows_NTI, number_N).astype(np.float32)
    return scales.unscale_target(forecasts(trained, scaled_NTI), number_N)


def series_number(scales: Scales, series: str) -> int:
    """Returns the number of a series. Raises UserError where the model was not trained on it."""
    if series not in scales.series:
        raise UserError(
            f"predict: series {series!r} is none of {listed(scales.series)}; name one of these, on "
            "which the model was trained"
        )
    return scales.series.index(series)


def forecast_task(trained: TrainedModel) -> Forecast:
    """Returns the task. Raises UserError where the model forecasts nothing."""
    if not isinstance(trained.member.task, Forecast):
        raise UserError(f"a model of the task {trained.member.task.name} forecasts no series")
    return trained.member.task


def _check_encoding(rows: Table, columns: list[str], encoding: str | None) -> None:
    """Raises UserError where a column is absent and the names hint at another encoding."""
    absent = [name for name in columns if name not in rows.columns]
    if absent and not all(map(str.isascii, [*absent, *rows.columns])):
        raise UserError(
            f"{rows.path} has no column {absent[0]!r}, it has {listed(rows.columns)}; the file is "
            f"read as {encoding or 'UTF-8'}, as that of training was: if it has another encoding, "
            "convert it"
        )


def _time_step(
    recorded: dict[str, Any], each: list[Series], times: SeriesTimes | None, table: SeriesTable
) -> TimeStep | None:
    """Returns the time step of training, or that of the file where the run has none on record.

    Raises UserError where the rows of the file are of another step.
    """
    step = recorded_step(recorded)
    if times is None or step is None or times.column != recorded["column"]:
        return times.step if times else None
    known = [one.times for one in each if one.times is not None]
    steps = np.concatenate([np.diff(step.positions(values)) for values in known])
    is_same = not len(steps) or 0.5 <= np.median(steps) <= 1.5
    if not is_same or times.times.are_dates != (step.unit != NUMBER):
        raise UserError(
            f"{table.table.path}: its rows are {times.step} apart by column {times.column}, and "
            f"the model was trained on rows {step} apart; give rows of that step"
        )
    return step


def _last_rows(
    one: Series,
    step: TimeStep | None,
    task: Forecast,
    times: SeriesTimes | None,
    table: SeriesTable,
    warn: Say,
) -> Series:
    """Returns the last rows of a series that the model reads, without missing values.

    Raises UserError where there are too few, and where a gap lies between them, as between no rows
    of a window of training.
    """
    begins = np.zeros(len(one.rows), bool)
    if step and one.times is not None:
        begins[1:] = step.is_gap(one.times)
    whole = SeriesSplit(len(one.rows), len(one.rows), "")
    fill = task.missing == "interpolate"
    one, _ = without_missing(replace(one, begins=begins), whole, interpolate=fill)
    if len(one.rows) < task.window:
        of_series = f" of {one.name}" if one.name else ""
        raise UserError(
            f"{table.table.path}: {len(one.rows)} rows{of_series} are fewer than the "
            f"{task.window} that the model reads"
        )
    last = one.take(np.arange(len(one.rows) - task.window, len(one.rows)))
    gaps = last.rows[1:][last.begins[1:]]
    if len(gaps):
        reason = "a row before it lacks a value"
        if times and step:
            reason = f"a step of column {times.column} is not {step}"
        message = f"{table.locate(int(gaps[0]))}: {reason}; the last window crosses it"
        if task.gaps != "cross":
            raise UserError(
                f"{message}, and the model was trained on windows without gaps; fill in the rows "
                "between, or train with --task.gaps cross"
            )
        warn(f"{message}, as if no row were missing")
    return last


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
