"""What is trained next is a function of the study and of the metrics known so far."""

import json
import math
import random
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import mean
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_jax.config import search as search_module
from lstm_jax.config.experiment import Experiment
from lstm_jax.config.search import Search, Study
from lstm_jax.errors import UserError
from lstm_jax.tasks import TASKS
from lstm_jax.tasks.images import Images


@dataclass(frozen=True)
class Distance(Images):
    """A task whose lower metric is the better one."""

    name: ClassVar[str] = "distance"
    metric: ClassVar[str] = "error"
    higher_is_better: ClassVar[bool] = False


RATES = {"learning_rate": (1e-4, 1e-1)}
TWO_RATES = {"learning_rate": (1e-3, 1e-2)}
GRID = Experiment(hidden_size=(8, 16), learning_rate=(1e-3, 3e-3), seed=(0, 1))
SPACE = Experiment(hidden_size=(8, 16), **RATES)
NINE = {"hidden_size": (8, 16, 32), "learning_rate": (1e-4, 1e-3, 1e-2), "seed": (0, 1)}
STUDIES = {
    "grid": Study(GRID),
    "halving": Study(Experiment(**NINE), Search(halving=3)),
    "halving, lower is better": Study(Experiment(task=Distance(), **NINE), Search(halving=3)),
    "random": Study(SPACE, Search(method="random", trials=7)),
    "random, halving": Study(SPACE, Search(method="random", trials=9, halving=2)),
    "tpe": Study(SPACE, Search(method="tpe", trials=7, trials_at_once=3)),
    "tpe, halving": Study(SPACE, Search("tpe", trials=7, trials_at_once=4, halving=2)),
    "random, halving, minutes": Study(
        SPACE, Search("random", trials=9, trials_at_once=4, halving=2, search_minutes=1)
    ),
    "budgets": Study(Experiment(batch_size=(64, 128), total_examples=(1000, 2000), seed=(0, 1))),
    "random budgets": Study(
        Experiment(batch_size=(64, 128, 32), **RATES), Search(method="random", trials=6)
    ),
}


def score(member, step):
    """Returns a made-up metric: better near a learning rate of 3e-3, a little by width and seed."""
    distance = abs(math.log10(member.learning_rate / 3e-3))
    good = 1 / (1 + distance) + member.hidden_size / 1e4 + member.seed / 1e6 + step / 1e9
    return good if member.task.higher_is_better else -good


def played(study, scores=None, score=score):
    """Returns all rounds from these scores to the end, and all scores then."""
    scores, rounds = dict(scores or {}), []
    while (each := study.position(scores).next_round) is not None:
        rounds.append(each)
        scores |= {(m.digest, each.until): score(m, each.until) for m in each.members}
        assert len(rounds) < 100
    return rounds, scores


@pytest.mark.parametrize("name", STUDIES)
def test_every_setting_is_tried_with_every_seed_and_some_reach_their_last_step(name):
    study = STUDIES[name]
    rounds, _ = played(study)
    assert rounds[0] == next(study.rounds({}))
    finished = {m for each in rounds for m in each.members if each.until == m.num_steps}
    tried = {m for each in rounds for m in each.members}
    assert len(tried) == study.num_members
    assert finished if study.search.halving else finished == tried
    for each in rounds:
        assert len(set(each.members)) == len(each.members)
        assert all(each.until <= m.num_steps for m in each.members)


@pytest.mark.parametrize("name", STUDIES)
@settings(max_examples=6, deadline=None)
@given(keep=st.floats(0, 1), salt=st.integers(0, 100))
def test_whatever_was_scored_before_a_kill_the_rest_is_the_same(name, keep, salt):
    """Rounds are finished one after the other, the members of the last one in any order."""
    study = STUDIES[name]
    rounds, scores = played(study)
    known, draw = {}, random.Random(salt)
    for each in rounds:
        stop = draw.random() > keep
        chosen = [m for m in each.members if not stop or draw.random() < 0.5]
        known |= {(m.digest, each.until): scores[m.digest, each.until] for m in chosen}
        if stop:
            break
    again, final = played(study, known)
    assert again == rounds[len(rounds) - len(again) :]
    assert final == scores


