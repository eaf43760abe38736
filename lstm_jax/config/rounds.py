"""Rounds of members that train side by side, and successive halving of them. Pure: no I/O.

Jamieson and Talwalkar, "Non-stochastic best arm identification" (2016): at each rung, all settings
have trained for the same number of steps, and only the best 1 / eta of them go on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from lstm_jax.config.experiment import Experiment

Scores = Mapping[tuple[str, int], float]  # validation metric by member's digest and steps


class Round(NamedTuple):
    """Members that are trained side by side until all have done this many steps."""

    members: tuple[Experiment, ...]
    until: int


def is_scored(each: Round, scores: Scores) -> bool:
    """Returns whether all members of a round have a score at its last step."""
    return all((member.digest, each.until) in scores for member in each.members)


def mean(values: Sequence[float]) -> float:
    """Returns the mean of scores, which may be infinite."""
    return math.fsum(values) / len(values)  # `statistics` takes a hundredth of a second


def rounds_by_steps(members: Iterable[Experiment]) -> Iterator[Round]:
    """Yields a round for each last step: members differ in it where the budget is an axis."""
    by_steps: dict[int, list[Experiment]] = {}
    for member in members:
        by_steps.setdefault(member.num_steps, []).append(member)
    for steps, alike in sorted(by_steps.items()):
        yield Round(tuple(alike), steps)


def halving_rungs(num_settings: int, num_steps: int, eta: int) -> tuple[tuple[int, int], ...]:
    """Returns the rungs of successive halving: (step, number of settings that are kept).

    Each rung lies at `eta` times the step of the rung before it, and so does the last step of
    training. There are none where `eta` is 0, or more than the number of settings.
    """
    count = 0
    while 1 < eta ** (count + 1) <= num_settings:
        count += 1
    powers = [eta**n for n in range(1, count + 1)]
    return tuple(
        (-(-num_steps // power), -(-num_settings // cut))
        for power, cut in zip(reversed(powers), powers, strict=True)
    )


def halving_steps(num_settings: int, num_steps: int, eta: int) -> int:
    """Returns the steps that a bracket of successive halving trains, of one seed."""
    settings, done, total = num_settings, 0, 0
    for step, kept in halving_rungs(num_settings, num_steps, eta):
        total += settings * (step - done)
        settings, done = kept, step
    return total + settings * (num_steps - done)


def bracket(members: Sequence[Experiment], scores: Scores, eta: int) -> Iterator[Round]:
    """Yields the rounds of members that are compared with each other: one for each rung of
    successive halving, then those to the last step. Without halving, `eta` is 0.

    `scores` must hold a round before the next one is taken.
    """
    left = tuple(members)
    if eta and left:
        num_settings = len({member.setting for member in left})
        for step, kept in halving_rungs(num_settings, left[0].num_steps, eta):
            each = Round(left, step)
            yield each
            left = _survivors(each, scores, kept)
    yield from rounds_by_steps(left)


def _survivors(each: Round, scores: Scores, kept: int) -> tuple[Experiment, ...]:
    """Returns the members of the `kept` settings with the best mean metric over seeds.

    A setting is kept or dropped as a whole: dropping its unlucky seeds would flatter its mean.
    A tie goes to the setting that comes first.
    """
    metrics: dict[Experiment, list[float]] = {}
    for member in each.members:
        metrics.setdefault(member.setting, []).append(scores[member.digest, each.until])
    sign = -1 if each.members[0].task.higher_is_better else 1
    best = set(sorted(metrics, key=lambda setting: sign * mean(metrics[setting]))[:kept])
    return tuple(member for member in each.members if member.setting in best)
