"""An experiment is checked when it is made and keeps its name through JSON."""

import contextlib
import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_jax.errors import UserError
from lstm_jax.experiment import KINDS, RANGES, Experiment, Member

sizes = st.integers(1, 8192)
rates = st.floats(1e-9, 1e3)
seeds = st.integers(0, 2**32 - 1)


def axis(values):
    return values | st.lists(values, min_size=1, max_size=4, unique=True).map(tuple)


experiments = st.builds(
    Experiment,
    hidden_size=axis(sizes),
    learning_rate=axis(rates),
    seed=axis(seeds),
    batch_size=st.sampled_from([8, 64, 128]),
    num_examples=st.integers(1, 10**10),
)


def test_baseline_is_the_notebooks_run():
    experiment = Experiment()
    assert experiment.num_steps == 782
    assert len(range(0, experiment.num_steps, experiment.log_every)) == 40


def test_every_field_has_a_kind_and_every_number_a_range():
    names = {field.name for field in dataclasses.fields(Experiment)}
    assert set(KINDS) == names
    assert set(RANGES) == {name for name in names if KINDS[name] is not str}


@given(experiments)
def test_json_both_ways_keeps_the_value_and_the_digest(experiment):
    again = Experiment.from_json(experiment.to_json())
    assert again == experiment
    assert again.digest == experiment.digest


@given(experiments)
def test_members_are_the_whole_grid_and_each_alone_is_itself(experiment):
    members = experiment.members()
    assert len(members) == len(set(members))
    assert len(members) == (
        len(experiment.axis("hidden_size"))
        * len(experiment.axis("learning_rate"))
        * len(experiment.axis("seed"))
    )
    for member in members:
        assert experiment.solo(member).members() == (member,)
    assert len({experiment.solo(member).digest for member in members}) == len(members)


def test_a_tuple_of_one_is_the_value():
    assert Experiment(hidden_size=(64,)).digest == Experiment(hidden_size=64).digest
    assert Experiment(hidden_size=[64]).members() == (Member(64, 1e-3, 0),)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"hidden_size": 0}, "hidden_size: 0 is not between 1 and"),
        ({"hidden_size": 64.5}, "whole number"),
        ({"hidden_size": True}, "expected a number"),
        ({"hidden_size": ()}, "hidden_size: needs at least one value"),
        ({"hidden_size": (64, 64)}, "64 is there twice"),
        ({"learning_rate": 0}, "learning_rate: 0 is not between"),
        ({"learning_rate": -1e-3}, "learning_rate: -0.001 is not between"),
        ({"learning_rate": float("nan")}, "learning_rate: nan is not between"),
        ({"learning_rate": (1e-3, float("inf"))}, "learning_rate: inf is not between"),
        ({"learning_rate": (1, 1.0)}, "twice"),
        ({"seed": -1}, "seed: -1"),
        ({"seed": "one"}, "expected a number, got 'one'"),
        ({"dataset": ""}, "dataset: expected a name"),
        ({"chunks": 3}, "3 does not divide batch_size 128; use one of 1, 2, 4"),
        ({"num_examples": float("inf")}, "num_examples"),
    ],
)
def test_a_bad_value_is_one_line_that_names_it(values, says):
    with pytest.raises(UserError) as caught:
        Experiment(**values)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@given(
    st.text()
    | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(json.dumps)
)
def test_json_that_is_no_experiment_is_a_user_error(text):
    with pytest.raises(UserError):
        Experiment.from_json(text)


@given(
    st.dictionaries(
        st.sampled_from([*KINDS, "hiden_size"]),
        st.none() | st.integers() | st.floats() | st.text() | st.lists(st.integers()),
        min_size=1,
    )
)
def test_any_json_object_is_an_experiment_or_a_user_error(values):
    with contextlib.suppress(UserError):
        experiment = Experiment.from_json(json.dumps(values))
        assert Experiment.from_json(experiment.to_json()) == experiment


def test_an_unknown_field_is_answered_with_the_closest():
    with pytest.raises(UserError, match=r"hiden_size.*hidden_size"):
        Experiment.from_json('{"hiden_size": 3}')
