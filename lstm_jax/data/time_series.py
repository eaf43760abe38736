"""Series as windows of past values and the values that follow, and simple forecasts to compare.

A window belongs to the split that contains all of its target values. Its input rows may come from
before that split. A window never reads rows later than its last input row, and crosses neither a
gap in time nor a missing value nor the end of a series. All columns are scaled by the mean and the
standard deviation of the training rows of their series. Errors are squared, in units of the scaled
target.

Axes: L rows of a series, K series, N windows, B batch, T rows of a window, I columns, S values
asked for, D = T * I + 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from lstm_jax.data.dataset import Arrays, Dataset, Say, make_dataset, say_nothing
from lstm_jax.data.labelled_splits import SPLITS
from lstm_jax.data.series import Series, SeriesSplit, listed
from lstm_jax.errors import UserError

ROUNDING = 16 * float(np.finfo(np.float64).eps)  # of a value
MAX_SHOWN = 6  # constant columns in messages
MAX_FIT_WINDOWS = 20_000  # of training, evenly spaced, that the linear forecast is fitted to
WINDOWS_AT_A_TIME = 4000

Forecaster = Callable[[Arrays, np.ndarray], np.ndarray]  # (split, index_N) -> forecasts [N,S]


class ScaleTables(NamedTuple):
    """Scales in float32, as an exported model holds them, so that they broadcast over windows.

    A mean is two numbers, which are subtracted one after the other: one alone would lose the digits
    of a mean beside which the scale is small.
    """

    means_high: np.ndarray  # [K,1,I]
    means_low: np.ndarray  # [K,1,I]
    inverse_scales: np.ndarray  # [K,1,I]
    target_mean: np.ndarray  # [K,1]
    target_scale: np.ndarray  # [K,1]


class Scales(NamedTuple):
    """The means and scales of the columns and of the target, by series."""

    series: list[str]  # [K] names; one empty name where the file holds one series
    means_KI: np.ndarray  # float64, as the three below
    scales_KI: np.ndarray
    target_mean_K: np.ndarray
    target_scale_K: np.ndarray

    @staticmethod
    def of(metadata: dict[str, Any]) -> Scales:
        """Returns the scales that the metadata of a data set hold."""
        return Scales(
            metadata.get("series", [""]),
            np.atleast_2d(np.array(metadata["means"], np.float64)),
            np.atleast_2d(np.array(metadata["scales"], np.float64)),
            np.atleast_1d(np.array(metadata["target_mean"], np.float64)),
            np.atleast_1d(np.array(metadata["target_scale"], np.float64)),
        )

    @property
    def of_several(self) -> bool:
        """Whether a column names the series: a window has a number of its series then."""
        return self.series != [""]

    def tables(self) -> ScaleTables:
        """Returns the scales in float32."""
        high_KI = self.means_KI.astype(np.float32)
        tables = (
            high_KI[:, None], (self.means_KI - high_KI)[:, None], 1 / self.scales_KI[:, None],
            self.target_mean_K[:, None], self.target_scale_K[:, None],
        )  # fmt: skip
        return ScaleTables(*(table.astype(np.float32) for table in tables))

    def scale_rows(self, rows_NTI: np.ndarray, series_N: np.ndarray) -> np.ndarray:
        """Returns rows as the model reads them, float64 [N,T,I]; `series_N` numbers the series."""
        means_N1I, scales_N1I = self.means_KI[series_N][:, None], self.scales_KI[series_N][:, None]
        return (rows_NTI.astype(np.float64) - means_N1I) / scales_N1I

    def unscale_rows(self, x_NTI: np.ndarray, series_N: np.ndarray) -> np.ndarray:
        """Returns rows in the units of the file, float64 [N,T,I]."""
        means_N1I, scales_N1I = self.means_KI[series_N][:, None], self.scales_KI[series_N][:, None]
        return x_NTI.astype(np.float64) * scales_N1I + means_N1I

    def unscale_target(self, y_NS: np.ndarray, series_N: np.ndarray) -> np.ndarray:
        """Returns values of the target in the unit of the file, float64 [N,S]."""
        mean_N1, scale_N1 = self.target_mean_K[series_N, None], self.target_scale_K[series_N, None]
        return y_NS.astype(np.float64) * scale_N1 + mean_N1


class SeriesWindows(NamedTuple):
    """The windows of one series: the arrays and scales of each split."""

    splits: dict[str, Arrays]
    scales: dict[str, tuple[float, float]]  # mean and scale by column
    num_left_out: int  # windows
    num_rows: dict[str, int]  # by split


def series_of(split: Arrays, index_N: np.ndarray) -> np.ndarray:
    """Returns the numbers of the series that windows are of, int [N]."""
    if "series_number" in split:
        return np.asarray(split["series_number"][index_N])
    return np.zeros(len(index_N), np.int32)


def make_windows(
    name: str,
    each: Sequence[tuple[Series, SeriesSplit]],
    target: str,
    columns: Sequence[str],
    *,
    window: int,
    horizon: int,
    history: int,
    say: Say = say_nothing,
) -> Dataset:
    """Returns the windows of series, which have no missing values, each with its splits.

    Each split holds its rows of the series once (`series`, `target`), and the first row of each
    window (`first`); see `gather_windows`. With several series, `series_number` int32 [N] is the
    series of each window. `history` rows, at least `window`, lie before the values that a window
    asks for. A series that is too short for a window in each split is left out, and `say` prints
    its name. Raises UserError where none is long enough.
    """
    of_series = dict[str, SeriesWindows]()
    too_short = dict[str, str]()
    constant = list[str]()
    for one, split_at in each:
        try:
            windows = _windows_of(
                one, split_at, target, columns, window=window, horizon=horizon, history=history
            )
        except _TooShort as error:
            too_short[one.name] = str(error)
            continue
        except UserError as error:
            raise UserError(f"{_label(name, one.name)}: {error}") from None
        of_series[one.name] = windows
        for column in windows.scales:
            training = one.columns[column][: split_at.validation]
            if len(training) and _is_constant(training):
                constant.append(
                    f"{_label(name, one.name)}: column {column} is {windows.scales[column][0]:g} "
                    "in all rows of training, so the model learns nothing from it; its scale is 1"
                )
    if not of_series:
        first, reason = next(iter(too_short.items()))
        raise UserError(f"{_label(name, first)}: {reason}")
    for line in constant[:MAX_SHOWN]:
        say(line)
    if len(constant) > MAX_SHOWN:
        say(f"{name}: so are {len(constant) - MAX_SHOWN:,} more columns of series")
    if too_short:
        example = next(iter(too_short.values()))
        say(f"{name}: left out the series {listed(too_short)}: {example}")
    left_out = sum(windows.num_left_out for windows in of_series.values())
    if left_out:
        kept = sum(len(s["first"]) for w in of_series.values() for s in w.splits.values())
        say(
            f"{name}: {left_out:,} of {left_out + kept:,} windows are left out: they cross a gap "
            "in time, or a missing value (--task.gaps, --task.missing, a shorter --task.window)"
        )
    scales = [windows.scales for windows in of_series.values()]
    values: dict[str, Any] = {
        "means": [[scale[c][0] for c in columns] for scale in scales],
        "scales": [[scale[c][1] for c in columns] for scale in scales],
        "target_mean": [scale[target][0] for scale in scales],
        "target_scale": [scale[target][1] for scale in scales],
    }
    if list(of_series) == [""]:
        values = {key: value[0] for key, value in values.items()}
    else:
        values["series"] = list(of_series)
    metadata = {
        "target": target,
        "columns": list(columns),
        **values,
        "rows": {s: sum(w.num_rows[s] for w in of_series.values()) for s in SPLITS},
        "rule": each[0][1].rule,
    }
    splits = [_joined([w.splits[split] for w in of_series.values()]) for split in SPLITS]
    return make_dataset(name, *splits, shared=("series", "target"), **metadata)


class _TooShort(UserError):
    """A series without a window in one of its splits."""


def _label(name: str, series: str) -> str:
    return f"{name}, series {series}" if series else name


def _windows_of(
    one: Series,
    split_at: SeriesSplit,
    target: str,
    columns: Sequence[str],
    *,
    window: int,
    horizon: int,
    history: int,
) -> SeriesWindows:
    """Returns the windows of one series. Raises UserError where it is too short or too large."""
    starts = {"train": 0, "validation": split_at.validation, "test": split_at.test}
    stops = {"train": split_at.validation, "validation": split_at.test, "test": len(one.rows)}
    num_rows = {split: stops[split] - starts[split] for split in SPLITS}
    names = dict.fromkeys([*columns, target])
    scales = {c: _mean_and_scale(one.columns[c][: split_at.validation]) for c in names}
    reads_filled = np.any([one.filled[c] for c in columns], axis=0)
    splits, num_left_out = {}, 0
    for split in SPLITS:
        first_target = max(starts[split], history)  # the first row that a window asks for
        count = stops[split] - first_target - horizon + 1
        if count < 1:
            raise _TooShort(
                f"{num_rows[split]:,} rows of {split} are too few for windows of {history} "
                f"rows and the {horizon} values after them"
            )
        rows = slice(first_target - history, stops[split])
        scaled = {c: _scale(one.columns[c][rows], *scales[c]) for c in scales}
        if not all(np.isfinite(column).all() for column in scaled.values()):
            raise UserError(f"values of {split} are too large beside those of training")
        # A window does not hold a row that begins anew behind its first. A value that was filled
        # in was made of later ones, so no input ends in it, and no window asks for it.
        last = np.arange(count) + history - 1  # input row of each window
        is_whole = (
            (_counted(one.begins[rows], last - history + 2, last + horizon + 1) == 0)
            & ~reads_filled[rows][last]
            & (_counted(one.filled[target][rows], last + 1, last + horizon + 1) == 0)
        )
        kept = np.flatnonzero(is_whole).astype(np.int32)
        if not len(kept):
            raise _TooShort(
                f"all {count:,} windows of {split} cross a gap in time, or a missing value: "
                f"{history} rows and the {horizon} values after them; shorten them (--task.window, "
                "--task.horizon), fill in missing values (--task.missing interpolate), or read on "
                "as if no row were missing (--task.gaps cross)"
            )
        num_left_out += count - len(kept)
        splits[split] = {
            "first": kept + np.int32(history - window),
            "series": np.stack([scaled[c] for c in columns], axis=1),
            "target": scaled[target],
        }
    return SeriesWindows(splits, scales, num_left_out, num_rows)


def _counted(flags: np.ndarray, first: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Returns how many flags are set from each `first` row up to its `stop`, exclusive."""
    total = np.r_[0, np.cumsum(flags)]
    return total[stop] - total[first]


