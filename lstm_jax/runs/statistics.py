"""Statistics of settings over seeds: intervals, the choice on validation, paired comparisons."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import nan
from statistics import mean, stdev
from typing import Any, NamedTuple

from lstm_jax.config.experiment import Experiment
from lstm_jax.runs.results import Result


class Estimate(NamedTuple):
    """The mean of n values, the standard deviation of the sample, and the mean's 95 % interval.

    `low` and `high` are the ends of the interval (Student's t, n - 1 degrees of freedom), clipped
    to the bounds of the metric; `half_width` is half its width before clipping. One value has no
    `sd`. Two values have no interval: it would be 12.7 times as wide as
    the distance between the two.
    """

    n: int
    mean: float
    sd: float
    half_width: float = math.nan
    low: float = math.nan
    high: float = math.nan

    @property
    def is_clipped(self) -> bool:
        """Whether a bound of the metric cuts the interval, so that "±" would say too much."""
        ends = self.mean - self.half_width, self.mean + self.half_width
        return self.n > 2 and (self.low, self.high) != ends

    @property
    def with_interval(self) -> str:
        """The mean as text, with its interval where it has one."""
        middle, _, half, low, high = self._texts
        interval = f" [{low}, {high}]" if self.is_clipped else f" ± {half}"
        return middle + interval * (self.n > 2)

    @property
    def _texts(self) -> list[str]:
        """The numbers after n, with four decimals, or with three digits of a small mean."""
        size = abs(self.mean)
        decimals = 2 - math.floor(math.log10(size)) if 0 < size < 0.01 else 4
        return [f"{value:.{decimals}f}" for value in self[1:]]

    def __str__(self) -> str:
        """Returns the estimate as text, with its standard deviation."""
        sd = self._texts[1]
        if self.n == 1:
            return self.with_interval
        too_few = ": too few for an interval" if self.n == 2 else ""
        return f"{self.with_interval} (sd {sd}, n {self.n}{too_few})"


class Summary(NamedTuple):
    """A setting over its seeds."""

    setting: Experiment  # with seed 0
    validation: Estimate  # of the task's metric
    test: Estimate
    diverged: int  # members whose loss stopped being finite
    results: list[Result]
    num_tied: int = 0  # other settings of its condition with the same mean on validation

    @property
    def tie_note(self) -> str:
        """How many other settings are as good on validation, as text; empty where none is.

        Of settings that are tied, the first in the order of the grid is chosen.
        """
        others = "1 other" if self.num_tied == 1 else f"{self.num_tied} others"
        return f" (tied with {others})" if self.num_tied else ""

    @property
    def other_tests(self) -> dict[str, Estimate]:
        """The metrics on the test beside the one that decides, by name."""
        tests = [result.test or {} for result in self.results]
        values = {
            name: [nan if (value := test.get(name)) is None else value for test in tests]
            for name in self.setting.task.metrics[1:]
            if any(name in test for test in tests)
        }
        return {name: estimate(column) for name, column in values.items()}

    @property
    def num_parameters(self) -> str:
        """The number of parameters, which all members of a setting share; empty if unknown."""
        count = self.results[0].num_parameters
        return "" if count is None else f"{count:,}"

    @property
    def stopped_at(self) -> str:
        """The steps at which members were stopped, from first to last; empty if none was."""
        steps = [result.stopped_at for result in self.results if result.stopped_at is not None]
        return " to ".join(map(str, sorted({min(steps), max(steps)}))) if steps else ""


class Comparison(NamedTuple):
    """Two settings that differ in one field, and the lead of the first one on validation."""

    best: Summary
    other: Summary
    lead: Estimate


def estimate(
    values: Sequence[float], bounds: tuple[float, float] = (-math.inf, math.inf)
) -> Estimate:
    """Returns the estimate of one or more values; nan where a value is not finite.

    `bounds` are the lowest and the highest value that the mean can have.
    """
    n = len(values)
    if not all(map(math.isfinite, values)):  # `statistics` fails on them
        return Estimate(n, math.nan, math.nan)
    middle = mean(values)
    if n == 1:
        return Estimate(1, middle, math.nan)
    sd = stdev(values)
    if n == 2:
        return Estimate(2, middle, sd)
    from scipy.special import stdtrit  # a third of the time that scipy.stats takes to import

    half = float(stdtrit(n - 1, 0.975)) * sd / math.sqrt(n)
    low, high = max(bounds[0], middle - half), min(bounds[1], middle + half)
    return Estimate(n, middle, sd, half, low, high)


def summarise(results: Iterable[Result]) -> list[Summary]:
    """Returns the settings of finished members: condition by condition in the order of the results,
    and in each the best mean validation metric first.

    The first setting of a condition is the chosen one. Settings with a diverged member come last,
    and a tie keeps the order of the results. The test metric does not enter.
    """
    by_setting: dict[Experiment, list[Result]] = {}
    for result in results:
        by_setting.setdefault(result.member.setting, []).append(result)
    summaries = [
        Summary(
            setting,
            estimate([each.validation_metric for each in group], setting.task.metric_range),
            estimate([each.test_metric for each in group], setting.task.metric_range),
            sum(each.diverged_at is not None for each in group),
            group,
        )
        for setting, group in by_setting.items()
    ]
    conditions = dict.fromkeys(summary.setting.condition for summary in summaries)
    position = {condition: index for index, condition in enumerate(conditions)}

    def order(summary: Summary) -> tuple[int, bool, float]:
        loss = _loss_on_validation(summary)
        return position[summary.setting.condition], summary.diverged > 0, loss

    counts = Counter(map(order, summaries))
    return [
        each._replace(num_tied=0 if math.isinf(key[-1]) or key[1] else counts[key] - 1)
        for each in sorted(summaries, key=order)
        for key in [order(each)]
    ]


def by_condition(summaries: Iterable[Summary]) -> list[list[Summary]]:
    """Returns the settings of each condition, in the order of `summarise`."""
    groups: dict[Any, list[Summary]] = {}
    for summary in summaries:
        groups.setdefault(summary.setting.condition, []).append(summary)
    return list(groups.values())


def chosen(summaries: Iterable[Summary]) -> list[Summary]:
    """Returns the setting of each condition that is best on validation."""
    return [group[0] for group in by_condition(summaries)]


def _loss_on_validation(summary: Summary) -> float:
    """Returns the mean validation metric with the sign that makes lower better; nan is inf."""
    value = summary.validation.mean
    if not math.isfinite(value):
        return math.inf
    return -value if summary.setting.task.higher_is_better else value


def lead_on_validation(setting: Summary, other: Summary) -> Estimate | None:
    """Returns the lead of a setting over another on validation, paired over common seeds.

    A positive lead means better, also where a lower metric is better. Returns None where the two
    have no seed in common, a member diverged, or they differ in a condition.
    """
    return _lead(setting, other, lambda result: result.validation_metric)


def lead_on_test(setting: Summary, other: Summary) -> Estimate | None:
    """Returns the lead on the test as `lead_on_validation` does, of settings that are chosen."""
    return _lead(setting, other, lambda result: result.test_metric)


def _lead(setting: Summary, other: Summary, metric: Callable[[Result], float]) -> Estimate | None:
    by_seed = {result.member.seed: metric(result) for result in other.results}
    sign = 1 if setting.setting.task.higher_is_better else -1
    differences = [
        sign * (metric(result) - by_seed[result.member.seed])
        for result in setting.results
        if result.member.seed in by_seed
    ]
    is_ranked = setting.setting.condition == other.setting.condition
    if not is_ranked or setting.diverged or other.diverged or not differences:
        return None
    low, high = setting.setting.task.metric_range
    return estimate(differences, (low - high, high - low))


def compare(
    summaries: Iterable[Summary], path: str, drawn: Sequence[str] = ()
) -> Iterator[Comparison]:
    """Yields comparisons of the best value of a field with its other values.

    `summaries` are in the order of `summarise`. All other fields of the two settings are equal, but
    for the fields that a search has drawn: each value is represented by its best setting over
    these. Pairs with fewer than two common seeds, or with a diverged member, are left out.
    """
    groups: dict[Experiment, dict[Any, Summary]] = {}
    for summary in summaries:
        alike = summary.setting.apart_from(path, *drawn)
        groups.setdefault(alike, {}).setdefault(summary.setting.values.get(path), summary)
    for best, *others in map(dict.values, groups.values()):
        for other in others:
            lead = lead_on_validation(best, other)
            if lead is not None and lead.n > 1:
                yield Comparison(best, other, lead)
