"""Settings over seeds: means with intervals, the choice on validation, paired comparison. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from statistics import mean, stdev
from typing import Any, NamedTuple


class Estimate(NamedTuple):
    """Of n values. `sd` is the sample's, `half_width` that of the mean's 95 % interval (Student's
    t, n - 1 degrees of freedom); both are nan for one value.
    """

    n: int
    mean: float
    sd: float
    half_width: float

    def __str__(self) -> str:
        if self.n == 1:
            return f"{self.mean:.4f}"
        return f"{self.mean:.4f} ± {self.half_width:.4f} (sd {self.sd:.4f}, n {self.n})"


class Setting(NamedTuple):
    """One hidden size and learning rate, over its seeds."""

    hidden_size: int
    learning_rate: float
    validation: Estimate  # accuracy
    test: Estimate
    diverged: int  # members whose loss stopped being finite


def estimate(values: Sequence[float]) -> Estimate:
    """Mean, sd and 95 % interval of at least one value."""
    from scipy.stats import t  # half a second to import

    n = len(values)
    if n == 1:
        return Estimate(1, values[0], math.nan, math.nan)
    sd = stdev(values)
    return Estimate(n, mean(values), sd, float(t.ppf(0.975, n - 1)) * sd / math.sqrt(n))


def settings(results: Iterable[dict[str, Any]]) -> list[Setting]:
    """The settings of finished members, best mean validation accuracy first: the chosen one.

    Settings with a member that diverged come last. A tie goes to fewer parameters, then to the
    smaller learning rate. The test accuracy plays no part in the order.
    """

    def of(result: dict[str, Any]) -> tuple[int, float]:
        return result["hidden_size"], result["learning_rate"]

    found = []
    for (hidden_size, learning_rate), group in groupby(sorted(results, key=of), of):
        members = list(group)
        validation = estimate([m["validation_accuracy"] for m in members])
        test = estimate([m["test_accuracy"] for m in members])
        diverged = sum(m["diverged_at"] is not None for m in members)
        found.append(Setting(hidden_size, learning_rate, validation, test, diverged))
    # Stable: the tie rule is the order.
    return sorted(found, key=lambda s: (s.diverged > 0, -s.validation.mean))


def lead_on_validation(
    results: Sequence[dict[str, Any]], one: Setting, other: Setting
) -> Estimate | None:
    """The paired difference of two settings; None where they have no seed in common or diverged."""
    first, second = (
        [r for r in results if (r["hidden_size"], r["learning_rate"]) == setting[:2]]
        for setting in (one, other)
    )
    if one.diverged or other.diverged:
        return None
    if {r["seed"] for r in first}.isdisjoint(r["seed"] for r in second):
        return None
    return paired_difference(first, second, "validation_accuracy")


def paired_difference(
    one: Iterable[dict[str, Any]], other: Iterable[dict[str, Any]], key: str = "test_accuracy"
) -> Estimate:
    """Of `one` minus `other` over the seeds that both have. Raises ValueError without any."""
    by_seed = {result["seed"]: result[key] for result in other}
    differences = [r[key] - by_seed[r["seed"]] for r in one if r["seed"] in by_seed]
    if not differences:
        raise ValueError("the two settings have no seed in common")
    return estimate(differences)
