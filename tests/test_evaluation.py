"""Evaluations during training change no bit, and the best parameters survive every kill."""

import jax
import numpy as np
import pytest
from trained_runs import TINY, quiet, tiny_dataset

import lstm_jax
from lstm_jax import Experiment, load
from lstm_jax.config.search import Study
from lstm_jax.data.dataset import num_examples, say_nothing
from lstm_jax.data.images import load_images as load_data
from lstm_jax.data.time_series import gather_windows
from lstm_jax.errors import UserError
from lstm_jax.model.forward import apply_model
from lstm_jax.model.fused_params import fuse_kernels
from lstm_jax.runs.evaluation import EVAL_EXAMPLES, eval_steps
from lstm_jax.runs.metrics_file import read_metrics
from lstm_jax.runs.record import read_run
from lstm_jax.runs.reproduce import SEGMENT_STEPS, reproduce
from lstm_jax.runs.run_study import run
from lstm_jax.runs.train_group import TrainGroup
from lstm_jax.tasks.forecast import Forecast
from lstm_jax.tasks.images import Images
from lstm_jax.train.placement import Placement, build_programs, place_on_devices

pytestmark = pytest.mark.usefixtures("fast_compile")

# The learning rate is so high that the metric gets worse again.
GRID = Experiment(
    task=Images(dataset="digits"), hidden_size=8, learning_rate=0.3, total_examples=3200,
    batch_size=64, microbatches=2, log_every=5, num_evals=6, restore_best=True, seed=(0, 1),
)  # fmt: skip


class Killed(Exception):
    pass


def train(runs_dir, callback=None, experiment=GRID):
    """Trains with segments as long as those of `reproduce`: one program for all tests."""
    console = quiet()
    return run(
        "digits", Study(experiment), console,
        runs_dir=runs_dir, checkpoint_every=SEGMENT_STEPS, callback=callback,
    )  # fmt: skip


