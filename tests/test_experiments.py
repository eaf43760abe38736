"""Every shipped experiment is documented, and its programs lower for every kind of device.

Nothing is compiled or trained here: what a program computes is the matter of `test_train.py`.
"""

import ast
import re
from functools import cache, partial
from pathlib import Path
from unittest.mock import patch

import jax
import numpy as np
import pytest
from trained_runs import quiet

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.experiment_files import experiment_names, load_study
from lstm_jax.data.dataset import make_dataset
from lstm_jax.data.series import Series, SeriesSplit
from lstm_jax.data.time_series import make_windows
from lstm_jax.runs.datasets import load_data
from lstm_jax.train.memory_estimate import estimate_memory
from lstm_jax.train.placement import make_placements, model_spec_of
from lstm_jax.train.step import init_state, train_segment

FOLDER = Path(__file__).parent.parent / "experiments"
NAMES = experiment_names()
every_experiment = pytest.mark.parametrize("name", NAMES)


def dataset(member):
    """Data of the right shape, 65,536 examples of it, so that any batch fits."""
    return MADE[member.task.name](member)


def bare(shapes, **metadata):
    """Zeros of these shapes and types, in no memory."""

    def split(size):
        return {
            name: np.broadcast_to(np.zeros((), dtype), (size, *shape))
            for name, (shape, dtype) in shapes.items()
        }

    few = split(2)
    return make_dataset("bare", few, few, few, **metadata)._replace(train=split(65_536))


def windows(member):
    """A flat series."""
    task = member.task
    names = {*task.column_names(), task.target}
    rows = 65_536 + task.window + 2 * task.horizon
    flags = np.zeros(rows, bool)
    columns, filled = dict.fromkeys(names, np.zeros(rows)), dict.fromkeys(names, flags)
    flat = Series("", np.arange(rows), columns, None, flags, filled)
    return make_windows(
        "flat", [(flat, SeriesSplit(rows - 2 * task.horizon, rows - task.horizon, ""))],
        task.target, task.column_names(), window=task.window, horizon=task.horizon,
        history=task.window,
    )  # fmt: skip


def images(member):
    side = 8 if member.task.dataset == "digits" else 28
    return bare({"images": ((side, side), np.uint8), "labels": ((), np.int32)}, num_classes=10)


def texts(member):
    shapes = {"symbols": ((16,), np.uint16), "lengths": ((), np.int32), "labels": ((), np.int32)}
    return bare(shapes, vocabulary=["a"] * 100, widths=[8, 16], classes=["no", "yes"])


def bytes_(member):
    return bare({"symbols": ((member.task.length + 1,), np.uint8), "lengths": ((), np.int32)})


def sentences(shapes, **metadata):
    target = {"target": ((16,), np.int32), "target_lengths": ((), np.int32)}
    known = {"target_vocabulary": ["a"] * 100, "target_others": []}
    return bare(shapes | target, **known, **metadata)


def pairs(member):
    shapes = {"source": ((16,), np.int32), "source_lengths": ((), np.int32)}
    return sentences(shapes, source_vocabulary=["a"] * 90, source_others=[], widths=[8, 16])


def scenes(member):
    return sentences({"scenes": ((28, 42), np.uint8)})


def numbers(member):
    length = member.task.length
    shapes = {"numbers": ((length,), np.float32), "places": ((2,), np.int32)}
    return bare(shapes | {"sums": ((), np.float32)})


def symbols(member):
    return bare({"symbols": ((10,), np.int32)})


def tracked(member):
    length = member.task.length
    return bare(dict.fromkeys(("symbols", "states"), ((length,), np.int32)))


def asked(member):
    return bare(dict.fromkeys(("symbols", "targets"), ((member.task.length,), np.int32)))


MADE = {  # by task
    "adding": numbers, "captions": scenes, "copying": symbols, "forecast": windows,
    "images": images, "language": bytes_, "text": texts, "translation": pairs,
    "state_tracking": tracked, "recall": asked, "selective_copying": asked,
}  # fmt: skip