@pytest.mark.parametrize("name", STUDIES)
def test_json_both_ways_keeps_a_study_and_its_name(name, monkeypatch):
    monkeypatch.setitem(TASKS, "distance", Distance)
    study = STUDIES[name]
    again = Study.from_values(json.loads(json.dumps(study.to_values())))
    assert (again, again.digest) == (study, study.digest)


@pytest.mark.parametrize("name", ["halving", "halving, lower is better"])
def test_halving_keeps_the_best_third_of_the_settings_with_all_their_seeds(name):
    study = STUDIES[name]
    assert study.rungs() == ((87, 3), (261, 1))  # 9 settings, 782 steps
    rounds, scores = played(study)
    assert [(len(r.members), r.until) for r in rounds] == [(18, 87), (6, 261), (2, 782)]
    decided = list(study.finished_rungs(scores))
    assert decided == [(one, other.members) for one, other in pairwise(rounds)]
    sign = 1 if study.experiment.task.higher_is_better else -1
    for before, after in pairwise(rounds):

        def by_mean(m, each=before):
            alike = [n for n in each.members if n.setting == m.setting]
            assert len(alike) == 2
            return sign * mean(scores[n.digest, each.until] for n in alike)

        dropped = set(before.members) - set(after.members)
        assert min(map(by_mean, after.members)) >= max(map(by_mean, dropped))


def test_both_directions_keep_the_same_members_when_the_metric_is_turned_around():
    """And the survivor is the best that the made-up metric has."""
    up, down = (played(STUDIES[n])[0] for n in ("halving", "halving, lower is better"))
    first, second = (
        [[(m.hidden_size, m.learning_rate, m.seed) for m in r.members] for r in rounds]
        for rounds in (up, down)
    )
    assert first == second
    assert {(m.hidden_size, m.learning_rate) for m in up[-1].members} == {(32, 1e-3)}


def test_a_tie_goes_to_the_setting_that_comes_first_and_a_diverged_one_loses():
    study = STUDIES["halving"]
    rounds, _ = played(study, score=lambda member, step: 0.5)
    first = [m.setting for m in study.experiment.members()]
    assert {m.setting for m in rounds[1].members} == set(first[:6])  # two seeds each
    lost = first[0]
    rounds, _ = played(study, score=lambda m, step: -math.inf if m.setting == lost else 0.5)
    assert {m.setting for m in rounds[1].members} == set(first[2:8])


def test_a_rung_that_is_not_scored_whole_decides_nothing():
    study = STUDIES["halving"]
    members = study.members()
    scores = {(m.digest, 87): score(m, 87) for m in members[:-1]}
    assert list(study.finished_rungs(scores)) == []
    whole = scores | {(members[-1].digest, 87): score(members[-1], 87)}
    assert [rung.until for rung, _ in study.finished_rungs(whole)] == [87]
    assert study.position(scores).next_round == next(study.rounds({}))


@pytest.fixture
def told(monkeypatch):
    """The Optuna studies that are made from now on, the latest one last."""
    studies, make = [], search_module.optuna_study

    def optuna_study(*args, **options):
        studies.append(make(*args, **options))
        return studies[-1]

    monkeypatch.setattr(search_module, "optuna_study", optuna_study)
    return studies


@pytest.mark.parametrize("task", [Images(), Distance()])
def test_each_batch_of_tpe_is_a_bracket_and_optuna_knows_how_far_a_trial_came(told, task):
    space = Experiment(task=task, hidden_size=(8, 16), seed=(0, 1), **RATES)
    study = Study(space, Search("tpe", trials=7, trials_at_once=4, halving=2))
    rounds, scores = played(study)
    assert study.rungs() == ((196, 2), (391, 1))
    assert [(len(r.members), r.until) for r in rounds] == [
        *((8, 196), (4, 391), (2, 782)),
        *((6, 391), (4, 782)),  # three settings are left: one rung
    ]
    decided = list(study.finished_rungs(scores))
    assert decided == [(rounds[n], rounds[n + 1].members) for n in (0, 1, 3)]
    assert study.settings_tried(scores) == list(
        dict.fromkeys(m.setting for each in rounds for m in each.members)
    )
    steps = {}
    for each in rounds:
        for member in each.members:
            steps.setdefault(member.setting, {})[each.until] = None
    list(study.rounds(scores))  # to the end: the last trials are told too
    trials = told[-1].trials
    assert [trial.params["learning_rate"] for trial in trials] == [s.learning_rate for s in steps]
    for trial, (setting, reached) in zip(trials, steps.items(), strict=True):
        means = {
            step: mean(scores[setting.replace({"seed": n}).digest, step] for n in (0, 1))
            for step in reached
        }
        *before, last = reached
        assert trial.state.name == ("PRUNED" if last < 782 else "COMPLETE")
        assert trial.value == pytest.approx(means[last])
        assert [*trial.intermediate_values] == [*before, *([last] if last < 782 else [])]


