"""The search space, and the settings that are drawn from it: at random, or by Optuna."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from lstm_jax.components import Component
from lstm_jax.config.experiment import Experiment
from lstm_jax.config.experiment_values import all_field_specs
from lstm_jax.config.labels import format_value
from lstm_jax.errors import UserError, missing_package

if TYPE_CHECKING:
    import random

    import optuna


class Range(NamedTuple):
    """The bounds between which a real-valued field is drawn."""

    low: float
    high: float
    log: bool  # log-uniformly


class Choices(NamedTuple):
    """The values from which one is drawn."""

    values: tuple[Any, ...]


Space = Mapping[str, Range | Choices]  # by the path of the field


def search_space(experiment: Experiment) -> Space:
    """Returns the search space: all fields with several values but the seed.

    Two values of a traced real-valued field are the bounds of a range; all others are choices, and
    so are the components of a union with all values of their fields.
    Raises UserError for a range whose lower bound is not the first.
    """
    specs, space = all_field_specs(experiment), dict[str, Range | Choices]()
    for path, values in experiment.grid.items():
        if path == "seed":
            continue
        is_real = specs[path].value_type is float and specs[path].traced
        if not is_real or len(values) != 2 or None in values:
            space[path] = Choices(values)
            continue
        low, high = values
        if low >= high:
            raise UserError(f"{path}: a search draws between two values; give the lower one first")
        space[path] = Range(low, high, log=specs[path].log and low > 0)
    return space


def random_settings(space: Space, count: int, seed: int) -> list[dict[str, Any]]:
    """Returns random settings that are spread evenly over the space.

    Choices are dealt from a shuffled deck, so that each is drawn about equally often. The settings
    with the same choices divide a range into equal strata and draw one value in each: Latin
    hypercube sampling (McKay, Beckman and Conover, "A comparison of three methods for selecting
    values of input variables", 1979).
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
    for (path, bounds), group in itertools.product(space.items(), alike.values()):
        if isinstance(bounds, Range):
            strata = _shuffled(range(len(group)), draw)
            for setting, stratum in zip(group, strata, strict=True):
                setting[path] = _quantile(bounds, (stratum + draw.random()) / len(group))
    return settings


def _shuffled(values: Iterable[Any], draw: random.Random) -> list[Any]:
    """Returns the values in random order.

    It uses `random()` alone: Python promises the numbers of no other method for a seed.
    """
    return sorted(values, key=lambda _: draw.random())


def _quantile(bounds: Range, share: float) -> float:
    """Returns the value that a share of all draws, from 0 to 1, lies below."""
    if not bounds.log:
        return bounds.low + (bounds.high - bounds.low) * share
    return math.exp(math.log(bounds.low) + math.log(bounds.high / bounds.low) * share)


def optuna_study(seed: int, startup: int, *, higher_is_better: bool) -> optuna.Study:
    """Returns an Optuna study with its tree-structured Parzen estimator as the sampler.

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
    """Returns a search space as Optuna's distributions; components are drawn by their texts."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    return {
        path: FloatDistribution(values.low, values.high, log=values.log)
        if isinstance(values, Range)
        else CategoricalDistribution(tuple(map(_optuna_choice, values.values)))
        for path, values in space.items()
    }


def from_optuna(space: Space, params: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the setting that stands for the parameters of one of Optuna's trials."""
    setting = dict(params)
    for path, choices in space.items():
        if isinstance(choices, Choices):
            setting[path] = {_optuna_choice(each): each for each in choices.values}[params[path]]
    return setting


def tell_optuna(
    study: optuna.Study, trial: optuna.Trial, reached: Mapping[int, float], *, is_pruned: bool
) -> None:
    """Tells Optuna the metric of a trial at each step at which it was scored, the last one last.

    TPE ranks the trials that were pruned behind all others, those that came further first.
    """
    from optuna.trial import TrialState

    *before, last = reached
    for step in [*before, last] if is_pruned else before:
        trial.report(reached[step], step)
    if is_pruned:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, reached[last])


def _optuna_choice(value: Any) -> Any:
    """Returns a value of a kind that Optuna takes: a component becomes its text."""
    return format_value(value) if isinstance(value, Component) else value