def results(directory):
    members = read_run(directory).results
    return {digest: (r.validation, r.test, r.parameters_sha256) for digest, r in members.items()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return train(tmp_path_factory.mktemp("runs"))


def evaluations(directory):
    """Returns the recorded evaluations, by member and step."""
    return {
        (row["member"], row["step"]): row["validation_accuracy"]
        for row in read_metrics(directory)
        if "validation_accuracy" in row
    }


def test_evaluations_are_evenly_spaced_on_logged_steps():
    assert eval_steps(GRID) == [10, 15, 25, 35, 40]
    assert eval_steps(Experiment()) == [200, 400, 580]
    assert eval_steps(GRID.replace_unchecked({"num_evals": 1})) == []
    assert eval_steps(GRID.replace_unchecked({"log_every": 1000})) == []
    with pytest.raises(UserError, match="num_evals: 0 is not between"):
        Experiment(num_evals=0)


def test_evaluations_are_recorded_and_the_best_parameters_are_restored(finished):
    seen, record = evaluations(finished), read_run(finished)
    assert {step for _, step in seen} == {10, 15, 25, 35, 40}
    validation = load_data("digits").validation
    for result in record.results.values():
        values = [value for (digest, _), value in seen.items() if digest == result.member.digest]
        answers = load(finished, result.member.digest).predict(validation["images"])
        np.testing.assert_allclose(
            np.mean(answers == validation["labels"]), result.validation_metric, atol=1e-6
        )
        assert result.validation_metric >= max(values)


def test_a_killed_and_resumed_run_has_the_same_rows_and_results(finished, tmp_path):
    def kill(segment):
        raise Killed

    for _ in range(3):  # each process saves one segment: the steps up to the next evaluation
        with pytest.raises(Killed):
            train(tmp_path, kill)
    directory = train(tmp_path)
    assert results(directory) == results(finished)
    by_member = [
        sorted(read_metrics(d), key=lambda row: (row["member"], row["step"]))
        for d in (directory, finished)
    ]
    assert by_member[0] == by_member[1]


def test_a_run_with_evaluations_is_reproduced(finished):
    reproduce(finished, console := quiet())
    assert "reproduced bit for bit: 2 members" in console.file.getvalue()


def test_evaluations_change_no_bit_and_the_best_parameters_are_not_the_last(finished, tmp_path):
    without = GRID.replace({"num_evals": 1, "restore_best": False})
    directory = train(tmp_path, experiment=without)
    last = read_run(directory).results[digest_of(directory, 0)]
    evaluated = {
        r["step"]: r for r in read_metrics(finished) if r["member"] == digest_of(finished, 0)
    }
    rows = [r for r in read_metrics(directory) if r["member"] == digest_of(directory, 0)]
    assert rows
    for row in rows:
        assert all(evaluated[row["step"]][name] == row[name] for name in row if name != "member")
    best = read_run(finished).results[digest_of(finished, 0)]
    assert best.validation_metric > last.validation_metric
    assert best.parameters_sha256 != last.parameters_sha256


def digest_of(directory, seed):
    return next(d for d, r in read_run(directory).results.items() if r.member.seed == seed)


def test_training_is_evaluated_on_the_first_examples_of_validation_alone(tmp_path):
    """The rate is so low that the parameters of every evaluation are the last ones."""
    rng = np.random.default_rng(0)

    def split(size):
        images = rng.integers(0, 256, (size, 5, 6)).astype(np.uint8)
        return {"images": images, "labels": rng.integers(0, 3, size).astype(np.int32)}

    data = lstm_jax.make_dataset(
        "noise", split(3_000), split(3_000), split(3_000), num_classes=3
    )  # fmt: skip
    experiment = Experiment(
        hidden_size=4, learning_rate=1e-12, optimizer="sgd", batch_size=8, microbatches=1,
        total_examples=96, log_every=4, num_evals=3,
    )  # fmt: skip
    outcome = lstm_jax.run(experiment, data=data, runs_dir=tmp_path, silent=True)
    model = outcome.load()

    def accuracy(split, rows):
        answers = model.predict(split["images"][rows])
        return float(np.mean(answers == split["labels"][rows]))

    first = slice(EVAL_EXAMPLES)
    expected = accuracy(data.validation, first)
    others = [
        *(accuracy(each, first) for each in (data.train, data.test)),
        *(accuracy(data.validation, rows) for rows in (slice(-EVAL_EXAMPLES, None), slice(None))),
    ]
    assert min(abs(other - expected) for other in others) > 1e-3  # else nothing is shown
    logged = outcome.metrics["validation_accuracy"]
    np.testing.assert_allclose(logged[~np.isnan(logged)], [expected] * 2, atol=1e-6)
    whole = outcome.members[0].validation["accuracy"]  # of a result all examples count
    assert whole == pytest.approx(others[-1], abs=1e-6)


def test_the_first_windows_of_a_forecast_are_scored_on_the_whole_series(tmp_path):
    """Their last values lie beyond as many rows of the series as there are windows."""
    task = Forecast(window=4, horizon=100)
    made = task.load(say_nothing)
    dataset = made._replace(validation=made.train)  # of more windows than are evaluated
    member = Experiment(task=task, hidden_size=4, total_steps=1, batch_size=8, microbatches=1)
    (placement,) = place_on_devices([member])
    group = TrainGroup(placement, dataset, 1)
    group.evaluator.steps = [0]
    ((score,),) = [group.evaluator.evaluate(0, group.state)]
    split = dataset.validation
    assert num_examples(split) > EVAL_EXAMPLES
    batch = gather_windows(split, np.arange(EVAL_EXAMPLES), 4, 100)
    params = jax.tree.map(lambda leaf: leaf[0], group.state.params)
    spec = task.model_spec(dataset.metadata)
    fused = fuse_kernels(member, params)
    outputs = np.asarray(apply_model(member, spec, fused, task.inputs(batch)))
    np.testing.assert_allclose(score["loss"], np.mean((outputs - batch["y"]) ** 2), rtol=1e-4)


def test_members_that_run_at_once_are_frozen_one_by_one():
    """Under `vmap`, as on a GPU: a member that goes on has the bits that it has beside others."""
    grid = Experiment(seed=(0, 1, 2), patience=1, **(TINY | {"num_evals": 3}))
    members = tuple(grid.members())
    programs = build_programs(Placement(members, 1, 1, tile=4), tiny_dataset(), 4)
    before = programs.segment(programs.init(), 0, 4)[0]
    kept = jax.tree.map(np.asarray, before.params)
    after, metrics = programs.segment(before, 4, 8, np.array([True, False, False, False]))
    moved = [
        [not np.array_equal(old[row], new[row]) for row in range(3)]
        for old, new in zip(jax.tree.leaves(kept), jax.tree.leaves(after.params), strict=True)
    ]
    assert np.any(moved, axis=0).tolist() == [False, True, True]
    assert not np.asarray(metrics.loss)[0].any()
