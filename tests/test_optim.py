"""Components by path and by name, the optimisers against optax, and the schedules."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fast_compile import fast_jit
from trained_runs import quiet

import lstm_jax
from lstm_jax import Experiment, Images, UserError
from lstm_jax.cli.parse import parse
from lstm_jax.config.search import Search, Study
from lstm_jax.fields import field_specs
from lstm_jax.model.size import num_parameters
from lstm_jax.optim import (
    OPTIMIZERS,
    SCHEDULES,
    SGD,
    Adafactor,
    Adam,
    AdamW,
    Constant,
    Cosine,
    Lamb,
    Linear,
    Lion,
    Muon,
    RMSProp,
    WarmupStableDecay,
)
from lstm_jax.runs.datasets import load_data
from lstm_jax.tasks.task import ModelSpec
from lstm_jax.train.optimizer import gradient_transformation

pytestmark = pytest.mark.usefixtures("fast_compile")

# An experiment of components.

UNION = Experiment(optimizer=(Adam(), SGD(momentum=(0.9, 0.99))), seed=(0, 1))


def test_an_axis_over_components_is_the_union_of_their_grids():
    members = list(UNION.members())
    chosen = [(m.optimizer, m.seed) for m in members]
    optimizers = [Adam(), SGD(momentum=0.9), SGD(momentum=0.99)]
    assert chosen == [(optimizer, seed) for optimizer in optimizers for seed in (0, 1)]
    assert len({m.digest for m in members}) == UNION.num_members == 6
    assert UNION.axes == {
        "optimizer": ("adam", "sgd"), "optimizer.momentum": (0.9, 0.99), "seed": (0, 1)
    }  # fmt: skip
    assert UNION.label(members[0]) == "optimizer adam, optimizer momentum none, seed 0"
    assert [m.label(m) for m in Experiment(optimizer=(AdamW(), Lion(b1=0.8))).members()]


@pytest.mark.parametrize("experiment", [UNION, *UNION.members(), Experiment(schedule="linear")])
def test_components_are_written_and_read_back(experiment):
    again = Experiment.from_values(json.loads(json.dumps(experiment.to_values())))
    assert again == experiment
    assert again.digest == experiment.digest


def test_a_component_of_defaults_is_its_name_in_the_digest():
    assert Experiment(optimizer=Adam(), schedule=Constant()).digest == Experiment().digest
    assert Experiment(optimizer="sgd").overrides == {"optimizer": "sgd"}
    assert Experiment(optimizer=SGD(momentum=0.5)).overrides == {
        "optimizer": "sgd", "optimizer.momentum": 0.5
    }  # fmt: skip
    assert Experiment(optimizer=("adam", "sgd")).overrides == {"optimizer": ["adam", "sgd"]}


def test_the_command_line_lays_fields_over_the_components_that_have_them():
    argv = ["run", "digits", "--optimizer", "adam", "sgd", "--optimizer.momentum", "0.9", "0.99"]
    optimizers = Adam(), SGD(momentum=(0.9, 0.99))
    assert parse(argv).study.experiment.optimizer == optimizers
    argv = ["run", "tuned", "--schedule", "linear", "--schedule.final-factor", "0.1"]
    assert parse(argv).study.experiment.schedule == Linear(warmup_steps=400, final_factor=0.1)
    kept = Experiment(optimizer=SGD(momentum=0.5)).replace({"optimizer": ("adam", "sgd")})
    assert kept.optimizer == (Adam(), SGD(momentum=0.5))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"optimizer.momentum": 0.5}, "optimizer.momentum: adam has no such field; sgd has it"),
        ({"optimizer": "sgd", "optimizer.b1": 0.5}, "sgd has no such field; adam, adamw, lion"),
        ({"optimizer": ("adam", SGD()), "optimizer.decay": 0.5}, "adam and sgd has no such field"),
        ({"optimizer.bi": 0.5}, "adam has no such field. Did you mean b2, b1"),
        ({"optimizers.b1": 0.5}, "optimizers: is not one of task, "),
        ({"optimizer": ("sgd", SGD(momentum=(0.9, 0.5)))}, "sgd is there twice"),
        ({"optimizer": {"name": "sgd", "b1": 1}}, "optimizer.b1: sgd has no such field"),
        ({"optimizer": Constant()}, "is not one of adam"),
        ({"schedule": Cosine(warmup_steps=1, warmup_share=0.5)}, "warmup_steps or warmup_share"),
        ({"schedule": WarmupStableDecay(warmup_steps=700)}, "700 steps of warm-up and 156 of"),
    ],
)
def test_what_does_not_fit_a_component_is_refused(values, says):
    with pytest.raises(UserError) as refused:
        Experiment().replace(values)
    assert says in str(refused.value)


def test_a_search_chooses_among_components():
    for method in ("random", "tpe"):
        study = Study(UNION, Search(method=method, trials=3, trials_at_once=3))
        members = study.members()
        assert {m.optimizer for m in members} <= {m.optimizer for m in UNION.members()}
    assert Study(UNION).members() == list(UNION.members())


# Optimisers.

GRADIENTS = [
    {"kernel": np.cos(np.arange(12, dtype=np.float32) * k).reshape(4, 3), "bias": np.ones(3, "f")}
    for k in (1, 2, 3)
]
OPTAX = {
    Adam(b1=0.8): lambda rate: optax.adam(rate, b1=0.8),
    AdamW(weight_decay=0.1): lambda rate: optax.adamw(rate, weight_decay=0.1),
    SGD(momentum=0.5, nesterov=True): lambda rate: optax.sgd(rate, 0.5, nesterov=True),
    RMSProp(decay=0.8): lambda rate: optax.rmsprop(rate, decay=0.8),
    Lion(weight_decay=0.1): lambda rate: optax.lion(rate, weight_decay=0.1),
    Lamb(weight_decay=0.1): lambda rate: optax.lamb(rate, weight_decay=0.1),
    Adafactor(): lambda rate: optax.adafactor(rate),
    Muon(weight_decay=0.1): lambda rate: optax.contrib.muon(
        rate, weight_decay=0.1, adam_weight_decay=0.1
    ),
}


def transformation_of(member):
    return gradient_transformation(member, jnp.int32(0), jnp.float32(1))


def trained(transformation):
    params = {"kernel": jnp.ones((4, 3)), "bias": jnp.zeros(3)}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        state, update = transformation.init(params), fast_jit(transformation.update)
        for gradient in GRADIENTS:
            updates, state = update(gradient, state, params)
            params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize("optimizer", OPTAX, ids=lambda each: each.name)
def test_an_optimizer_is_that_of_optax(optimizer):
    member = Experiment(optimizer=optimizer, learning_rate=0.1)
    ours, theirs = trained(transformation_of(member)), trained(OPTAX[optimizer](0.1))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=2e-5), ours, theirs)


def test_every_optimizer_and_every_field_is_tried():
    assert {each.name for each in OPTAX} == set(OPTIMIZERS)
    for each in OPTIMIZERS.values():
        if "weight_decay" in field_specs(each):
            member = Experiment(optimizer=each(weight_decay=(0.0, 0.5)), learning_rate=0.1)
            kernels = [trained(transformation_of(m))["kernel"] for m in member.members()]
            assert np.abs(kernels[0] - kernels[1]).max() > 0.01, each.name


# Schedules.


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Constant(warmup_share=0.5), [0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1, 1, 1]),
        (Linear(), [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
        (
            Linear(final_factor=0.5, warmup_steps=2),
            [0.5, 1, 1] + [1 - 0.5 * i / 8 for i in range(1, 8)],
        ),
        (WarmupStableDecay(warmup_steps=2), [0.5, 1, 1, 1, 1, 1, 1, 1, 1, 0.5]),
        (WarmupStableDecay(decay_steps=5), [1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2]),
        (WarmupStableDecay(decay_share=0.4, final_factor=0.2), [1] * 7 + [0.8, 0.6, 0.4]),
        (Cosine(final_factor=0.5), [0.75 + 0.25 * np.cos(np.pi * i / 10) for i in range(10)]),
    ],
)
def test_a_schedule_has_its_factors(schedule, expected):
    factors = [float(schedule.factor(jnp.int32(step), 10)) for step in range(10)]
    np.testing.assert_allclose(factors, expected, rtol=1e-5)
    assert set(SCHEDULES) == {"constant", "cosine", "linear", "warmup_stable_decay"}


# Equal terms: a number of parameters in place of a hidden size.

EQUAL = {"task": Images(dataset="digits"), "batch_size": 16, "microbatches": 1, "total_steps": 2}


def test_every_cell_gets_the_width_that_has_the_parameters():
    experiment = Experiment(cell=("lstm", "gru"), parameters=(None, 9_000), **EQUAL)
    study, console = Study(experiment), quiet()
    _, known, datasets = load_data("equal", study, False, console)
    members, (dataset,) = known.members(), datasets.values()
    assert [m.hidden_size for m in members] == [128, 32, 128, 37]
    counts = [num_parameters(m, m.task.model_spec(dataset.metadata)) for m in members]
    assert counts[1::2] == [8_938, 9_075]
    assert "lstm: hidden size 32 makes 8,938 parameters" in console.file.getvalue()
    assert [m.digest for m in members] == [m.digest for m in study.members()]
    for member in members:
        again = Experiment.from_values(member.to_values())
        assert (again, again.digest) == (member, member.digest)
    lstm, gru = (member.apart_from("cell") for member in members[1::2])
    assert lstm == gru  # cells are compared at equal terms


def test_a_run_at_a_number_of_parameters_is_read_from_its_record(tmp_path):
    experiment = Experiment(cell="rnn", parameters=928, **EQUAL)
    for _ in range(2):
        outcome = lstm_jax.run(experiment, runs_dir=tmp_path)
        (row,) = outcome.members
        assert (row.member.hidden_size, row.num_parameters) == (17, 928)
        assert outcome.results["num_parameters"] == [928]


def test_a_number_of_parameters_that_no_width_has_is_refused(tmp_path):
    with pytest.raises(UserError, match="lstm cannot have 300 within 2 %: it has"):
        lstm_jax.run(Experiment(parameters=300, **EQUAL), runs_dir=tmp_path)
    with pytest.raises(UserError, match="hidden_size and parameters: give one"):
        Experiment(hidden_size=64, parameters=300)
    given = parse(["run", "digits", "--parameters", "5000"]).study.experiment
    assert (given.parameters, given.hidden_size) == (5000, 128)  # in place of the file's
    assert given.replace({"hidden_size": 64}).parameters is None
    with pytest.raises(RuntimeError, match="call with_widths first"):
        num_parameters(Experiment(parameters=300), ModelSpec(8, 10))


@pytest.mark.parametrize("role", ["optimizer", "schedule", "block"])
@pytest.mark.parametrize("none", [(), []])
def test_no_component_at_all_is_one_line(role, none):
    with pytest.raises(UserError, match=f"^{role}: needs at least one value$"):
        Experiment().replace({role: none})
    with pytest.raises(UserError, match=f"^{role}: needs at least one value$"):
        Experiment.from_values({role: list(none), "cell": None})