def test_a_setting_that_tpe_chooses_again_has_the_scores_of_the_first_time(told):
    space = Experiment(hidden_size=(8, 16), seed=(0, 1))
    study = Study(space, Search("tpe", trials=6, trials_at_once=3, halving=2))
    rounds, scores = played(study)
    assert [len(each.members) for each in rounds] == [4, 2]
    assert list(study.rounds(scores)) == rounds
    values = {}
    for trial in told[-1].trials:
        assert trial.state.is_finished()
        values.setdefault(trial.params["hidden_size"], set()).add((trial.state, trial.value))
    assert all(len(each) == 1 for each in values.values())


def test_halving_trains_the_share_of_the_steps_that_it_says():
    for name in ("halving", "tpe, halving", "random, halving, minutes"):
        study, done, trained = STUDIES[name], {}, 0
        for each in played(study)[0]:
            trained += sum(each.until - done.get(m, 0) for m in each.members)
            done |= dict.fromkeys(each.members, each.until)
        assert study.work_share() == pytest.approx(trained / (782 * study.num_members))


def searched(study, scores=(), seconds=0.0, begun=0):
    """Returns the scores, seconds and batches begun of a search whose rounds take 25 seconds each,
    and its last position; it goes on from those that are given.
    """
    scores = dict(scores)
    while (position := study.position(scores, seconds, begun)).next_round is not None:
        begun, each = max(begun, position.batch + 1), position.next_round
        scores |= {(m.digest, each.until): score(m, each.until) for m in each.members}
        seconds += 25.0
    return scores, seconds, begun, position


@pytest.mark.parametrize("method", ["random", "tpe"])
@pytest.mark.parametrize("halving", [0, 2])
def test_a_budget_in_minutes_begins_no_batch_but_ends_those_that_are_begun(method, halving):
    search = Search(method, trials=8, trials_at_once=2, halving=halving, search_minutes=1)
    study = Study(Experiment(**RATES), search)
    longer = Study(Experiment(**RATES), replace(search, search_minutes=100))
    whole, _, _, position = searched(longer)
    assert position == (None, 4, 8)
    scores, *rest = searched(study)
    # A batch of one round takes 25 s; one of two takes 50 s, so that the second one ends too late.
    batches, took = (2, 100) if halving else (3, 75)
    assert rest == [took, batches, (None, batches, 2 * batches)]
    assert scores.items() < whole.items()
    assert searched(study, scores, took, batches)[0] == scores
    for lost in scores:  # the run was killed, or a checkpoint was lost
        left = {key: value for key, value in scores.items() if key != lost}
        assert searched(study, left, took, batches)[0] == scores
    assert searched(longer, scores, took, batches)[0] == whole
    assert study.position({}, seconds=1e9).next_round is not None  # one batch is always trained
    assert study.digest == longer.digest


def test_without_a_budget_random_settings_with_halving_are_another_run():
    """They are compared all with all then."""
    search = Search("random", trials=8, halving=2)
    digests = [
        Study(SPACE, replace(search, search_minutes=minutes)).digest for minutes in (1, 9, None)
    ]
    assert digests[0] == digests[1] != digests[2]


def test_budgets_as_axes_are_rounds_by_their_steps():
    rounds, _ = played(STUDIES["budgets"])
    assert [r.until for r in rounds] == [8, 16, 32]
    for each in rounds:
        assert {m.num_steps for m in each.members} == {each.until}
    assert [len(r.members) for r in rounds] == [2, 4, 2]


