"""Intervals that cover, a choice that never looks at the test set."""

import math
import random

import pytest

from lstm_jax.statistics import estimate, lead_on_validation, paired_difference, settings


def result(hidden_size, learning_rate, seed, validation, test=0.5, diverged_at=None):
    return {
        "hidden_size": hidden_size,
        "learning_rate": learning_rate,
        "seed": seed,
        "validation_accuracy": validation,
        "test_accuracy": test,
        "diverged_at": diverged_at,
    }


def test_the_95_percent_interval_covers_the_mean_95_times_in_100():
    rng = random.Random(0)
    tries = 2000
    covered = 0
    for _ in range(tries):
        found = estimate([rng.gauss(3.0, 2.0) for _ in range(5)])
        covered += abs(found.mean - 3.0) <= found.half_width
    assert abs(covered / tries - 0.95) < 0.015  # three standard errors


def test_one_value_has_no_interval():
    found = estimate([0.25])
    assert (found.n, found.mean) == (1, 0.25)
    assert math.isnan(found.sd)
    assert math.isnan(found.half_width)


def test_the_choice_is_made_on_validation_alone():
    results = [
        result(64, 1e-3, 0, 0.90, test=0.99),
        result(64, 1e-3, 1, 0.92, test=0.99),
        result(32, 3e-3, 0, 0.91, test=0.10),
        result(32, 3e-3, 1, 0.93, test=0.10, diverged_at=7),
        result(32, 1e-3, 0, 0.92),
    ]
    found = settings(results)
    assert [(s.hidden_size, s.learning_rate) for s in found] == [(32, 1e-3), (64, 1e-3), (32, 3e-3)]
    assert [s.diverged for s in found] == [0, 0, 1]
    assert [s.validation.n for s in found] == [1, 2, 2]


def test_pairing_removes_what_the_seeds_have_in_common():
    one = [result(1, 1, seed, 0, test=0.9 + seed) for seed in range(4)]
    other = [result(2, 1, seed, 0, test=0.8 + seed) for seed in range(1, 6)]
    found = paired_difference(one, other)
    assert found.n == 3
    assert found.mean == pytest.approx(0.1)
    assert found.sd == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match="no seed in common"):
        paired_difference(one[:1], other)


def test_there_is_no_lead_over_a_setting_that_diverged():
    good = [result(8, 1e-3, seed, 0.9) for seed in (0, 1)]
    bad = [result(8, 1e-2, seed, 0.8, diverged_at=step) for seed, step in ((0, None), (1, 3))]
    assert lead_on_validation(good + bad, *settings(good + bad)) is None
    whole = [row | {"diverged_at": None} for row in bad]
    assert lead_on_validation(good + whole, *settings(good + whole)).mean == pytest.approx(0.1)