@cache
def study_of(name):
    """The study of an experiment, with the sizes of the data above.

    Where the number of parameters is given, each model has eight units: the search for the right
    number takes seconds, and is the matter of `test_optim.py`.
    """
    study = load_study(name)
    made = {member.task.data_key: dataset(member) for member in study.experiment.members()}
    with patch("lstm_jax.runs.datasets.choose_width", lambda *_: (8, 1000)):
        return load_data(name, study, False, quiet(), made)[1]


def segment_of(member):
    """One member's segment as a jitted function, and the shapes of its arguments."""
    data = dataset(member)
    spec = model_spec_of(member, data)
    state = jax.eval_shape(partial(init_state, spec), member)
    order = jax.ShapeDtypeStruct((data.num_examples,), np.int32)
    train = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), data.train)
    bounds = [jax.ShapeDtypeStruct((), np.int32)] * 3
    numbers = jax.tree.map(
        lambda v: jax.ShapeDtypeStruct((), np.uint32 if isinstance(v, int) else np.float32), member
    )
    segment = jax.jit(partial(train_segment, spec, 10, None))
    return segment, (numbers, state, order, jax.ShapeDtypeStruct((), bool), train, *bounds)


def kind_of(member):
    """What the member's program is made of: its values but for numbers and names of data sets."""
    return member.task.name, *(
        (path, value if isinstance(value, str | bool | None) else type(value))
        for path, value in member.values.items()
        if path != "task.dataset"
    )


@cache
def names_by_kind():
    """Returns one experiment for each kind of the last group, the largest as a rule."""
    return {kind_of([*load_study(name).experiment.members()][-1]): name for name in NAMES}


@pytest.mark.slow
@pytest.mark.parametrize("name", names_by_kind().values())
def test_a_shipped_experiment_lowers_for_cpu_and_without_such_a_device_for_cuda_and_tpu(name):
    *_, last = {member.static_key: member for member in study_of(name).members()}.values()
    segment, arguments = segment_of(last)
    exported = jax.export.export(segment, platforms=("cpu", "cuda", "tpu"))(*arguments)
    assert exported.platforms == ("cpu", "cuda", "tpu")
    assert "while" in exported.mlir_module()  # the loop over the steps
    state, _, metrics = jax.tree.unflatten(exported.out_tree, exported.out_avals)
    assert jax.tree.map(lambda a: (a.shape, a.dtype), state) == jax.tree.map(
        lambda a: (a.shape, a.dtype), arguments[1]
    )
    assert {metric.shape for metric in metrics} == {(10,)}


@every_experiment
def test_a_shipped_experiment_is_placed_whole_and_its_memory_is_known(name):
    experiment = study_of(name).experiment
    for devices in (1, 3):
        placements = make_placements(experiment.members(), devices, lambda group: 1)
        placed = [member.digest for placement in placements for member in placement.members]
        assert sorted(placed) == sorted(member.digest for member in experiment.members())
    for placement in {placements[0], placements[-1]}:
        need = estimate_memory(placement, dataset(placement.members[0]), "cpu")
        assert 0 < 4 * need.parameters < need.state < need.device < need.host


@every_experiment
def test_its_docstring_says_the_command_what_to_expect_and_how_long_it_takes(name):
    docstring = ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text()))
    metric = load_study(name).experiment.task.metric.replace("_", r"\s+")
    assert docstring.splitlines()[2] == f"    make experiment NAME={name}"
    assert re.search(rf"test\s+{metric}\s+of\s+\d+\.\d\d|[Uu]ntried", docstring)
    assert re.search(r"[Aa]bout\s+[\d.]+\s+(seconds?|minutes?)|[Uu]ntried", docstring)


@every_experiment
def test_its_record_gives_the_same_experiment_back(name):
    experiment = load_study(name).experiment
    assert Experiment.from_values(experiment.to_values()).digest == experiment.digest