def _joined(splits: list[Arrays]) -> Arrays:
    """Returns a split with the rows of several series one after the other.

    In the windows the series take turns, so that the first windows are of all series.
    """
    if len(splits) == 1:
        return splits[0]
    offsets = np.cumsum([0, *(len(split["target"]) for split in splits[:-1])], dtype=np.int32)
    joined = {n: np.concatenate([split[n] for split in splits]) for n in ("series", "target")}
    firsts = [split["first"] + offset for split, offset in zip(splits, offsets, strict=True)]
    counts = [len(first) for first in firsts]
    number = np.repeat(np.arange(len(splits), dtype=np.int32), counts)
    turn = np.concatenate([np.arange(count) for count in counts])
    order = np.lexsort((number, turn))
    return {"first": np.concatenate(firsts)[order], "series_number": number[order], **joined}


def gather_windows(split: Arrays, index: Any, window: int, horizon: int) -> dict[str, Any]:
    """Returns `x` [B,T,I], the past of these windows, and `y` [B,S], the values they ask for.

    With several series, `series_number` [B] is the series of each window. The arrays are NumPy's or
    JAX's, as those of the split are.
    """
    first_B1 = split["first"][index][:, None]
    past_BT = first_B1 + np.arange(window, dtype=np.int32)[None]
    next_BS = first_B1 + np.arange(window, window + horizon, dtype=np.int32)[None]
    batch = {"x": split["series"][past_BT], "y": split["target"][next_BS]}
    if "series_number" in split:
        batch["series_number"] = split["series_number"][index]
    return batch


