"""Times of the rows of a series: parsed, in steps of the calendar, and written again.

A time is a number, or a date with or without a clock. Dates are kept as seconds since 1970. The
time between two rows is a *time step*: so many seconds, months or working days.

Axes: L rows, S steps ahead.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import NamedTuple

import numpy as np

COMPACT_DATE = re.compile(r"((?:19|20)\d\d)(0[1-9]|1[012])(\d\d)?")
# A date with its year at the beginning or at the end, as 31.12.2023, 12/31/2023 5:00 PM.
OTHER_DATE = re.compile(
    r"(\d{1,4})([-/.])(\d\d?)\2(\d{1,4})(?:[ T]+(\d\d?):(\d\d)(?::(\d\d)(?:\.0*)?)?\s*([ap]m)?)?",
    re.IGNORECASE,
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = 86400  # seconds
NUMBER, SECONDS, MONTHS, WORKING_DAYS = "number", "seconds", "months", "working days"
MIN_WORKING_DAYS = 10  # rows from Monday to Friday, before a file without weekends is no chance
MAX_HOLIDAYS = 10  # working days in a row: the longest holidays of an exchange are shorter


class Times(NamedTuple):
    """A column of times."""

    values: np.ndarray  # float64 [L]: numbers as they are, dates in seconds since 1970
    parse: Callable[[str], float]  # of a word as the column has them; raises ValueError
    are_dates: bool
    have_clock: bool = False  # whether some dates are not at midnight, UTC
    zone: timezone | None = None  # of the last time; None: the times name none
    doubt: str = ""  # what else the dates may mean

    def date(self, value: float) -> datetime | float:
        """Returns a time in the zone of the last row; the number where times are numbers."""
        if not self.are_dates:
            return value
        when = EPOCH + timedelta(seconds=round(value, 3))
        return when.astimezone(self.zone) if self.zone else when.replace(tzinfo=None)

    def show(self, value: float) -> str:
        """Returns a time in the zone of the last row, as `2024-05-01 13:00`."""
        if not self.are_dates:
            return format(value, ".10g")
        when = (EPOCH + timedelta(seconds=round(value, 3))).astimezone(self.zone or UTC)
        offset = when.strftime("%z") if self.zone else ""
        if not offset and not self.have_clock and value % DAY == 0:
            return when.strftime("%Y-%m-%d")
        clock = "%H:%M" if when.second == 0 and when.microsecond == 0 else "%H:%M:%S"
        return when.strftime(f"%Y-%m-%d {clock}") + (f"{offset[:3]}:{offset[3:]}" if offset else "")


class TimeStep(NamedTuple):
    """The time from a row to the next: so many seconds, months, working days or units."""

    amount: float
    unit: str

    def __str__(self) -> str:
        if self.unit == NUMBER:
            return format(self.amount, "g")
        if self.unit == SECONDS:
            return str(timedelta(seconds=self.amount)).removesuffix(", 0:00:00")
        return f"{self.amount:g} {self.unit if self.amount != 1 else self.unit[:-1]}"

    def positions(self, values: np.ndarray) -> np.ndarray:
        """Returns times in numbers of this step, float64 [L]: neighbours differ by about 1."""
        if self.unit == MONTHS:
            return _months(values).astype(np.float64) / self.amount
        if self.unit == WORKING_DAYS:
            return np.busday_count(np.datetime64("1970-01-01"), _days(values)).astype(np.float64)
        return values / self.amount

    def is_gap(self, values: np.ndarray) -> np.ndarray:
        """Returns whether rows are missing, or too many, before each row but the first, [L-1].

        Half a step more or less is no gap: a month has 28 to 31 days, a day in spring 23 hours.
        Nor are holidays, where rows are of working days.
        """
        steps = np.diff(self.positions(values))
        longest = MAX_HOLIDAYS + 1.5 if self.unit == WORKING_DAYS else 1.5
        return (steps > longest) | (steps < 0.5)

    def between(self, first: float, second: float) -> TimeStep:
        """Returns the time from one row to a later one, in the unit of this step if it has some."""
        if self.unit in (SECONDS, NUMBER):
            return self._replace(amount=second - first)
        steps = float(np.diff(self.positions(np.array([first, second])))[0])
        if steps < 1:
            return TimeStep(second - first, SECONDS)
        return self._replace(amount=steps * self.amount)

    def after(self, value: float, count: int) -> list[float]:
        """Returns the `count` times that follow a time."""
        ahead = range(1, count + 1)
        if self.unit == WORKING_DAYS:
            day = np.datetime64(int(value // DAY), "D")
            days = np.busday_offset(day, np.arange(1, count + 1), roll="backward")
            return [float(day) * DAY for day in days.astype(np.int64)]
        if self.unit == MONTHS:
            return [_months_later(value, int(self.amount) * steps) for steps in ahead]
        return [value + self.amount * steps for steps in ahead]


def _days(values: np.ndarray) -> np.ndarray:
    return np.floor(values / DAY).astype(np.int64).astype("datetime64[D]")


def _months(values: np.ndarray) -> np.ndarray:
    """Returns the number of each time's month, int64."""
    return _days(values).astype("datetime64[M]").astype(np.int64)


def _months_later(value: float, months: int) -> float:
    """Returns the same day of a later month; the last day of a month leads to the last day."""
    when = EPOCH + timedelta(seconds=value)
    year, month = divmod(when.year * 12 + when.month - 1 + months, 12)
    last = monthrange(year, month + 1)[1]
    is_last = when.day == monthrange(when.year, when.month)[1]
    day = last if is_last else min(when.day, last)
    return (when.replace(year=year, month=month + 1, day=day) - EPOCH).total_seconds()


