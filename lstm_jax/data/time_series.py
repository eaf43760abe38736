"""Series as windows of past values and the values that follow, and simple forecasts to compare.

A window belongs to the split that contains all of its target values. Its input rows may come from
before that split. A window never reads rows later than its last input row. All columns are scaled
by the mean and the standard deviation of the training rows. Errors are squared, in units of the
scaled target.

Axes: L rows of a series, N windows, B batch, T rows of a window, I columns, S values asked for,
D = T * I + 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np

from lstm_jax.data.dataset import Arrays, Dataset, Say, make_dataset, say_nothing
from lstm_jax.data.labelled_splits import SPLITS
from lstm_jax.data.readers import DATE, SeriesTable
from lstm_jax.errors import UserError

TENTH = 10  # validation and test are a tenth of the rows each, unless the user says otherwise
SPLIT_WORDS = {"true": "train", "1": "train", "training": "train", "false": "test", "0": "test"}
ROUNDING = 16 * float(np.finfo(np.float64).eps)  # of a value
COMPACT_DATE = re.compile(r"((?:19|20)\d\d)(0[1-9]|1[012])(\d\d)?")
HOUR = 3600  # seconds
MAX_OTHER_DATES = 10_000  # that are not of ISO 8601, whose order is checked
MAX_FIT_WINDOWS = 20_000  # of training, evenly spaced, that the linear forecast is fitted to
WINDOWS_AT_A_TIME = 4000

Forecaster = Callable[[Arrays, np.ndarray], np.ndarray]  # (split, index_N) -> forecasts [N,S]


class SeriesSplit(NamedTuple):
    """The rows at which a series is split: training, then validation, then the test."""

    validation: int  # its first row
    test: int  # its first row
    rule: str  # in words, for the record; part of the data's fingerprint


def split_by_share(num_rows: int) -> SeriesSplit:
    """Returns a split with the last tenth as the test, and the tenth before it as validation."""
    tenth = num_rows // TENTH
    rule = f"in order: the last tenth ({tenth:,} rows) is test, the tenth before it validation"
    return SeriesSplit(num_rows - 2 * tenth, num_rows - tenth, rule)


def split_by_column(table: SeriesTable, column: str) -> SeriesSplit:
    """Returns the split that a column names: train, validation and test, or true and false.

    If no row is for validation, the last tenth of the training rows is. Raises UserError for any
    other word, and where the splits are out of order: a window would see its future.
    """
    splits = []
    for row, word in enumerate(table.words[column]):
        split = SPLIT_WORDS.get(word.lower(), word.lower())
        if split not in SPLITS:
            raise UserError(
                f"{table.locate(row)}: {word[:30]!r} in column {column} is not a split; use train, "
                "validation and test, or true (training) and false (test)"
            )
        splits.append(SPLITS.index(split))
    back = np.flatnonzero(np.diff(splits) < 0)
    if len(back):
        raise UserError(
            f"{table.locate(int(back[0]) + 1)}: column {column} goes back to "
            f"{SPLITS[splits[back[0] + 1]]}; rows must be in the order train, validation, test"
        )
    test = int(np.searchsorted(splits, 2))
    validation, rule = int(np.searchsorted(splits, 1)), f"by column {column}"
    if validation == test:
        validation -= test // TENTH
        rule += f"; the last tenth of its training rows ({test - validation:,}) is validation"
    return SeriesSplit(validation, test, rule)


def split_by_time(
    table: SeriesTable, column: str, validation_from: str, test_from: str
) -> SeriesSplit:
    """Returns the split whose validation and test begin at the first rows not before these times.

    Raises UserError for a time that is neither a number nor a date.
    """
    times = rising_times(table, column)
    bounds = list[int]()
    for name, word in (("validation_from", validation_from), ("test_from", test_from)):
        try:
            bounds.append(int(np.searchsorted(times, parse_time(word))))
        except ValueError:
            raise UserError(f"task.{name}: {word!r} is neither a number nor a date") from None
    rule = f"by column {column}: validation from {validation_from}, test from {test_from}"
    return SeriesSplit(bounds[0], bounds[1], rule)


def rising_times(table: SeriesTable, column: str) -> np.ndarray:
    """Returns a column of times as numbers. Raises UserError where they do not rise."""
    times = np.empty(len(table.words[column]))
    for row, word in enumerate(table.words[column]):
        try:
            times[row] = parse_time(word)
        except ValueError:
            raise UserError(
                f"{table.locate(row)}: {word[:30]!r} in column {column} is neither a number nor a "
                "date such as 1980-01-31"
            ) from None
        if row and not times[row] > times[row - 1]:
            raise UserError(
                f"{table.locate(row)}: {word[:30]} in column {column} "
                + _advice_on_order(times[row - 1] - times[row], word)
            )
    return times


def _advice_on_order(seconds_back: float, word: str) -> str:
    """Returns why a time is not after the time of the row before it, and what to do."""
    clock = ""
    if ":" in word and seconds_back <= HOUR and datetime.fromisoformat(word).tzinfo is None:
        clock = ", or, where clocks are turned back, write the offset (2023-10-29T02:00:00+02:00)"
    if seconds_back == 0:
        return f"is also the time of the row before it; keep one row and one series per time{clock}"
    return f"is not after the row before it; sort the rows by time{clock}"


def explain_gaps(
    table: SeriesTable, column: str | None, length: int, say: Say, *, only_last: bool = False
) -> None:
    """Says how many windows of `length` rows, or whether the last one, cross a gap in time.

    `column` holds rising times. If it is None, the first column of dates is taken, and the function
    also says where its dates fall.
    """
    name = column or table.dates
    if name is None:
        return
    words = table.words[name]
    # 202012 and 20201231 are dates here: as numbers their steps differ.
    compact = [COMPACT_DATE.fullmatch(word) for word in words]
    dates = [f"{found[1]}-{found[2]}-{found[3] or '01'}" for found in compact if found]
    try:
        times = np.array([parse_time(word) for word in (dates if all(compact) else words)])
        is_iso = True
    except ValueError:  # only of a column that is not named
        times, is_iso = _parse_other_dates(words[:MAX_OTHER_DATES]), False
    steps = np.diff(times)
    if (steps < 0).any():
        say(
            f"{table.locate(int(np.argmax(steps < 0)) + 1)}: the dates of column {name} fall, and "
            "each row is taken to follow the row above it; sort the rows by time, and name the "
            f"column (task.time={name}) to check it"
        )
        return
    # Half a step more or less is no gap: a month has 28 to 31 days, a day in spring 23 hours.
    usual = float(np.median(steps)) if len(steps) else 0.0
    is_odd = (steps > 1.5 * usual) | (steps < 0.5 * usual)
    if usual == 0 or len(times) < length or not is_iso:
        return
    if only_last:
        is_odd[: len(steps) - length + 1] = False
    num_odd = np.r_[0, np.cumsum(is_odd)]  # up to each row
    crosses = num_odd[length - 1 :] > num_odd[: len(times) - length + 1]
    if not crosses.any():
        return
    first, *others = np.flatnonzero(is_odd).tolist()
    step = format(usual, "g")
    if all(compact) or DATE.match(words[0]):
        step = str(timedelta(seconds=usual)).removesuffix(", 0:00:00")
    windows = f"{np.count_nonzero(crosses):,} of {len(crosses):,} windows cross such a step"
    say(
        f"{table.locate(first + 1)}: a step of column {name} is not {step}"
        f"{f', nor are {len(others):,} after it' if others else ''}; "
        f"{'the last window crosses it' if only_last else windows}, as if no row were missing; "
        "fill in the rows between"
    )


def _parse_other_dates(words: Sequence[str]) -> np.ndarray:
    """Returns dates of the first format that fits all words, in seconds; none where none does."""
    days = [word.split()[0] if word else "" for word in words]
    for date_format in ("%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%Y/%m/%d"):
        with suppress(ValueError):
            dates = [datetime.strptime(day, date_format).replace(tzinfo=UTC) for day in days]
            return np.array([date.timestamp() for date in dates])
    return np.zeros(0)


def parse_time(word: str) -> float:
    """Returns a number as it is, and a date or time of ISO 8601 as seconds since 1970.

    A time without a zone is in UTC. Raises ValueError for anything else.
    """
    try:
        if "_" not in word:  # float takes 2020_01
            return float(word)
        raise ValueError
    except ValueError:
        when = datetime.fromisoformat(word)
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def make_windows(
    name: str,
    series: dict[str, np.ndarray],
    target: str,
    columns: Sequence[str],
    split_at: SeriesSplit,
    *,
    window: int,
    horizon: int,
    history: int,
    say: Say = say_nothing,
) -> Dataset:
    """Returns the windows of a series, whose columns are float64 [L] by name.

    Each split holds its rows of the series once (`series`, `target`), and the first row of each
    window (`first`); see `gather_windows`. `history` rows, at least `window`, lie before the values
    that a window asks for. Raises UserError where a split is too short.
    """
    starts = {"train": 0, "validation": split_at.validation, "test": split_at.test}
    stops = {"train": split_at.validation, "validation": split_at.test, "test": len(series[target])}
    lengths = {split: stops[split] - starts[split] for split in SPLITS}
    scales = {}
    for c in dict.fromkeys([*columns, target]):
        training = series[c][: split_at.validation]
        scales[c] = _mean_and_scale(training)
        if len(training) and _is_constant(training):
            say(
                f"{name}: column {c} is {scales[c][0]:g} in all rows of training, so the model "
                "learns nothing from it; its scale is 1"
            )
    splits = {}
    for split in SPLITS:
        first_target = max(starts[split], history)  # the first row that a window asks for
        count = stops[split] - first_target - horizon + 1
        if count < 1:
            raise UserError(
                f"{name}: {lengths[split]:,} rows of {split} are too few for windows of {history} "
                f"rows and the {horizon} values after them"
            )
        rows = slice(first_target - history, stops[split])
        scaled = {c: _scale(series[c][rows], *scales[c]) for c in scales}
        if not all(np.isfinite(column).all() for column in scaled.values()):
            raise UserError(f"{name}: values of {split} are too large beside those of training")
        splits[split] = {
            "first": np.arange(count, dtype=np.int32) + np.int32(history - window),
            "series": np.stack([scaled[c] for c in columns], axis=1),
            "target": scaled[target],
        }
    metadata: dict[str, Any] = {
        "target": target,
        "columns": list(columns),
        "means": [scales[c][0] for c in columns],
        "scales": [scales[c][1] for c in columns],
        "target_mean": scales[target][0],
        "target_scale": scales[target][1],
        "rows": lengths,
        "rule": split_at.rule,
    }
    return make_dataset(name, *splits.values(), shared=("series", "target"), **metadata)


def gather_windows(split: Arrays, index: Any, window: int, horizon: int) -> dict[str, Any]:
    """Returns `x` [B,T,I], the past of these windows, and `y` [B,S], the values they ask for.

    The arrays are NumPy's or JAX's, as those of the split are.
    """
    first_B1 = split["first"][index][:, None]
    past_BT = first_B1 + np.arange(window, dtype=np.int32)[None]
    next_BS = first_B1 + np.arange(window, window + horizon, dtype=np.int32)[None]
    return {"x": split["series"][past_BT], "y": split["target"][next_BS]}


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

    def persistence(split: Arrays, index_N: np.ndarray) -> np.ndarray:
        last_N = split["target"][split["first"][index_N] + window - 1]
        return np.repeat(last_N[:, None], horizon, axis=1)

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

    forecasts: dict[str, Forecaster] = {"mean": mean_forecast(horizon), "persistence": persistence}
    if period:
        forecasts[f"seasonal ({period})"] = seasonal
    return forecasts | {"linear": lambda split, index_N: design(split, index_N)[0] @ weights_DS}


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


def target_variances(split: Arrays, window: int, horizon: int) -> np.ndarray:
    """Returns the variances of the values asked for, around their own means, float64 [S]."""
    first, count = split["first"][0] + window, len(split["first"])
    values = split["target"].astype(np.float64)
    return np.array([np.var(values[first + s : first + s + count]) for s in range(horizon)])
