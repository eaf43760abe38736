"""Settings over seeds: means with intervals, the choice on validation, paired comparison. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from statistics import mean, stdev
from typing import Any, NamedTuple

from lstm_jax.config.experiment import Experiment
from lstm_jax.runs.results import Result


class Estimate(NamedTuple):
    """What n values say. `sd` is the sample's; `low` and `high` are the ends of the mean's 95 %
    interval (Student's t, n - 1 degrees of freedom), as far as the mean can lie there, and
    `half_width` is half of it where nothing is cut off.

    One value has no sd. Two have no interval: it would be 12.7 times as wide as they are apart.
    """

    n: int
    mean: float
    sd: float
    half_width: float = math.nan
    low: float = math.nan
    high: float = math.nan

    def __str__(self) -> str:
        """Four places after the point, or as many as show three digits of a small mean."""
        size = abs(self.mean)
        places = 2 - math.floor(math.log10(size)) if 0 < size < 0.01 else 4
        middle, sd, half, low, high = (f"{value:.{places}f}" for value in self[1:])
        if self.n == 1:
            return middle
        if self.n == 2:
            return f"{middle} (sd {sd}, n 2: too few for an interval)"
        whole = self.low == self.mean - self.half_width and self.high == self.mean + self.half_width
        interval = f"± {half}" if whole else f"[{low}, {high}]"
        return f"{middle} {interval} (sd {sd}, n {self.n})"


class Summary(NamedTuple):
    """One setting over its seeds."""

    setting: Experiment  # with seed 0
    validation: Estimate  # of the task's metric
    test: Estimate
    diverged: int  # members whose loss stopped being finite
    results: list[Result]


class Comparison(NamedTuple):
    """Two settings that differ in one field, and by how much the first is ahead of the other."""

    one: Summary
    other: Summary
    lead: Estimate


def estimate(
    values: Sequence[float], bounds: tuple[float, float] = (-math.inf, math.inf)
) -> Estimate:
    """Returns mean, sd and 95 % interval of at least one value, which lies within the bounds; nan
    where a value is not finite.
    """
    from scipy.special import stdtrit  # a third of the time that scipy.stats takes to import

    n = len(values)
    if not all(map(math.isfinite, values)):  # `statistics` fails on them
        return Estimate(n, math.nan, math.nan)
    middle = mean(values)
    if n == 1:
        return Estimate(1, middle, math.nan)
    sd = stdev(values)
    if n == 2:
        return Estimate(2, middle, sd)
    half = float(stdtrit(n - 1, 0.975)) * sd / math.sqrt(n)
    low, high = max(bounds[0], middle - half), min(bounds[1], middle + half)
    return Estimate(n, middle, sd, half, low, high)


def summarise(results: Iterable[Result]) -> list[Summary]:
    """Returns the settings of finished members, best mean validation metric first: the chosen one.

    Settings with a member that diverged come last. A tie goes to the setting that comes first. The
    test metric plays no part in the order.
    """
    by_setting: dict[Experiment, list[Result]] = {}
    for result in results:
        by_setting.setdefault(result.member.setting, []).append(result)
    found = [
        Summary(
            setting,
            estimate([mate.validation_metric for mate in mates], setting.task.metric_range),
            estimate([mate.test_metric for mate in mates], setting.task.metric_range),
            sum(mate.diverged_at is not None for mate in mates),
            mates,
        )
        for setting, mates in by_setting.items()
    ]
    return sorted(found, key=lambda s: (s.diverged > 0, worse_first(s)))


def worse_first(summary: Summary) -> float:
    """Returns a number that is smaller the better the setting is on validation; nan is worst."""
    value = summary.validation.mean
    if not math.isfinite(value):
        return math.inf
    return -value if summary.setting.task.higher_is_better else value


def lead_on_validation(one: Summary, other: Summary) -> Estimate | None:
    """Returns by how much one setting is ahead of another, paired over their common seeds.

    A lead is positive also where the lower metric is better. None where they have no seed in common
    or one diverged.
    """
    by_seed = {result.member.seed: result.validation_metric for result in other.results}
    sign = 1 if one.setting.task.higher_is_better else -1
    differences = [
        sign * (result.validation_metric - by_seed[result.member.seed])
        for result in one.results
        if result.member.seed in by_seed
    ]
    if one.diverged or other.diverged or not differences:
        return None
    low, high = one.setting.task.metric_range
    return estimate(differences, (low - high, high - low))


def compare(found: Iterable[Summary], path: str, drawn: Sequence[str] = ()) -> Iterator[Comparison]:
    """Yields, of settings in the order of `summarise`, the best one beside each of those that
    differ from it in one field alone, where they have two seeds in common and none diverged.

    Fields that a search has drawn may differ too: of each value of the one field there is then the
    setting that is best in them.
    """
    groups: dict[Experiment, dict[Any, Summary]] = {}
    for summary in found:
        alike = summary.setting.replace_unchecked(dict.fromkeys((path, *drawn)))
        groups.setdefault(alike, {}).setdefault(summary.setting.values[path], summary)
    for best, *others in map(dict.values, groups.values()):
        for other in others:
            lead = lead_on_validation(best, other)
            if lead is not None and lead.n > 1:
                yield Comparison(best, other, lead)
