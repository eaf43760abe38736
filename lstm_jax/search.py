"""Which members to train next, and how far, given what is known so far. Pure: no I/O, no clock.

A run is a sequence of rounds: a grid is one, to the last step; successive halving has one for each
rung, with fewer settings each time; Optuna's search one for each batch of trials. What comes next
is a function of the experiment and of the validation accuracies on record, so a search that was
killed goes on exactly as it would have.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Iterator, Mapping
from statistics import mean
from typing import NamedTuple

from lstm_jax.errors import not_installed
from lstm_jax.experiment import Experiment, Member

Scores = Mapping[tuple[Member, int], float]  # validation accuracy after a number of steps
Setting = tuple[int, float]  # hidden size, learning rate


class Round(NamedTuple):
    """Members to train side by side, until all have done this many steps."""

    members: tuple[Member, ...]
    until: int


def next_round(experiment: Experiment, scores: Scores) -> Round | None:
    """The first round with a member whose score is not known; None when all is done."""
    return next((r for r in _rounds(experiment, scores) if _missing(r, scores)), None)


def first_round(experiment: Experiment) -> Round:
    return next(_rounds(experiment, {}))


def member_steps(experiment: Experiment) -> int:
    """Training steps of the whole run, added up over all members."""
    settings, done, total = experiment.num_settings, 0, 0
    for step, kept in (*experiment.rungs(), (experiment.num_steps, 0)):
        total += settings * (step - done)
        settings, done = kept, step
    return total * len(experiment.axis("seed"))


def finished_rungs(
    experiment: Experiment, scores: Scores
) -> Iterator[tuple[Round, tuple[Member, ...]]]:
    """The rungs of a halving at which all are scored, each with the members that go on."""
    kept = dict(experiment.rungs())
    for found in _rounds(experiment, scores):
        if found.until not in kept or _missing(found, scores):
            return
        yield found, _survivors(found, scores, kept[found.until])


def _survivors(found: Round, scores: Scores, kept: int) -> tuple[Member, ...]:
    """The members of the `kept` settings of best mean accuracy over their seeds.

    Whole settings stay or go: dropping the unlucky seeds of one would flatter its mean. A tie goes
    to fewer units, then to the smaller learning rate.
    """
    accuracies: dict[Setting, list[float]] = {}
    for member in found.members:
        setting = member.hidden_size, member.learning_rate
        accuracies.setdefault(setting, []).append(scores[member, found.until])
    best = set(sorted(accuracies, key=lambda s: (-mean(accuracies[s]), s))[:kept])
    return tuple(m for m in found.members if (m.hidden_size, m.learning_rate) in best)


def _rounds(experiment: Experiment, scores: Scores) -> Iterator[Round]:
    """The rounds in their order; the scores of one must be known before the next is asked for."""
    if experiment.search == "tpe":
        yield from _tpe_rounds(experiment, scores)
        return
    members = experiment.members()
    if experiment.search == "random":
        members = _with_seeds(experiment, _random_settings(experiment))
    for step, kept in experiment.rungs():
        found = Round(members, step)
        yield found
        members = _survivors(found, scores, kept)
    yield Round(members, experiment.num_steps)


def _missing(found: Round, scores: Scores) -> bool:
    return any((member, found.until) not in scores for member in found.members)


def _with_seeds(experiment: Experiment, settings: Iterable[Setting]) -> tuple[Member, ...]:
    pairs = itertools.product(settings, experiment.axis("seed"))
    return tuple(Member(*setting, seed) for setting, seed in pairs)


def _random_settings(experiment: Experiment) -> list[Setting]:
    low, high = map(math.log, experiment.axis("learning_rate"))
    draw = random.Random(experiment.search_seed)
    hidden_sizes = experiment.axis("hidden_size")
    return [
        (hidden_sizes[int(draw.random() * len(hidden_sizes))],
         math.exp(low + (high - low) * draw.random()))
        for _ in range(experiment.trials)
    ]  # fmt: skip


def _tpe_rounds(experiment: Experiment, scores: Scores) -> Iterator[Round]:
    """Optuna's tree-structured Parzen estimator, asked and told again from the first trial on."""
    try:
        import optuna
    except ImportError:
        raise not_installed("--search tpe", "Optuna", "search") from None
    optuna.logging.disable_default_handler()
    # Drawn at random before it begins to learn: a quarter, ten at most (Optuna's own default).
    startup = min(10, max(experiment.trials_at_once, experiment.trials // 4))
    sampler = optuna.samplers.TPESampler(seed=experiment.search_seed, n_startup_trials=startup)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    low, high = experiment.axis("learning_rate")
    space = {
        "hidden_size": optuna.distributions.CategoricalDistribution(experiment.axis("hidden_size")),
        "learning_rate": optuna.distributions.FloatDistribution(low, high, log=True),
    }
    for first in range(0, experiment.trials, experiment.trials_at_once):
        count = min(experiment.trials_at_once, experiment.trials - first)
        trials = [study.ask(space) for _ in range(count)]
        settings = [(t.params["hidden_size"], t.params["learning_rate"]) for t in trials]
        # Two trials may choose the same setting; its members are trained once.
        yield Round(_with_seeds(experiment, dict.fromkeys(settings)), experiment.num_steps)
        for trial, setting in zip(trials, settings, strict=True):
            members = _with_seeds(experiment, [setting])
            study.tell(trial, mean(scores[m, experiment.num_steps] for m in members))
