"""Time series forecasting: the next values of a series, from a window of the values before.

Axes: N windows, B batch, T rows of a window, I columns, S forecast values.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lstm_jax.data.dataset import Arrays, Dataset, Say, path_of
from lstm_jax.errors import UserError
from lstm_jax.fields import Axis, axis
from lstm_jax.tasks.task import ENCODING, Batch, Inputs, ItemScores, ModelSpec, Task

if TYPE_CHECKING:
    import jax

    from lstm_jax.data.columns import SeriesTable
    from lstm_jax.data.series import Series, SeriesSplit, SeriesTimes
    from lstm_jax.data.table import Table

MACKEY_GLASS, MACKEY_GLASS_LENGTH = "mackey_glass", 20_000  # the series that is generated


@dataclass(frozen=True)
class Forecast(Task):
    """Time series forecasting.

    The metric is the squared error in units of the variance of the training rows: a forecast of
    their mean has an error of about 1.
    """

    name: ClassVar[str] = "forecast"
    predictor: ClassVar[str | None] = "lstm_jax.predict.forecast:predict"
    answers: ClassVar[str | None] = "lstm_jax.predict.forecast:forecast"
    figures: ClassVar[str | None] = "lstm_jax.report.figures.forecast:answer_figures"
    metrics: ClassVar[tuple[str, ...]] = ("squared_error", "absolute_error", "mase")
    higher_is_better: ClassVar[bool] = False
    metric_range: ClassVar[tuple[float, float]] = (0.0, math.inf)

    file: Axis[str] = axis(
        MACKEY_GLASS, "a file that names its columns (CSV, TSV, JSON Lines, Parquet, .npz), or "
        f"`{MACKEY_GLASS}` (generated, no network; its column is `x`)",
        data=True,
    )  # fmt: skip
    target: Axis[str] = axis("x", "the column to forecast", data=True)
    columns: Axis[str | None] = axis(
        None,
        "the input columns of one model: several names, or one text of names that are separated "
        "by commas, where a name with a comma is in double quotes; none: only the target",
        data=True,
        setting=True,
    )
    window: Axis[int] = axis(
        24, "number of input rows", low=1, high=100_000, data=True, setting=True
    )
    horizon: Axis[int] = axis(1, "number of forecast values", low=1, high=10_000, data=True)
    split: Axis[str | None] = axis(
        None,
        "a column that holds train, validation or test in each row, or true for training and "
        "false; none: see validation_from; without it, the last two tenths of the rows are "
        "validation and test",
        data=True,
    )  # fmt: skip
    time: Axis[str | None] = axis(
        None,
        "a column of rising numbers or dates; none: the first column of dates, if they rise",
        data=True,
    )
    series: Axis[str | None] = axis(
        None,
        "the column that names the series, where a file holds several: windows, splits and scales "
        "are by series",
        data=True,
    )
    missing: Axis[str] = axis(
        "refuse",
        "a row that lacks a value is an error (`refuse`) or left out as a gap (`drop`); or values "
        "are filled in on the line between their neighbours of the same split (`interpolate`)",
        choices=lambda: ("refuse", "drop", "interpolate"), data=True,
    )  # fmt: skip
    gaps: Axis[str] = axis(
        "leave_out",
        "windows that cross a gap in time are left out (`leave_out`), or read on as if no row were "
        "missing (`cross`)",
        choices=lambda: ("leave_out", "cross"), data=True,
    )  # fmt: skip
    validation_from: Axis[str | None] = axis(None, "the time at which validation starts", data=True)
    test_from: Axis[str | None] = axis(None, "the time at which the test starts", data=True)
    encoding: Axis[str | None] = axis(None, **ENCODING)
    decimal: Axis[str] = axis(
        ".", "what stands before the decimals of a number in the file",
        choices=lambda: (".", ","), data=True,
    )  # fmt: skip
    thousands: Axis[str | None] = axis(
        None, "what stands between the thousands of a number in the file",
        choices=lambda: (".", ",", "'", " ", "_"), data=True,
    )  # fmt: skip
    period: Axis[int] = axis(
        0, "rows in a season, for the seasonal forecast that a report compares with; 0: none",
        low=0, high=1_000_000, data=True, setting=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        columns: Any = self.columns
        # One word is left as it is: the command line makes `y,driver` a list of one.
        if isinstance(columns, (list, tuple)) and len(columns) > 1:
            if not all(isinstance(name, str) and name for name in columns):
                raise UserError(
                    f"task.columns: {list(columns)!r} is not a list of names; it is the columns of "
                    "one model, so train models of other columns in runs of their own"
                )
            # One text, as on the command line: several values would be several models.
            csv.writer(text := io.StringIO(), lineterminator="").writerow(columns)
            object.__setattr__(self, "columns", text.getvalue())
        super().__post_init__()
        if isinstance(self.target, tuple):
            raise UserError(
                f"task.target: {', '.join(self.target)} are several targets, and their errors "
                "cannot be compared; train each in a run of its own"
            )

    def check(self) -> None:
        cuts = self.validation_from, self.test_from
        if (cuts[0] is None) != (cuts[1] is None):
            raise UserError("task.validation_from and task.test_from: give both or none")
        if cuts[0] is not None and (self.time is None or self.split is not None):
            raise UserError("task.validation_from: needs task.time, and no task.split")
        if self.decimal == self.thousands:
            raise UserError(f"task.decimal, task.thousands: {self.decimal!r} cannot be both")
        if "" in self.column_names():
            raise UserError(f"task.columns: {self.columns!r} has an empty name")

    def column_names(self, file_columns: Sequence[str] = ()) -> list[str]:
        """Returns the columns that are read.

        A name with a comma is in double quotes, or is one of `file_columns`. Raises UserError
        where a column is named twice.
        """
        if self.columns is None:
            return [self.target]
        words = next(csv.reader([self.columns], skipinitialspace=True))
        words = [_comma_without_spaces(word) for word in words]
        known = {_comma_without_spaces(name): name for name in file_columns}
        each_is_known = known.keys() >= set(words)
        names = list[str]()
        while words:
            lengths = range(1 if each_is_known else len(words), 0, -1)
            count = next((n for n in lengths if ",".join(words[:n]) in known), 1)
            word = ",".join(words[:count])
            names.append(known.get(word, word))
            words = words[count:]
        if len(set(names)) < len(names) and file_columns:
            raise UserError(f"task.columns: {self.columns!r} names a column twice")
        return names

    def load(self, say: Say) -> Dataset:
        from lstm_jax.data import series, time_series
        from lstm_jax.data.columns import SeriesTable, say_left_out_columns
        from lstm_jax.data.mackey_glass import mackey_glass
        from lstm_jax.data.table import Table

        if self.file == MACKEY_GLASS:
            columns = self.column_names(["x"])
            if columns != ["x"] or self.target != "x" or self.split or self.time or self.series:
                raise UserError(f"task.file: {MACKEY_GLASS} has one column, x; name no other")
            rows = Table(Path(self.file), {}, None, has_header=True)
            table = SeriesTable(rows, {"x": mackey_glass(MACKEY_GLASS_LENGTH)}, {})
        else:
            rows = self.read_rows(self.file, say)
            columns = self.column_names(list(rows.columns))
            table = self.read_columns(rows, [*columns, self.target], say, with_split=True)
            say_left_out_columns(rows, {*table.numbers, *table.words}, say)
        names = list(table.numbers)
        series.say_placeholders(table, names, say)
        each, times = series.order_by_time(table, names, self.time, self.series, say)
        if not (times or table.dates or self.series):
            series.say_blocks(rows, {*table.numbers, *table.words}, self.window, say)
        if times:
            each = series.begin_after_gaps(each, times, table, say, cross=self.gaps == "cross")
        split = [(one, self._split(table, times, one)) for one in each]
        series.say_missing(table, each, self.missing, say)
        split = [
            series.without_missing(*pair, interpolate=self.missing == "interpolate")
            for pair in split
        ]
        dataset = time_series.make_windows(
            Path(self.file).stem, split, self.target, columns, window=self.window,
            horizon=self.horizon, history=max(self.window, self.period), say=say,
        )  # fmt: skip
        if times is None:
            return dataset
        # What `predict` says of times is no part of the fingerprint.
        return dataset._replace(metadata=dataset.metadata | {"time": times.metadata()})

    def read_rows(self, file: str | Path, say: Say) -> Table:
        """Returns a file that names its columns."""
        from lstm_jax.data.readers import read_table
        from lstm_jax.data.table import TableOptions

        options = TableOptions(self.encoding, self.decimal, self.thousands)
        return read_table(path_of(str(file)), options, say).with_header()

    def read_columns(
        self, rows: Table, columns: Sequence[str], say: Say, *, with_split: bool = False
    ) -> SeriesTable:
        """Returns `columns` as numbers, and those of times, of series and of the split as texts."""
        from lstm_jax.data.columns import read_series

        words = [self.time, self.series, self.split if with_split else None]
        return read_series(
            rows, list(dict.fromkeys(columns)), [name for name in words if name is not None], say,
            allow_missing=self.missing != "refuse",
        )  # fmt: skip

    def _split(self, table: SeriesTable, times: SeriesTimes | None, one: Series) -> SeriesSplit:
        from lstm_jax.data import series

        if self.split is not None:
            return series.split_by_column(table, self.split, one)
        if times and self.validation_from and self.test_from:
            return series.split_by_time(times, one, self.validation_from, self.test_from)
        return series.split_by_share(len(one.rows), of_several=self.series is not None)

    def adapt_data(self, dataset: Dataset, metadata: dict[str, Any]) -> Dataset:
        """Returns the data scaled as those of training were."""
        if "series" not in dataset.metadata and dataset.metadata["columns"] == metadata["columns"]:
            from lstm_jax.data.time_series import rescale

            dataset = rescale(dataset, metadata)
        return super().adapt_data(dataset, metadata)

    def built_in(self) -> Task | None:
        if self.file == MACKEY_GLASS:
            return None
        return replace(
            self, file=MACKEY_GLASS, target="x", columns=None, split=None, time=None,
            series=None, missing="refuse", gaps="leave_out", validation_from=None, test_from=None,
            encoding=None, decimal=".", thousands=None,
        )  # fmt: skip

    def trivial_score(self, dataset: Dataset) -> float:
        """Returns the error of a forecast of the mean of the training rows."""

        from lstm_jax.data import time_series

        split, shape = dataset.test, (self.window, self.horizon)
        mean = time_series.mean_forecast(self.horizon)
        return float(time_series.squared_errors(mean, split, *shape).mean())

    def trivial_scores(self, dataset: Dataset) -> dict[str, float]:
        from lstm_jax.data import time_series

        shape = self.window, self.horizon
        last = time_series.last_value_forecast(*shape)
        return {
            "the mean of training": self.trivial_score(dataset),
            "the last value": float(time_series.squared_errors(last, dataset.test, *shape).mean()),
        }

    def describe_data(self, dataset: Dataset) -> list[str]:
        """Returns the series of the file, the usual time step, and the unit of errors."""
        from lstm_jax.data.series import listed, recorded_step
        from lstm_jax.data.time_series import Scales

        lines, metadata = list[str](), dataset.metadata
        if names := metadata.get("series"):
            lines.append(f"{len(names):,} series: {listed(names)}")
        if step := recorded_step(metadata.get("time", {})):
            lines.append(f"time step: {step}, by column {metadata['time']['column']}")
        scales = Scales.of(metadata)
        units = zip(scales.series, scales.target_scale_K.tolist(), strict=True)
        each = [f"{name} {unit:.4g}".strip() for name, unit in units]
        unit = f"the standard deviation of {self.target} in training"
        lines.append(f"unit of errors: {unit}, {listed(each)}")
        return lines

    def describe_example(self, example: Arrays, metadata: dict[str, Any]) -> str:
        from lstm_jax.data.time_series import Scales

        scales, number = Scales.of(metadata), int(example.get("series_number", 0))
        last_I = [
            f"{column} {_in_units(value, mean, scale)}"
            for column, value, mean, scale in zip(
                metadata["columns"], example["x"][-1], scales.means_KI[number],
                scales.scales_KI[number], strict=True,
            )
        ]  # fmt: skip
        mean, scale = scales.target_mean_K[number], scales.target_scale_K[number]
        next_S = [_in_units(value, mean, scale) for value in example["y"][:5]]
        of_series = f"series {scales.series[number]}: " if scales.series != [""] else ""
        more = f" and {self.horizon - 5} more" if self.horizon > 5 else ""
        return (
            f"{of_series}{self.window} rows, the last with {', '.join(last_I)}; then {self.target} "
            f"{', '.join(next_S)}{more}"
        )

    def model_spec(self, metadata: dict[str, Any]) -> ModelSpec:
        return ModelSpec(num_features=len(metadata["columns"]), num_outputs=self.horizon)

    def gather(self, examples: Arrays, index_B: jax.Array) -> Batch:
        from lstm_jax.data.time_series import gather_windows

        return gather_windows(examples, index_B, self.window, self.horizon)

    def inputs(self, batch: Batch) -> Inputs:
        return Inputs(batch["x"].swapaxes(0, 1))

    def score_items(self, outputs: jax.Array, batch: Batch, *, training: bool) -> ItemScores:
        """Returns the squared error of forecasts [B,S], mean over the S values."""
        import jax.numpy as jnp

        error_B = jnp.mean((outputs - batch["y"]) ** 2, axis=1)
        return ItemScores(error_B, error_B, jnp.ones_like(error_B))

    def evaluation_items(self, outputs: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Returns the absolute error of forecasts [B,S], mean over the S values."""
        import jax.numpy as jnp

        return {"absolute_error": jnp.mean(jnp.abs(outputs - batch["y"]), axis=1)}

    def finalise(self, sums: Mapping[str, Any], dataset: Dataset) -> dict[str, float]:
        """Returns the errors, and the mean absolute scaled error: the absolute error in units of
        that of the last value, or of the value one `period` ago, as a forecast of one step ahead in
        training (Hyndman and Koehler, "Another look at measures of forecast accuracy", 2006).
        """
        from lstm_jax.data.time_series import naive_error

        scores = super().finalise(sums, dataset)
        naive = naive_error(dataset.train, self.window, self.period)
        return scores | ({"mase": scores["absolute_error"] / naive} if naive else {})


def _comma_without_spaces(name: str) -> str:
    """Returns a name as it is compared: without spaces at its ends and around its commas."""
    return re.sub(r"\s*,\s*", ",", name.strip())


def _in_units(value: float, mean: float, scale: float) -> str:
    """Returns a scaled value in the units of its column; what rounding left of a zero is zero."""
    unscaled = float(value) * scale + mean
    return f"{0.0 if abs(unscaled) < 1e-6 * scale else unscaled:.6g}"
