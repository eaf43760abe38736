"""Intervals that cover, a choice that never looks at the test set."""

import math
import random

import pytest

from lstm_jax.config.experiment import Experiment
from lstm_jax.runs.results import Result
from lstm_jax.runs.statistics import estimate, lead_on_validation, summarise
from lstm_jax.tasks import TASKS
from lstm_jax.tasks.forecast import Forecast
from lstm_jax.tasks.images import Images


class Distance(Images):
    """A task whose lower metric is the better one."""

    higher_is_better = False


def result(hidden_size, learning_rate, seed, validation, test=0.5, diverged_at=None, task=None):
    member = Experiment(
        task=task or Images(), hidden_size=hidden_size, learning_rate=learning_rate, seed=seed
    )
    return Result(
        member=member,
        steps=member.num_steps,
        validation={"loss": 1.0, "accuracy": validation},
        test={"loss": 1.0, "accuracy": test},
        diverged_at=diverged_at,
        seconds=1.0,
        identity="",
    )


def test_the_95_percent_interval_covers_the_mean_95_times_in_100():
    rng = random.Random(0)
    tries = 2000
    covered = 0
    for _ in range(tries):
        actual = estimate([rng.gauss(3.0, 2.0) for _ in range(5)])
        covered += abs(actual.mean - 3.0) <= actual.half_width
    assert abs(covered / tries - 0.95) < 0.015  # three standard errors


def test_an_interval_stays_where_the_metric_is():
    result = estimate([0.99, 0.98, 1.0], Images.metric_range)
    assert (result.low, result.high) == (0.99 - result.half_width, 1.0)
    assert str(result) == "0.9900 [0.9652, 1.0000] (sd 0.0100, n 3)"
    assert str(estimate([0.5, 0.6, 0.7], Images.metric_range)).startswith("0.6000 ± 0.2484")
    assert str(estimate([0.1, 0.2, 0.6], Forecast.metric_range)).startswith("0.3000 [0.0000, 0.957")
    for task in TASKS.values():  # fractions are 0 to 1, and errors are not negative
        assert task.metric_range == (0.0, 1.0 if task.higher_is_better else math.inf), task.name


def test_one_value_and_two_have_no_interval_and_the_text_says_so():
    single, pair = estimate([0.25]), estimate([0.5, 0.7])
    assert (single.n, single.mean) == (1, 0.25)
    nothing = (single.sd, single.half_width, pair.half_width, pair.low, pair.high)
    assert all(map(math.isnan, nothing))
    assert str(pair) == "0.6000 (sd 0.1414, n 2: too few for an interval)"


def test_the_choice_is_made_on_validation_alone():
    results = [
        result(64, 1e-3, 0, 0.90, test=0.99),
        result(64, 1e-3, 1, 0.92, test=0.99),
        result(32, 3e-3, 0, 0.91, test=0.10),
        result(32, 3e-3, 1, 0.93, test=0.10, diverged_at=7),
        result(32, 1e-3, 0, 0.92),
    ]
    actual = summarise(results)
    order = [(s.setting.hidden_size, s.setting.learning_rate) for s in actual]
    assert order == [(32, 1e-3), (64, 1e-3), (32, 3e-3)]
    assert [s.diverged for s in actual] == [0, 0, 1]
    assert [s.validation.n for s in actual] == [1, 2, 2]
    assert [s.results for s in actual] == [results[4:], results[:2], results[2:4]]


def test_where_the_lower_metric_is_better_it_comes_first_and_leads():
    low = [result(8, 1e-3, seed, 0.1 + seed, task=Distance()) for seed in (0, 1)]
    high = [result(8, 1e-2, seed, 0.3 + seed, task=Distance()) for seed in (0, 1)]
    best, next_best = summarise(high + low)
    assert best.setting.learning_rate == 1e-3
    assert lead_on_validation(best, next_best).mean == pytest.approx(0.2)
    assert lead_on_validation(next_best, best).mean == pytest.approx(-0.2)


def test_a_metric_that_is_no_number_comes_last_and_a_tie_stays_in_order():
    values = {1e-4: None, 1e-3: 0.5, 1e-2: 0.5, 1e-1: 0.6}
    actual = summarise(result(8, rate, 0, value) for rate, value in values.items())
    assert [s.setting.learning_rate for s in actual] == [1e-1, 1e-3, 1e-2, 1e-4]
    assert [s.num_tied for s in actual] == [0, 1, 1, 0]
    assert [s.tie_note for s in actual[:2]] == ["", " (tied with 1 other)"]
    assert [s.num_tied for s in summarise([result(8, r, 0, None) for r in (1e-4, 1e-3)])] == [0, 0]


def test_pairing_removes_what_the_seeds_have_in_common():
    one = [result(1, 1e-3, seed, 0.9 + seed) for seed in range(4)]
    other = [result(2, 1e-3, seed, 0.8 + seed) for seed in range(1, 6)]
    (first,), (second,), (alone,) = summarise(one), summarise(other), summarise(one[:1])
    actual = lead_on_validation(first, second)
    assert actual.n == 3
    assert actual.mean == pytest.approx(0.1)
    assert actual.sd == pytest.approx(0, abs=1e-9)
    assert lead_on_validation(alone, second) is None  # no seed in common


def test_there_is_no_lead_over_a_setting_that_diverged():
    good = [result(8, 1e-3, seed, 0.9) for seed in (0, 1)]
    bad = [result(8, 1e-2, seed, 0.8, diverged_at=step) for seed, step in ((0, None), (1, 3))]
    assert lead_on_validation(*summarise(good + bad)) is None
    whole = [result(8, 1e-2, seed, 0.8) for seed in (0, 1)]
    assert lead_on_validation(*summarise(good + whole)).mean == pytest.approx(0.1)


def test_what_is_not_finite_has_no_mean():
    for values in ([math.nan] * 3, [1.0, math.inf, 2.0], [math.nan]):
        actual = estimate(values)
        assert actual.n == len(values)
        assert math.isnan(actual.mean)
        assert "nan" in str(actual)
