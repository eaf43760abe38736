"""An experiment is checked when it is made, is the grid of its members, and keeps its name."""

import dataclasses
import itertools
import json
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_jax import components, tasks
from lstm_jax.config.experiment import Experiment
from lstm_jax.config.experiment_values import all_field_specs
from lstm_jax.config.labels import format_value
from lstm_jax.errors import UserError
from lstm_jax.fields import MAX_VALUES, Axis, axis, check_value, field_specs, parse_value
from lstm_jax.optim import OPTIMIZERS, Adam, Constant
from lstm_jax.tasks.images import Images
from lstm_jax.tasks.task import Task

SPECS = all_field_specs(Experiment())
ANY_TEXT = {"task.dataset", "task.label_column", "task.shape"}  # a file may have it
every_field = pytest.mark.parametrize("path", SPECS)


def with_value(path, value, **others):
    """Returns an experiment with one more value, checked."""
    if path == "patience":
        others = {"num_evals": 20} | others  # so many that it can stop a member
    return Experiment(**others).replace({path: value})


def two_values(path):
    """Returns two values of a field that fit all defaults."""
    spec = SPECS[path]
    if spec.value_type is bool:
        return False, True
    if spec.value_type is not str:
        return (8, 16) if spec.value_type is int else (0.25, 0.5)
    names = {"cell": ("lstm", "gru"), "begin_with": ("digits/0a", "digits/1b")}
    if path in ANY_TEXT:
        return "mnist", "digits"
    return names.get(path) or tuple(spec.choices())[:2]


def one_or_more(values):
    return values | st.lists(values, min_size=1, max_size=3, unique=True).map(tuple)


experiments = st.builds(
    Experiment,
    task=st.builds(
        Images,
        label_smoothing=one_or_more(st.floats(0, 0.999)),
        reading=one_or_more(st.sampled_from(["rows", "columns", "pixels"])),
    ),
    hidden_size=one_or_more(st.integers(1, 8192)),
    learning_rate=one_or_more(st.floats(1e-9, 1e3)),
    forget_bias=one_or_more(st.floats(-100, 100)),
    clip_norm=one_or_more(st.none() | st.floats(1e-9, 1e3)),
    seed=one_or_more(st.integers(0, 2**32 - 1)),
    batch_size=st.sampled_from([8, 64, 128]),
    total_examples=st.integers(1, 10**10),
)


# What a field takes.


def test_the_default_is_the_notebooks_run():
    experiment = Experiment()
    assert experiment.num_steps == 782
    assert len(range(0, experiment.num_steps, experiment.log_every)) == 40
    assert experiment.digest == "44136fa355b3"
    assert repr(experiment) == "Experiment()"


def test_every_field_says_what_it_takes():
    named = {f.name for f in dataclasses.fields(Experiment)} - {"task", "data_sizes", "widths"}
    for component in (Images, Adam, Constant):
        named |= {f"{component.role}.{f.name}" for f in dataclasses.fields(component)}
    assert set(SPECS) == named
    for path, spec in SPECS.items():
        assert spec.help, path
        if spec.value_type is str:
            assert spec.choices or spec.check or path in ANY_TEXT
        elif spec.value_type is not bool:
            assert np.isfinite([spec.low, spec.high]).all(), path
        assert not (spec.traced and spec.value_type is str), path


@every_field
def test_a_number_is_within_its_range_and_a_name_among_its_choices(path):
    spec = SPECS[path]
    wrong = ["", [], [[8]], {}, b"8", object()]
    if spec.value_type is bool:
        wrong += [0, 1, 1.0, None, "true"]
    elif spec.value_type is str:
        wrong += [1] if path in ANY_TEXT else [1, 1.5, "no such name", True]
        wrong += [] if spec.optional else [None]
    else:
        wrong += [True, "8", spec.low - 1, spec.high * 1.001 + 1, 10**400, -(10**400)]
        wrong += [float("nan"), float("inf"), -float("inf")]
        wrong += [8.5] if spec.value_type is int else []
        wrong += [] if spec.optional else [None]
        for bound in (spec.low, spec.high):
            assert check_value(path, bound, spec) == bound
            assert type(check_value(path, bound, spec)) is spec.value_type
    for value in wrong:
        with pytest.raises(UserError, match=f"^{path.removeprefix('task.')}|{path}") as caught:
            with_value(path, value)
        assert "\n" not in str(caught.value)


