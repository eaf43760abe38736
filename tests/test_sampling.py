"""Settings are drawn from choices and ranges as they say, and evenly."""

import math
from statistics import mean

import pytest

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.search import Search, Study
from lstm_jax.optim import AdamW


def drawn(path, values, trials=400, seed=0, **others):
    experiment = Experiment(**others).replace({path: values})
    study = Study(experiment, Search(method="random", trials=trials, search_seed=seed))
    return [member.values[path] for member in study.members()]


def test_random_settings_are_a_function_of_their_seed():
    rates = [drawn("learning_rate", (1e-4, 1e-2), 9, seed) for seed in (0, 0, 1)]
    assert rates[0] == rates[1] != rates[2]


def test_random_settings_are_the_same_with_any_python():
    members = Study(
        Experiment(hidden_size=(8, 16), learning_rate=(1e-4, 1e-1)),
        Search(method="random", trials=3),
    ).members()
    values = [(m.hidden_size, round(m.learning_rate, 6)) for m in members]
    assert values == [(8, 0.047391), (16, 0.005625), (8, 0.000285)]


@pytest.mark.parametrize("trials", [12, 20, 40])
@pytest.mark.parametrize("seed", [0, 1])
def test_random_draws_are_spread_over_choices_and_the_range_of_each(trials, seed):
    cells = ("lstm", "gru", "rnn", "irnn")
    experiment = Experiment(cell=cells, layers=(1, 2), learning_rate=(1e-4, 1e0))
    study = Study(experiment, Search(method="random", trials=trials, search_seed=seed))
    members = study.members()
    assert len(members) == trials
    for path, values in {"cell": cells, "layers": (1, 2)}.items():
        counts = [sum(m.values[path] == value for m in members) for value in values]
        assert max(counts) - min(counts) <= 1
    groups = {(m.cell, m.layers): [] for m in members}
    for m in members:
        groups[m.cell, m.layers].append(math.log(m.learning_rate / 1e-4) / math.log(1e4))
    for positions in groups.values():  # one in each of equal strata
        assert sorted(int(p * len(positions)) for p in positions) == list(range(len(positions)))


@pytest.mark.parametrize("path", ["learning_rate", "clip_norm"])
def test_a_range_whose_scale_is_logarithmic_is_drawn_from_log_uniformly(path):
    logs = [math.log10(value) for value in drawn(path, (1e-4, 1e-2))]
    assert -4 <= min(logs) < -3.9 < -2.1 < max(logs) <= -2
    assert abs(mean(logs) + 3) < 4 * (2 / math.sqrt(12)) / math.sqrt(len(logs))
    assert sum(x < -3 for x in logs) == 200  # as many in each half


@pytest.mark.parametrize(
    ("path", "low", "high"),
    [
        ("forget_bias", -1.0, 3.0),
        ("task.label_smoothing", 0.0, 0.5),
        ("optimizer.weight_decay", 0.0, 0.1),
    ],
)
def test_any_other_range_is_drawn_from_uniformly_also_one_from_zero(path, low, high):
    positions = [(v - low) / (high - low) for v in drawn(path, (low, high), optimizer="adamw")]
    assert 0 <= min(positions) < 0.05 < 0.95 < max(positions) <= 1
    assert abs(mean(positions) - 0.5) < 4 / math.sqrt(12 * len(positions))


def test_tpe_searches_a_range_from_zero():
    space = Experiment(optimizer=AdamW(weight_decay=(0.0, 0.1)))
    study = Study(space, Search(method="tpe", trials=4))
    decays = [m.optimizer.weight_decay for m in study.members()]
    assert len(set(decays)) == 4
    assert all(0 <= decay <= 0.1 for decay in decays)