def _is_constant(column: np.ndarray) -> bool:
    """Returns whether the values differ by no more than the rounding of one value."""
    with np.errstate(over="ignore"):
        return bool(np.ptp(column) <= ROUNDING * np.max(np.abs(column)))


def _mean_and_scale(column: np.ndarray) -> tuple[float, float]:
    """Returns the mean and the standard deviation; the value and 1 of a constant column."""
    if len(column) == 0 or _is_constant(column):
        return (float(column[0]) if len(column) else 0.0), 1.0
    # Divided by a power of two, which moves no bit, so that no square is 0 or infinite.
    exponent = np.frexp(np.max(np.abs(column)))[1]
    unit = np.ldexp(column, -exponent)
    return float(np.ldexp(np.mean(unit), exponent)), float(np.ldexp(np.std(unit), exponent))


def _scale(column: np.ndarray, mean: float, scale: float) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        return ((column - mean) / scale).astype(np.float32)


# Simple forecasts.


def simple_forecasts(
    dataset: Dataset, window: int, horizon: int, period: int
) -> dict[str, Forecaster]:
    """Returns simple forecasts by name, fitted on training alone.

    They are the mean, persistence, the last season (if there is a period), and a linear model of
    all columns of the whole window, fitted by least squares.
    """
    ahead_S = np.arange(horizon)

    def seasonal(split: Arrays, index_N: np.ndarray) -> np.ndarray:
        first_N1 = split["first"][index_N][:, None] + window
        return split["target"][first_N1 + (ahead_S % period - period)[None]]

    def design(split: Arrays, index_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        batch = gather_windows(split, index_N, window, horizon)
        x_ND = batch["x"].reshape(len(index_N), -1).astype(np.float64)
        return np.c_[x_ND, np.ones(len(x_ND))], batch["y"].astype(np.float64)

    count = len(dataset.train["first"])
    fit_N = np.unique(np.linspace(0, count - 1, min(count, MAX_FIT_WINDOWS)).astype(np.int64))
    weights_DS = np.linalg.lstsq(*design(dataset.train, fit_N), rcond=None)[0]

    forecasts: dict[str, Forecaster] = {
        "mean": mean_forecast(horizon),
        "persistence": last_value_forecast(window, horizon),
    }
    if period:
        forecasts[f"seasonal ({period})"] = seasonal
    return forecasts | {"linear": lambda split, index_N: design(split, index_N)[0] @ weights_DS}


def last_value_forecast(window: int, horizon: int) -> Forecaster:
    """Returns the forecast that is always the last value of the window, persistence."""

    def forecast(split: Arrays, index_N: np.ndarray) -> np.ndarray:
        last_N = split["target"][split["first"][index_N] + window - 1]
        return np.repeat(last_N[:, None], horizon, axis=1)

    return forecast


def mean_forecast(horizon: int) -> Forecaster:
    """Returns the forecast that is always the mean of the training rows: zero, as all is scaled."""
    return lambda split, index_N: np.zeros((len(index_N), horizon))


def squared_errors(forecast: Forecaster, split: Arrays, window: int, horizon: int) -> np.ndarray:
    """Returns the mean squared errors over all windows of a split, float64 [S]."""
    count, total_S = len(split["first"]), np.zeros(horizon)
    for first in range(0, count, WINDOWS_AT_A_TIME):
        index_N = np.arange(first, min(first + WINDOWS_AT_A_TIME, count))
        y_NS = gather_windows(split, index_N, window, horizon)["y"].astype(np.float64)
        total_S += np.sum((forecast(split, index_N) - y_NS) ** 2, axis=0)
    return total_S / count


def rescale(dataset: Dataset, metadata: dict[str, Any]) -> Dataset:
    """Returns the data of one series, scaled by the means and scales of other metadata."""
    before, after = Scales.of(dataset.metadata), Scales.of(metadata)
    splits = []
    for split in (dataset.train, dataset.validation, dataset.test):
        series_LI = split["series"] * before.scales_KI[0] + before.means_KI[0]
        target_L = split["target"] * before.target_scale_K[0] + before.target_mean_K[0]
        arrays = {
            "series": _scale(series_LI, after.means_KI[0], after.scales_KI[0]),
            "target": _scale(target_L, after.target_mean_K[0], after.target_scale_K[0]),
        }
        splits.append({name: arrays.get(name, array) for name, array in split.items()})
    names = ("means", "scales", "target_mean", "target_scale")
    values = dataset.metadata | {name: metadata[name] for name in names}
    values.pop("shapes", None)
    return make_dataset(dataset.name, *splits, shared=("series", "target"), **values)


def naive_error(split: Arrays, window: int, period: int) -> float:
    """Returns the mean absolute error of the value one period ago, or of the last value where the
    period is 0, as a forecast of the first value that each window of a split asks for.
    """
    next_N, values = split["first"] + window, split["target"].astype(np.float64)
    return float(np.mean(np.abs(values[next_N] - values[next_N - max(1, period)])))


def target_variances(split: Arrays, window: int, horizon: int) -> np.ndarray:
    """Returns the variances of the values asked for, around their own means, float64 [S]."""
    first_N, values = split["first"] + window, split["target"].astype(np.float64)
    return np.array([np.var(values[first_N + s]) for s in range(horizon)])