@every_field
def test_none_is_a_value_of_optional_fields_alone(path):
    if not SPECS[path].optional:
        with pytest.raises(UserError):
            with_value(path, None)
        return
    value = {int: 2, float: 0.25, str: two_values(path)[0]}[SPECS[path].value_type]
    assert with_value(path, None).values[path] is None
    assert with_value(path, (None, value)).axes == {path: (None, value)}


@every_field
def test_several_values_are_an_axis_and_a_tuple_of_one_is_the_value(path):
    first, second = two_values(path)
    grid = with_value(path, [first, second])
    assert grid.axes == {path: (first, second)}
    assert grid.num_members == 2
    assert [member.values[path] for member in grid.members()] == [first, second]
    assert with_value(path, (first,)) == with_value(path, [first]) == with_value(path, first)
    assert with_value(path, (first,)).digest == with_value(path, first).digest
    with pytest.raises(UserError, match=r"is there twice"):
        with_value(path, (first, second, first))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"hidden_size": 0}, "hidden_size: 0 is not between 1 and"),
        ({"hidden_size": 64.5}, "hidden_size: expected a whole number, got 64.5"),
        ({"hidden_size": ()}, "hidden_size: needs at least one value"),
        ({"hidden_size": (64, 64.0)}, "64 is there twice"),
        ({"learning_rate": (1e-3, float("inf"))}, "learning_rate: inf is not between"),
        ({"clip_norm": 0}, "none switches it off"),
        ({"forget_bias": (0.0, -0.0)}, "twice"),
        ({"seed": "one"}, "seed: expected a number, got 'one'"),
        ({"seed": {3}}, "seed: expected a number, got {3}"),
        ({"seed": range(2**33, 2**33 + 1)}, "is not between 0 and 4294967295"),
        ({"seed": (*range(MAX_VALUES), 7)}, "seed: 100,001 values are more than 100,000"),
        ({"seed": (*range(1, MAX_VALUES), 99_999)}, "seed: 99999 is there twice"),
        ({"seed": tuple(range(2000)), "hidden_size": tuple(range(1, 600))}, "1,198,000 members"),
        ({"task": "images"}, "task: expected a task such as Images(), got 'images'"),
        ({"cell": "lstn"}, "cell: no cell 'lstn'. Did you mean lstm"),
        ({"optimizer": "adamv"}, "muon, nor path/to/file.py:attribute. Did you mean adam"),
    ],
)
def test_a_bad_value_is_one_line_that_names_it(values, says):
    with pytest.raises(UserError) as caught:
        Experiment(**values)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"microbatches": 3}, "3 does not divide batch_size 128; use one of 1, 2, 4"),
        ({"schedule": Constant(warmup_steps=782)}, "warmup_steps: 782 is not below the 782 steps"),
        ({"chrono_steps": 2}, "chrono_steps: 2 is too few"),
        ({"backend": "cudnn", "cell": "gru"}, "not 1 of gru"),
        ({"backend": "cudnn", "layers": 2}, "not 2 of lstm"),
        ({"backend": "cudnn", "precision": "bfloat16"}, "cudnn keeps its products in float32"),
    ],
)
def test_values_that_do_not_fit_together_are_refused_also_within_a_grid(values, says):
    """Alone, and as one point of a grid whose other points are good."""
    axes = {name: (getattr(Experiment(), name), value) for name, value in values.items()}
    for given_values in (values, axes, {**axes, "seed": (0, 1)}):
        with pytest.raises(UserError, match=says.replace("(", r"\(")) as caught:
            Experiment(**given_values)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "word", "value"),
    [
        ("seed", "7", 7),
        ("total_examples", "1e4", 10_000),
        ("learning_rate", "3e-3", 3e-3),
        ("clip_norm", "none", None),
        ("clip_norm", "None", None),
        ("cell", "none", "none"),
    ],
)
def test_a_word_of_a_command_line_is_its_value(path, word, value):
    parsed = parse_value(path, word, SPECS[path])
    assert parsed == value
    if path != "cell":
        assert with_value(path, parsed).values[path] == value


@pytest.mark.parametrize(("path", "word"), [("seed", "x"), ("learning_rate", "none"), ("seed", "")])
def test_a_word_that_is_no_number_is_named(path, word):
    with pytest.raises(UserError, match=f"^{path}: expected a .*number, got '{word}'"):
        parse_value(path, word, SPECS[path])


# Its name.


@given(experiments)
def test_json_both_ways_keeps_the_value_and_the_digest(experiment):
    again = Experiment.from_values(json.loads(json.dumps(experiment.to_values())))
    assert again == experiment
    assert again.digest == experiment.digest
    assert not again.differences(experiment)


