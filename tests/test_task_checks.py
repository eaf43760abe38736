"""A user's own task is refused where its numbers would be wrong without an error."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from lstm_jax import Experiment, make_dataset, run
from lstm_jax.config.search import Study
from lstm_jax.data.dataset import check_finite, say_nothing
from lstm_jax.errors import UserError
from lstm_jax.fields import Axis, axis
from lstm_jax.runs.datasets import load_data
from lstm_jax.runs.task_checks import check_items, with_data_fields
from lstm_jax.tasks.task import Inputs, ItemScores, ModelSpec, Task


@dataclass(frozen=True)
class Ones(Task):
    name = "ones"
    metric = "error"
    higher_is_better = False
    flat = True

    length: Axis[int] = axis(3, "time steps", low=1, data=True)
    width: Axis[int] = axis(2, "inputs", low=1)

    def load(self, say):
        x = np.ones((4, self.length, 2), np.float32)
        return make_dataset("ones", {"x": x}, {"x": x}, {"x": x})

    def total_weight(self, batch):
        return batch["x"].shape[0] * self.length

    def inputs(self, batch):
        return Inputs(batch["x"].transpose(1, 0, 2))

    def score_items(self, outputs, batch, *, training):
        error = outputs[..., 0] ** 2
        error = error.ravel() if self.flat else error
        return ItemScores(error, error, jnp.ones_like(error))


@dataclass(frozen=True)
class TwoAxes(Ones):
    flat = False


@dataclass(frozen=True)
class Heavy(Ones):
    def total_weight(self, batch):
        return batch["x"].shape[0]


@dataclass(frozen=True)
class Undeclared(Ones):
    def load(self, say):
        return make_dataset("x", *({"x": np.ones((4, 3, self.width))},) * 3)


@dataclass(frozen=True)
class Gaps(Ones):
    def load(self, say):
        x = np.ones((9, 3, 2), np.float32)
        x[5, 1, 0] = np.nan
        return make_dataset("gaps", {"x": x}, {"x": x[:4]}, {"x": x[:4]})


def check(task):
    spec = ModelSpec(num_features=2, num_outputs=1, per_step_outputs=True)
    member = Experiment(task=task, hidden_size=2, batch_size=8)
    check_items(member, spec, Ones().load(say_nothing))


def test_items_have_one_axis_and_their_weights_add_up_to_the_total():
    check(Ones())
    with pytest.raises(UserError, match=r"returned loss \[3, 8\], .*; expected three arrays"):
        check(TwoAxes())
    with pytest.raises(UserError, match="batch of 8 add up to 24, but its total_weight is 8; defi"):
        check(Heavy())


def test_a_load_reads_no_field_but_those_that_decide_the_data():
    task = Ones(length=5)
    assert with_data_fields(task).load(say_nothing).train["x"].shape == (4, 5, 2)
    with pytest.raises(UserError, match=r"field width, .* width = axis\(\.\.\., data=True"):
        with_data_fields(Undeclared()).load(say_nothing)
    assert Undeclared().width == 2


def test_a_value_that_is_not_finite_is_refused_before_training_with_its_example():
    with pytest.raises(UserError, match="gaps: x of train has 1 value that is not finite"):
        load_data("gaps", Study(Experiment(task=Gaps())), False, Console(quiet=True))
    y = np.array([1.0, 2.0, np.inf, -np.inf])
    splits = {"n": np.arange(4)}, {"n": np.arange(4), "y": y}, {"n": np.arange(4)}
    with pytest.raises(UserError, match=r"y of validation has 2 values .* first in example 2 "):
        check_finite(make_dataset("own", *splits))
    with pytest.raises(UserError, match="y of validation has 2 values"):
        run(Experiment(), data=make_dataset("own", *splits))