def usual_step(each: Sequence[np.ndarray], *, are_dates: bool) -> TimeStep | None:
    """Returns the commonest time step of rising times, of one or several series.

    It is None where there are less than two rows, or where most rows have the time of the row
    before them.
    """
    steps = np.concatenate([np.diff(values) for values in each])
    usual = float(np.median(steps)) if len(steps) else 0.0
    if usual <= 0:
        return None
    if not are_dates:
        return TimeStep(usual, NUMBER)
    values = np.concatenate(list(each))
    if (values % DAY).any():
        return TimeStep(usual, SECONDS)
    days = _days(values)
    if usual == DAY and len(days) >= MIN_WORKING_DAYS and np.is_busday(days).all():
        return TimeStep(1, WORKING_DAYS)
    in_month = (days - days.astype("datetime64[M]")).astype(np.int64)
    in_next_month = (days + 1 - (days + 1).astype("datetime64[M]")).astype(np.int64)
    if usual >= 28 * DAY and (len(set(in_month.tolist())) == 1 or not in_next_month.any()):
        months = np.concatenate([np.diff(_months(values)) for values in each])
        return TimeStep(float(np.median(months)), MONTHS)
    return TimeStep(usual, SECONDS)


def parse_times(words: Sequence[str]) -> Times:
    """Returns a column of times.

    It is of numbers, of dates of ISO 8601, of compact dates (202012 or 20201231), or of dates with
    their year at an end (12/31/2023, 31.12.2023, 2023/12/31 5:00 PM). A time without a zone is in
    UTC. Raises NotATime, with the row, for anything else.
    """
    if not words:
        return Times(np.zeros(0), _parse_number, are_dates=False)
    if all(map(COMPACT_DATE.fullmatch, words)):
        try:
            return Times(np.array([*map(_parse_compact, words)]), _parse_compact, are_dates=True)
        except ValueError:  # 20201399 is a number
            pass
    if _number(words[0]) is not None:
        return Times(_parse_all(words, _parse_number), _parse_number, are_dates=False)
    parse, doubt = _reading_of_dates(words)
    values = _parse_all(words, parse)
    zone = _datetime_of(words[-1], day_first=False).tzinfo
    have_clock = bool((values % DAY).any())
    return Times(
        values, parse, True, have_clock, zone if isinstance(zone, timezone) else None, doubt
    )


class NotATime(ValueError):
    """A word that is no time; `row` says which."""

    def __init__(self, row: int) -> None:
        super().__init__(row)
        self.row = row


def _parse_all(words: Sequence[str], parse: Callable[[str], float]) -> np.ndarray:
    values = np.empty(len(words))
    for row, word in enumerate(words):
        try:
            values[row] = parse(word)
        except ValueError:
            raise NotATime(row) from None
    return values


def _number(word: str) -> float | None:
    try:
        return _parse_number(word)
    except ValueError:
        return None


def _parse_number(word: str) -> float:
    if "_" in word or not np.isfinite(value := float(word)):  # float takes 2020_01
        raise ValueError
    return value


def _parse_compact(word: str) -> float:
    match = COMPACT_DATE.fullmatch(word)
    return _parse_date(f"{match[1]}-{match[2]}-{match[3] or '01'}" if match else word)


def _parse_date(word: str, *, day_first: bool = False) -> float:
    """Returns a date in seconds since 1970. Raises ValueError."""
    when = _datetime_of(word, day_first=day_first)
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _datetime_of(word: str, *, day_first: bool) -> datetime:
    with suppress(ValueError):
        return datetime.fromisoformat(word)
    match = OTHER_DATE.fullmatch(word.strip())
    if match is None or (len(match[1]) == 4) == (len(match[4]) == 4):
        raise ValueError
    first, mark, second, last, hour, minute, second_of_minute, half = match.groups()
    if len(first) == 4:
        year, month, day = first, second, last
    elif day_first or mark == ".":
        year, month, day = last, second, first
    else:
        year, month, day = last, first, second
    clock = int(hour or 0)
    if half:
        if not 1 <= clock <= 12:
            raise ValueError
        clock = clock % 12 + 12 * (half.lower() == "pm")
    numbers = (int(year), int(month), int(day), clock, int(minute or 0), int(second_of_minute or 0))
    return datetime(*numbers)


def _reading_of_dates(words: Sequence[str]) -> tuple[Callable[[str], float], str]:
    """Returns how dates are parsed, and a doubt: whether the month or the day comes first.

    A number above 12 tells, and else the order in which times do not fall.
    """
    month_first, day_first = _parse_date, partial(_parse_date, day_first=True)
    with suppress(ValueError):
        datetime.fromisoformat(words[0])  # in a column of such dates all are
        return month_first, ""
    matches = [OTHER_DATE.fullmatch(word.strip()) for word in words]
    doubtful = [m for m in matches if m and len(m[4]) == 4 and m[2] != "."]
    if not doubtful:
        return month_first, ""
    if any(int(match[1]) > 12 for match in doubtful):
        return day_first, ""
    if any(int(match[3]) > 12 for match in doubtful):
        return month_first, ""
    falls = [
        bool((np.diff(_parse_all(words, parse)) < 0).any()) for parse in (month_first, day_first)
    ]
    if falls == [True, False]:
        return day_first, ""
    if falls == [False, True]:
        return month_first, ""
    return month_first, f"{words[0]} is read with the month first; write 2023-12-31 to be sure"