@given(experiments)
def test_members_are_the_whole_grid_and_each_is_named_as_it_is_alone(experiment):
    members = list(experiment.members())
    sizes = [len(experiment.values_of(path)) for path in experiment.values]
    assert len(members) == len(set(members)) == experiment.num_members == np.prod(sizes)
    assert len({member.digest for member in members}) == len(members)
    for member in members[:5]:
        assert list(member.members()) == [member]
        alone = Experiment.from_values(member.to_values())  # checked anew
        assert (alone, alone.digest) == (member, member.digest)


def test_a_member_is_named_the_same_in_any_grid():
    alone = Experiment(hidden_size=64, seed=1).digest
    for others in ({}, {"learning_rate": (1e-3, 1e-2)}, {"cell": ("gru", "lstm")}):
        grid = Experiment(hidden_size=(32, 64), seed=(1, 2), **others)
        assert alone in {member.digest for member in grid.members()}


@every_field
def test_every_value_enters_the_name(path):
    names = [with_value(path, value).digest for value in two_values(path)]
    assert len({*names, with_value(path, two_values(path)).digest}) == 3


def test_negative_zero_is_zero():
    assert Experiment(forget_bias=-0.0).digest == Experiment(forget_bias=0).digest


def test_an_unknown_field_is_answered_with_the_closest():
    for values, near in ({"hiden_size": 3}, "hidden_size"), ({"task.shifd": 1}, "task.shift"):
        with pytest.raises(UserError, match=f"no field '{next(iter(values))}'.*{near}"):
            Experiment.from_values(values)
    for name in ("picture", ["images"], None):
        with pytest.raises(UserError, match="is not one of images"):
            Experiment.from_values({"task": name})
    with pytest.raises(UserError, match=r"no field 'sed'\. Did you mean seed.* hidden_size, "):
        Experiment(sed=1)


def test_two_experiments_differ_field_by_field():
    one, other = Experiment(seed=(0, 1)), Experiment(task=Images(shift=2))
    assert one.differences(other) == "seed: [0, 1], not 0; task.shift: 0, not 2"
    member = next(Experiment(seed=(3, 4), learning_rate=(1e-3, 1e-2)).members())
    assert Experiment(seed=(3, 4), learning_rate=(1e-3, 1e-2)).label(member) == (
        "learning rate 0.001, seed 3"
    )


def test_a_value_is_shown_as_the_command_line_takes_it_back():
    values = {"task.dataset": "DJ_return", "clip_norm": None, "bidirectional": True, "seed": 7}
    words = {path: format_value(value) for path, value in values.items()}
    assert list(words.values()) == ["DJ_return", "none", "true", "7"]
    assert {p: parse_value(p, word, SPECS[p]) for p, word in words.items()} == values
    assert [format_value(value) for value in (0.001, 1e-5, False)] == ["0.001", "1e-05", "false"]


# Members, settings, groups.


def test_the_seed_runs_fastest_whatever_the_order_of_the_fields():
    grid = Experiment(seed=(5, 6), hidden_size=(8, 16), task=Images(shift=(0, 1)))
    seen = [(m.hidden_size, m.task.shift, m.seed) for m in grid.members()]
    assert seen == list(itertools.product((8, 16), (0, 1), (5, 6)))


def test_a_setting_is_what_members_share_that_differ_in_their_seed():
    grid = Experiment(seed=(5, 6, 7), learning_rate=(1e-3, 1e-2))
    settings = {}
    for member in grid.members():
        settings.setdefault(member.setting, []).append(member.seed)
    assert list(settings.values()) == [[5, 6, 7], [5, 6, 7]]
    assert [setting.learning_rate for setting in settings] == [1e-3, 1e-2]


@every_field
@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop"])
def test_a_traced_value_leaves_the_group_alone_and_a_static_one_changes_it(path, optimizer):
    others = {} if path.startswith("optimizer") else {"optimizer": optimizer}
    keys = [with_value(path, value, **others).static_key for value in two_values(path)]
    assert (keys[0] == keys[1]) == SPECS[path].traced
    assert (hash(keys[0]) == hash(keys[1])) == SPECS[path].traced


def test_the_traced_fields_are_the_seed_and_the_real_numbers():
    traced = {path for path, spec in SPECS.items() if spec.traced}
    real = {path for path, spec in SPECS.items() if spec.value_type is float}
    # Optax computes with the decay rates of moments in double precision.
    static = {"optimizer.b1", "optimizer.b2", "optimizer.eps"}
    static |= {"total_epochs", "schedule.warmup_share"}
    assert traced == {"seed"} | real - static


