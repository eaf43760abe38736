"""The next values of a series, from a window of what came before.

Axes: N windows, B batch, T rows of a window, I columns, S values asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lstm_jax.data.dataset import Arrays, Dataset, Say
from lstm_jax.errors import UserError
from lstm_jax.fields import Axis, axis
from lstm_jax.tasks.task import Batch, Inputs, ModelSpec, PerExample, Task

if TYPE_CHECKING:
    import jax

MADE, MADE_LENGTH = "mackey_glass", 20_000


@dataclass(frozen=True)
class Forecast(Task):
    """The next values of a series.

    The metric is the squared error in units of the variance of the training rows: always saying
    their mean costs about 1.
    """

    name: ClassVar[str] = "forecast"
    predictor: ClassVar[str | None] = "lstm_jax.predict.forecast:predict"
    figures: ClassVar[str | None] = "lstm_jax.report.figures.forecast:of_answers"
    metric: ClassVar[str] = "squared_error"
    higher_is_better: ClassVar[bool] = False

    file: Axis[str] = axis(
        MADE,
        f"a CSV file whose first line names the columns, an .npz file of arrays, or `{MADE}` "
        "(made, no network; its column is `x`)",
        data=True,
    )
    target: Axis[str] = axis("x", "the column whose next values are asked for", data=True)
    columns: Axis[str | None] = axis(
        None,
        "the columns that are read, comma-separated; none: the target alone",
        value_type=str,
        data=True,
        optional=True,
    )
    window: Axis[int] = axis(24, "rows that are read", low=1, high=100_000, data=True)
    horizon: Axis[int] = axis(1, "values that are asked for", low=1, high=10_000, data=True)
    split: Axis[str | None] = axis(
        None,
        "a column that says train, validation or test of each row, or true (training) and false; "
        "none: see validation_from, else the last two tenths of the rows are validation and test",
        value_type=str,
        data=True,
        optional=True,
    )
    time: Axis[str | None] = axis(
        None,
        "a column of numbers or dates, which must rise",
        value_type=str,
        data=True,
        optional=True,
    )
    validation_from: Axis[str | None] = axis(
        None, "the time at which validation begins", value_type=str, data=True, optional=True
    )
    test_from: Axis[str | None] = axis(
        None, "the time at which the test begins", value_type=str, data=True, optional=True
    )
    period: Axis[int] = axis(
        0,
        "rows of a season, for a floor in the report: what was a season ago; 0: none",
        low=0,
        high=1_000_000,
        data=True,
    )

    def check(self) -> None:
        cuts = self.validation_from, self.test_from
        if (cuts[0] is None) != (cuts[1] is None):
            raise UserError("task.validation_from and task.test_from: give both or none")
        if cuts[0] is not None and (self.time is None or self.split is not None):
            raise UserError("task.validation_from: needs task.time, and no task.split")
        if len(set(self.column_names)) < len(self.column_names) or "" in self.column_names:
            raise UserError(f"task.columns: {self.columns!r} names one twice, or none")

    @property
    def column_names(self) -> list[str]:
        """The columns that are read."""
        return [name.strip() for name in (self.columns or self.target).split(",")]

    def load(self, say: Say) -> Dataset:
        from lstm_jax.data import windows

        names = list(dict.fromkeys([*self.column_names, self.target]))
        if self.file == MADE:
            from lstm_jax.data.mackey_glass import mackey_glass

            if names != ["x"] or self.split or self.time:
                raise UserError(f"task.file: {MADE} has one column, x; name no other")
            series, cut = {"x": mackey_glass(MADE_LENGTH)}, windows.split_by_share(MADE_LENGTH)
        else:
            series, cut = self._read(names)
        return windows.make_windows(
            Path(self.file).stem, series, self.target, self.column_names, cut,
            window=self.window, horizon=self.horizon, history=max(self.window, self.period),
        )  # fmt: skip

    def _read(self, names: list[str]) -> tuple[dict[str, Any], Any]:
        """The columns of the file, and where it is cut."""
        from lstm_jax.data import windows
        from lstm_jax.data.readers import read_table

        words = [name for name in (self.split, self.time) if name is not None]
        table = read_table(self.file, names, words)
        if self.time is not None:
            windows.rising_times(table, self.time)
        if self.split is not None:
            return table.numbers, windows.split_by_column(table, self.split)
        if self.time and self.validation_from and self.test_from:
            bounds = self.validation_from, self.test_from
            return table.numbers, windows.split_by_time(table, self.time, *bounds)
        return table.numbers, windows.split_by_share(len(table.numbers[self.target]))

    def built_in(self) -> Task | None:
        if self.file == MADE:
            return None
        return replace(
            self, file=MADE, target="x", columns=None, split=None, time=None,
            validation_from=None, test_from=None,
        )  # fmt: skip

    def trivial_score(self, dataset: Dataset) -> float:
        """Returns what always saying the mean of the training rows gets."""
        from lstm_jax.data import windows

        split, shape = dataset.test, (self.window, self.horizon)
        mean = windows.mean_forecast(self.horizon)
        return float(windows.squared_errors(mean, split, *shape).mean())

    def model_spec(self, metadata: dict[str, Any]) -> ModelSpec:
        return ModelSpec(num_features=len(metadata["columns"]), num_outputs=self.horizon)

    def gather(self, examples: Arrays, index_B: jax.Array) -> Batch:
        from lstm_jax.data.windows import gather_windows

        return gather_windows(examples, index_B, self.window, self.horizon)

    def inputs(self, batch: Batch) -> Inputs:
        return Inputs(batch["x"].swapaxes(0, 1))

    def per_example(self, outputs: jax.Array, batch: Batch, *, training: bool) -> PerExample:
        """Scores forecasts [B,S] by their squared error, mean over the values asked for."""
        import jax.numpy as jnp

        error_B = jnp.mean((outputs - batch["y"]) ** 2, axis=1)
        return PerExample(error_B, error_B, jnp.ones_like(error_B))