def test_settings_that_were_drawn_twice_count_once():
    space = Experiment(cell=("lstm", "gru"), layers=(1, 2), seed=(0, 1))
    study = Study(space, Search(method="random", trials=9, halving=2))
    assert study.num_settings == 4
    assert [kept for _, kept in study.rungs()] == [2, 1]
    assert study.num_members == 8


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("hidden_size", (8, 64)),
        ("cell", ("lstm", "gru")),
        ("task.shift", (0, 2)),
        ("clip_norm", (None, 1.0)),
        ("learning_rate", (1e-3, 2e-3, 1e-2)),
    ],
)
def test_whole_numbers_names_and_more_than_two_values_are_choices(path, values):
    for search in (Search(method="random", trials=40), Search(method="tpe", trials=12)):
        study = Study(Experiment(seed=(0, 1)).replace({path: values}), search)
        rounds, _ = played(study)
        members = [m for each in rounds for m in each.members]
        assert {m.values[path] for m in members} == set(values)
        members_known = len(members) if search.method == "random" else 2 * search.trials
        assert study.num_members == members_known
        for each in rounds:  # the same setting drawn twice is trained once
            assert len(set(each.members)) == len(each.members)
            assert {m.seed for m in each.members} == {0, 1}


@pytest.mark.parametrize("task", [Images(), Distance()])
def test_tpe_learns_where_the_metric_is_best(task):
    search = Search(method="tpe", trials=60, trials_at_once=5)
    study = Study(Experiment(task=task, learning_rate=(1e-6, 1e1)), search)
    rounds, _ = played(study)
    far = [
        mean(abs(math.log10(m.learning_rate / 3e-3)) for r in some for m in r.members)
        for some in (rounds[:2], rounds[-4:])
    ]
    assert far[1] < 0.75 * far[0]


def test_every_seed_of_a_trial_is_trained():
    search = Search(method="tpe", trials=2, trials_at_once=2)
    study = Study(Experiment(seed=(3, 4, 5), **RATES), search)
    assert sorted(m.seed for m in study.members()) == [3, 3, 4, 4, 5, 5]


@pytest.mark.parametrize(
    ("search", "values", "words"),
    [
        ({"trials": 3}, {}, "a grid has none"),
        ({"method": "random", "trials": 3}, {}, "search: random needs a field with several"),
        ({"method": "random", "trials": 3}, {"seed": (0, 1)}, "needs a field with several"),
        ({"method": "tpe", "trials": 3}, {"learning_rate": (1e-2, 1e-3)}, "the lower one first"),
        ({"method": "tpe"}, TWO_RATES, "trials: search tpe"),
        ({"method": "bayes"}, {}, "not one of grid, random, tpe"),
        ({"trials": (1, 2)}, {}, "trials: takes one value"),
        ({"method": ("grid", "tpe")}, {}, "^search: takes one value"),
        ({"halving": 1}, {}, "halving: 2 or more"),
        ({"halving": 2}, {}, "halving: 2 leaves no rung with 1 settings"),
        ({"halving": 4}, {"learning_rate": (1e-4, 1e-3, 1e-2)}, "give at least 4"),
        ({"halving": 2}, {"seed": (0, 1, 2, 3)}, "leaves no rung"),
        ({"halving": 2}, {"batch_size": (64, 128)}, "give one batch_size"),
        ({"halving": 2}, {"total_examples": (64, 128)}, "give one batch_size"),
        ({"halving": 2}, {**TWO_RATES, "total_examples": 1}, "1 rungs do not fit into 1 steps"),
        (
            {"method": "tpe", "trials": 9, "trials_at_once": 2, "halving": 3},
            TWO_RATES,
            "no rung with 2 settings at once; give a trials_at_once of at least 3",
        ),
        ({"method": "tpe", "trials": 2, "halving": 3}, TWO_RATES, "give at least 3 of them"),
        ({"search_minutes": 5}, TWO_RATES, "a grid has no such budget"),
        ({"search_minutes": 0}, TWO_RATES, "0 is not between .*; none switches it off"),
    ],
)
def test_a_search_that_cannot_be_is_one_line(search, values, words):
    with pytest.raises(UserError, match=words) as caught:
        Study(Experiment(**values), Search(**search))
    assert "\n" not in str(caught.value)


def test_how_members_are_chosen_is_part_of_a_studys_name_alone():
    assert Study(GRID).digest == GRID.digest
    others = [Search(halving=2), Search(method="random", trials=4), Search(search_seed=1)]
    names = {Study(GRID, search).digest for search in others}
    assert len(names | {GRID.digest}) == 4
    for search in others[:1]:
        assert set(Study(GRID, search).members()) == set(GRID.members())
