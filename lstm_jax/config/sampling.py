"""Where a search looks, and what it draws there: settings spread at random, or those of Optuna."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from lstm_jax.config.experiment import Experiment, all_field_specs
from lstm_jax.errors import UserError, missing_package

if TYPE_CHECKING:
    import random

    import optuna


class Range(NamedTuple):
    """A real-valued field is drawn between these."""

    low: float
    high: float
    log: bool  # log-uniformly


class Choices(NamedTuple):
    """One of these is drawn."""

    values: tuple[Any, ...]


Space = Mapping[str, Range | Choices]  # by the path of the field


def search_space(experiment: Experiment) -> Space:
    """Returns where to look: in all fields with several values but the seed.

    Two values of a real-valued field are the ends of a range; all others are choices. Raises
    UserError for a range whose lower end is not the first.
    """
    field_specs, space = all_field_specs(experiment), dict[str, Range | Choices]()
    for path, values in experiment.axes.items():
        if path == "seed":
            continue
        if field_specs[path].value_type is not float or len(values) != 2 or None in values:
            space[path] = Choices(values)
            continue
        low, high = values
        if low >= high:
            raise UserError(f"{path}: a search draws between two values, the lower one first")
        space[path] = Range(low, high, log=field_specs[path].log and low > 0)
    return space


def random_settings(space: Space, count: int, seed: int) -> list[dict[str, Any]]:
    """Returns settings that are spread: no choice is had much more often than another.

    Choices are dealt from a shuffled deck. Of settings with the same choices, each draws from its
    own one of equal parts of a range: Latin hypercube sampling (McKay, Beckman and Conover, "A
    comparison of three methods for selecting values of input variables", 1979).
    """
    import random  # a hundredth of a second

    draw = random.Random(seed)
    settings: list[dict[str, Any]] = [{} for _ in range(count)]
    for path, choices in space.items():
        if isinstance(choices, Choices):
            deck: list[Any] = []
            for setting in settings:
                deck = deck or _shuffled(choices.values, draw)
                setting[path] = deck.pop()
    alike: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for setting in settings:
        alike.setdefault(tuple(setting.values()), []).append(setting)
    for (path, bounds), mates in itertools.product(space.items(), alike.values()):
        if isinstance(bounds, Range):
            strata = _shuffled(range(len(mates)), draw)
            for setting, stratum in zip(mates, strata, strict=True):
                setting[path] = _quantile(bounds, (stratum + draw.random()) / len(mates))
    return settings


def _shuffled(values: Iterable[Any], draw: random.Random) -> list[Any]:
    """Returns the values in random order, by `random()` alone: Python promises the numbers of no
    other method for a seed.
    """
    return sorted(values, key=lambda _: draw.random())


def _quantile(bounds: Range, share: float) -> float:
    """Returns what a share of all draws, from 0 to 1, lies below."""
    if not bounds.log:
        return bounds.low + (bounds.high - bounds.low) * share
    return math.exp(math.log(bounds.low) + math.log(bounds.high / bounds.low) * share)


def optuna_study(seed: int, startup: int, *, higher_is_better: bool) -> optuna.Study:
    """Returns a search by Optuna's tree-structured Parzen estimator, to be asked and told.

    The first `startup` settings are drawn at random. Raises EnvironmentProblem where Optuna is not
    installed.
    """
    try:
        import optuna
    except ImportError:
        raise missing_package("--search tpe", "Optuna", "search") from None
    optuna.logging.disable_default_handler()
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup)
    directions = optuna.study.StudyDirection
    direction = directions.MAXIMIZE if higher_is_better else directions.MINIMIZE
    return optuna.create_study(direction=direction, sampler=sampler)


def optuna_distributions(space: Space) -> dict[str, Any]:
    """Returns a space as Optuna has it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    return {
        path: FloatDistribution(values.low, values.high, log=values.log)
        if isinstance(values, Range)
        else CategoricalDistribution(values.values)
        for path, values in space.items()
    }