def test_to_clip_or_not_is_another_program_and_at_which_norm_is_not():
    none, one, two = (Experiment(clip_norm=norm).static_key for norm in (None, 1.0, 2.0))
    assert one == two != none


def test_a_million_members_are_counted_without_being_made():
    grid = Experiment(
        seed=tuple(range(100_000)), learning_rate=tuple(i / 100 for i in range(1, 11))
    )
    assert grid.num_members == 1_000_000
    first = list(itertools.islice(grid.members(), 100_001))
    assert [first[0].seed, first[99_999].seed, first[100_000].seed] == [0, 99_999, 0]


# A task from outside the package.


@dataclass(frozen=True)
class Parity(Task):
    """Whether the number of ones is odd."""

    name: ClassVar[str] = "parity"
    metric: ClassVar[str] = "error"
    higher_is_better: ClassVar[bool] = False

    length: Axis[int] = axis(8, "bits of a sequence", low=1, high=1000)
    noise: Axis[float] = axis(0.0, "added to each bit", low=0.0, high=1.0, traced=True)

    def check(self):
        if self.length == 13:
            raise UserError("task.length: 13 is unlucky")


@dataclass(frozen=True)
class Photographs(Images):
    """A task that extends another, field for field the same."""

    name: ClassVar[str] = "photographs"


def test_a_task_of_ones_own_has_fields_as_any_other():
    grid = Experiment(task=Parity(length=(8, 16), noise=(0.0, 0.5)), seed=(0, 1))
    assert list(grid.axes) == ["task.length", "task.noise", "seed"]
    assert len({member.static_key for member in grid.members()}) == 2
    assert len({member.digest for member in grid.members()}) == 8
    with pytest.raises(UserError, match=r"task.length: 0 is not between 1 and 1000"):
        Parity(length=0)
    with pytest.raises(UserError, match="unlucky"):
        Experiment(task=Parity(length=(8, 13)))
    assert set(field_specs(Parity)) == {"length", "noise"}


def test_a_task_is_read_back_while_its_class_is_there_and_by_a_line_in_the_table(monkeypatch):
    for task in (Parity(length=16), Photographs()):
        experiment = Experiment(task=task)
        assert Experiment.from_values(experiment.to_values()) == experiment
    monkeypatch.setattr(components, "subclasses", lambda task: ())  # as in a new process
    assert experiment.to_values()["task"] == f"{__file__}:Photographs"
    with pytest.raises(UserError, match="'photographs' is not one of images"):
        Experiment.from_values({"task": "photographs"})
    monkeypatch.setitem(tasks.TASKS, "photographs", Photographs)
    assert Experiment.from_values({"task": "photographs"}) == experiment
    with pytest.raises(UserError, match=r"no field 'task.shifd'"):
        Experiment.from_values({"task": "photographs", "task.shifd": 1})


class Undecorated(Task):
    """A task whose author forgot `@dataclass(frozen=True)`."""

    name: ClassVar[str] = "undecorated"

    length: Axis[int] = axis(8, "bits of a sequence", low=1, high=1000)


class Inherits(Undecorated):
    """Another one, whose base class has the field."""


@dataclass(frozen=True)
class Undeclared(Task):
    """A task with a field that is declared without `axis`."""

    name: ClassVar[str] = "undeclared"

    length: int = 8


@pytest.mark.parametrize("task", [Undecorated, Inherits])
@pytest.mark.parametrize("fields", [{}, {"length": 16}])
def test_a_task_without_its_decorator_is_refused(task, fields):
    says = r"task: Undecorated is no dataclass.*\(length\).*@dataclass\(frozen=True\)"
    with pytest.raises(UserError, match=says) as caught:
        task(**fields)
    assert "\n" not in str(caught.value)


def test_a_field_of_a_task_that_no_record_would_hold_is_refused():
    with pytest.raises(UserError, match=r"Undeclared\.length is not declared with axis"):
        Undeclared()


def test_two_tasks_of_the_same_values_have_two_names():
    names = {Experiment(task=task).digest for task in (Images(), Photographs(), Parity())}
    assert len(names) == 3


def test_a_component_without_a_method_of_its_own_names_its_file(tmp_path):
    path = tmp_path / "own.py"
    path.write_text("""
from lstm_jax import Images
from lstm_jax.optim import Adam

class Plain(Images):
    metrics = ("macro_f1",)

class Slow(Adam):
    eps = 1.0
""")
    for table, name in ((tasks.TASKS, "Plain"), (OPTIMIZERS, "Slow")):
        assert table.find(f"{path}:{name}").spec_string() == f"{path}:{name}"
