"""Runs made without `run`: trained members on disk, and records and models in memory only."""

import io
from dataclasses import replace

import jax
import numpy as np
from rich.console import Console

from lstm_jax import Experiment, make_dataset, run
from lstm_jax.config.search import Search, Study
from lstm_jax.errors import UserError
from lstm_jax.predict import inference
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.runs import checkpoints
from lstm_jax.runs.metrics_file import append_metrics
from lstm_jax.runs.record import Record
from lstm_jax.runs.results import Result
from lstm_jax.runs.train_group import TrainGroup
from lstm_jax.tasks.images import Images
from lstm_jax.train.placement import Placement, build_programs, make_placements

# One microbatch compiles in half the time.
SWEEP = Experiment(
    task=Images(dataset="digits"),
    hidden_size=8,
    learning_rate=(3e-3, 1e-2),
    seed=(0, 1),
    total_examples=16_000,
    microbatches=1,
)
METADATA = {"shapes": {"images": [8, 8]}, "num_classes": 10}  # of `digits`, as a model needs it


def quiet():
    """Returns a console that keeps what is printed, wide enough that no line is broken."""
    return Console(file=io.StringIO(), width=300)


def train(directory, experiment, *, steps=None, name="digits"):
    """Trains all members for `steps` steps, or to their end, and returns the record."""
    directory.mkdir(parents=True)
    dataset, study, results = experiment.task.load(print), Study(experiment), {}
    for placement in make_placements(study.members(), 1, lambda _: 1):
        last = placement.static_key.num_steps
        group = TrainGroup(placement, dataset, last, evaluate=False)
        group.identity = "i"
        (segment,) = group.segments(steps or last)
        append_metrics(directory, segment.rows())
        checkpoints.save(directory, tuple(m.digest for m in group.members), group.saved())
        if steps is None:
            results |= {result.member.digest: result for result in group.finished(dataset)}
    session = {"command": ["run", name], "started": "2026-01-01", "commit": "0" * 40}
    identities = {"i": {"jax": "0", "data": dataset.fingerprint}}
    return Record(
        name=name, study=study, metadata={experiment.task.data_key: dataset.metadata},
        identities=identities, sessions=[session], results=results, rungs={},
    )  # fmt: skip


# Five time steps of six numbers, three classes, 40 training examples: one program for all tests.
TINY = {"num_evals": 1, "hidden_size": 3, "batch_size": 8, "microbatches": 1, "log_every": 4}


def tiny_split(size, seed=0):
    images = np.random.default_rng(seed).integers(0, 256, (size, 5, 6)).astype(np.uint8)
    return {"images": images, "labels": (images[:, 0, 0] % 3).astype(np.int32)}


def tiny_dataset(size=40, seed=0, name="tiny"):
    splits = tiny_split(size, seed), tiny_split(16, 1), tiny_split(16, 2)
    return make_dataset(name, *splits, num_classes=3)


def run_tiny(runs, experiment, **options):
    """Trains an experiment on the tiny data set with `lstm_jax.run` and returns its outcome."""
    options = {"data": tiny_dataset(), "silent": True, "checkpoint_every": 5, **options}
    return run(experiment, runs_dir=runs, **options)


def train_in_memory(member, dataset):
    """Trains a member to its end; returns it as `predict` has it, its state and its programs."""
    programs = build_programs(Placement((member,), 1, 1), dataset, member.num_steps)
    state, _ = programs.segment(programs.init(), 0, member.num_steps)
    params = jax.tree.map(lambda leaf: leaf[0], state.params)
    model = TrainedModel("test", member, member.num_steps, None, dataset.metadata, params)
    return model, state, programs


def reading(records):
    """Returns a substitute for `read_run` that looks records up by directory."""

    def read_run(directory):
        if directory not in records:
            raise UserError(f"{directory} is not a run")
        return records[directory]

    return read_run


def made_up_record(experiment, search=None, **values):
    """Returns a record in which the metric of each member is its number in the grid."""
    study = Study(experiment, search or Search())
    results = {}
    members = study.members() if search else experiment.members()
    for number, member in enumerate(members):
        score = {"loss": 1.0, member.task.metric: float(number)}
        result = Result(member, member.num_steps, score, score, None, 1.0 + number, "i", "0" * 64)
        results[member.digest] = replace(result, **values)
    return Record(
        name="made up", study=study, metadata={experiment.task.data_key: METADATA},
        identities={"i": {"jax": "0"}}, sessions=[], results=results, rungs={},
    )  # fmt: skip


def zero_model(member, metadata):
    """Returns a model whose parameters are all zero, on no disk."""
    shapes = inference.param_shapes(member, member.task.model_spec(metadata))
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    return TrainedModel(member.task.name, member, 0, None, metadata, params)
