"""Settings over seeds: means with intervals, the choice on validation, paired comparison. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from statistics import mean, stdev
from typing import NamedTuple

from lstm_jax.experiment import Experiment
from lstm_jax.results import Result


class Estimate(NamedTuple):
    """What n values say. `sd` is the sample's, `half_width` that of the mean's 95 % interval
    (Student's t, n - 1 degrees of freedom); both are nan for one value.
    """

    n: int
    mean: float
    sd: float
    half_width: float

    def __str__(self) -> str:
        if self.n == 1:
            return f"{self.mean:.4f}"
        return f"{self.mean:.4f} ± {self.half_width:.4f} (sd {self.sd:.4f}, n {self.n})"


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


def estimate(values: Sequence[float]) -> Estimate:
    """Returns mean, sd and 95 % interval of at least one value."""
    from scipy.special import stdtrit  # a third of the time that scipy.stats takes to import

    n = len(values)
    if n == 1:
        return Estimate(1, values[0], math.nan, math.nan)
    sd = stdev(values)
    return Estimate(n, mean(values), sd, float(stdtrit(n - 1, 0.975)) * sd / math.sqrt(n))


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
            estimate([mate.validation_metric for mate in mates]),
            estimate([mate.test_metric for mate in mates]),
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
    return estimate(differences)


def compare(found: Iterable[Summary], path: str) -> Iterator[Comparison]:
    """Yields, of settings in the order of `summarise`, the best one beside each of those that
    differ from it in one field alone, where they have two seeds in common and none diverged.
    """
    groups: dict[Experiment, list[Summary]] = {}
    for summary in found:
        groups.setdefault(summary.setting.having({path: None}), []).append(summary)
    for best, *others in groups.values():
        for other in others:
            lead = lead_on_validation(best, other)
            if lead is not None and lead.n > 1:
                yield Comparison(best, other, lead)
