"""What is trained next is a function of the experiment and of the accuracies known so far."""

import math
import random
from itertools import pairwise
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_jax.errors import UserError
from lstm_jax.experiment import Experiment
from lstm_jax.search import finished_rungs, first_round, member_steps, next_round

SWEEPS = {
    "grid": Experiment(hidden_size=(8, 16), learning_rate=(1e-3, 3e-3), seed=(0, 1)),
    "halving": Experiment(
        hidden_size=(8, 16, 32), learning_rate=(1e-4, 1e-3, 1e-2), seed=(0, 1), halving=3
    ),
    "random": Experiment(
        hidden_size=(8, 16), learning_rate=(1e-4, 1e-1), search="random", trials=7
    ),
    "random, halving": Experiment(
        hidden_size=(8, 16), learning_rate=(1e-4, 1e-1), search="random", trials=9, halving=2
    ),
    "tpe": Experiment(
        hidden_size=(8, 16), learning_rate=(1e-4, 1e-1), search="tpe", trials=7, trials_at_once=3
    ),
}


def accuracy(member, step):
    """Of a made-up member: better near a learning rate of 3e-3, a little by width and seed."""
    distance = abs(math.log10(member.learning_rate / 3e-3))
    return 1 / (1 + distance) + member.hidden_size / 1e4 + member.seed / 1e6 + step / 1e9


def played(experiment, scores=None):
    """All rounds from the scores at hand to the end, and the scores then."""
    scores, rounds = dict(scores or {}), []
    while (found := next_round(experiment, scores)) is not None:
        rounds.append(found)
        scores |= {(m, found.until): accuracy(m, found.until) for m in found.members}
        assert len(rounds) < 100
    return rounds, scores


@pytest.mark.parametrize("name", SWEEPS)
def test_a_run_ends_after_as_many_steps_as_it_said(name):
    experiment = SWEEPS[name]
    rounds, _ = played(experiment)
    reached, steps = {}, 0
    for found in rounds:
        steps += sum(found.until - reached.get(m, 0) for m in found.members)
        reached |= dict.fromkeys(found.members, found.until)
    assert steps == member_steps(experiment)
    assert rounds[-1].until == experiment.num_steps
    assert rounds[0] == first_round(experiment)


@pytest.mark.parametrize("name", SWEEPS)
@settings(max_examples=10, deadline=None)
@given(keep=st.floats(0, 1), salt=st.integers(0, 100))
def test_whatever_was_scored_before_a_kill_the_rest_is_the_same(name, keep, salt):
    """Rounds are finished one after the other, the members of the last one in any order."""
    experiment = SWEEPS[name]
    rounds, scores = played(experiment)
    known, draw = {}, random.Random(salt)
    for found in rounds:
        stop = draw.random() > keep
        chosen = [m for m in found.members if not stop or draw.random() < 0.5]
        known |= {(m, found.until): scores[m, found.until] for m in chosen}
        if stop:
            break
    again, final = played(experiment, known)
    assert again == rounds[len(rounds) - len(again) :]
    assert final == scores


def test_halving_keeps_the_best_third_of_the_settings_with_all_their_seeds():
    experiment = SWEEPS["halving"]
    assert experiment.rungs() == ((87, 3), (261, 1))  # 9 settings, 782 steps
    rounds, scores = played(experiment)
    assert [(len(r.members), r.until) for r in rounds] == [(18, 87), (6, 261), (2, 782)]
    decided = list(finished_rungs(experiment, scores))
    assert decided == [(one, other.members) for one, other in pairwise(rounds)]
    for before, after in pairwise(rounds):

        def by_mean(m, found=before):
            mates = [n for n in found.members if n.hidden_size == m.hidden_size]
            mates = [n for n in mates if n.learning_rate == m.learning_rate]
            assert len(mates) == 2
            return mean(scores[n, found.until] for n in mates)

        dropped = set(before.members) - set(after.members)
        assert min(map(by_mean, after.members)) >= max(map(by_mean, dropped))


def test_random_settings_are_log_uniform_and_a_function_of_their_seed():
    def rates(seed):
        experiment = Experiment(
            learning_rate=(1e-4, 1e-2), search="random", trials=400, search_seed=seed
        )
        return [member.learning_rate for member in first_round(experiment).members]

    logs = [math.log10(rate) for rate in rates(0)]
    assert rates(0) == rates(0) != rates(1)
    assert min(logs) >= -4
    assert max(logs) <= -2
    assert abs(mean(logs) + 3) < 4 * (2 / math.sqrt(12)) / math.sqrt(len(logs))
    assert 150 < sum(x < -3 for x in logs) < 250


def test_tpe_learns_where_the_accuracy_is():
    experiment = Experiment(
        learning_rate=(1e-6, 1e1), search="tpe", trials=60, trials_at_once=5, seed=0
    )
    rounds, _ = played(experiment)
    far = [
        mean(abs(math.log10(m.learning_rate / 3e-3)) for r in part for m in r.members)
        for part in (rounds[:2], rounds[-4:])
    ]
    assert far[1] < 0.75 * far[0]


def test_every_seed_of_a_trial_is_trained():
    experiment = Experiment(
        learning_rate=(1e-4, 1e-1), search="tpe", trials=2, trials_at_once=2, seed=(3, 4, 5)
    )
    members = first_round(experiment).members
    assert sorted(m.seed for m in members) == [3, 3, 4, 4, 5, 5]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"trials": 3}, "a grid has none"),
        ({"search": "random", "trials": 3}, "learning_rate: search random needs two"),
        ({"search": "tpe", "trials": 3, "learning_rate": (1e-2, 1e-3)}, "the lower one first"),
        ({"search": "tpe", "learning_rate": (1e-3, 1e-2)}, "trials: search tpe"),
        ({"search": "bayes"}, "not one of grid, random, tpe"),
        ({"halving": 1}, "halving: 2 or more"),
        ({"halving": 2}, "halving: 2 leaves no rung with 1 settings"),
        ({"halving": 4, "learning_rate": (1e-4, 1e-3, 1e-2)}, "give at least 4"),
        ({"halving": 2, "seed": (0, 1, 2, 3)}, "leaves no rung"),
        (
            {"halving": 2, "learning_rate": (1e-3, 1e-2), "num_examples": 1},
            "1 rungs do not fit into 1 steps",
        ),
        (
            {"search": "tpe", "trials": 9, "learning_rate": (1e-3, 1e-2), "halving": 3},
            "of a grid or of a random search",
        ),
    ],
)
def test_a_search_that_cannot_be_is_one_line(values, words):
    with pytest.raises(UserError, match=words) as caught:
        Experiment(**values)
    assert "\n" not in str(caught.value)


def test_how_members_are_chosen_is_no_part_of_who_they_are():
    plain = SWEEPS["grid"]
    member = plain.members()[0]
    for name in ("halving", "random", "tpe"):
        assert SWEEPS[name].solo(member).digest == plain.solo(member).digest
