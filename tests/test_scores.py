"""Metrics: each is what its definition says, over all examples and over no example twice."""

import linecache
from dataclasses import dataclass

import numpy as np
import pytest
from sklearn.metrics import f1_score, top_k_accuracy_score
from trained_runs import TINY, run_tiny, tiny_dataset

from lstm_jax import Adding, Experiment, Forecast, Images, Language, Translation, make_dataset
from lstm_jax.data.time_series import gather_windows
from lstm_jax.errors import UserError
from lstm_jax.plugins import load_attribute
from lstm_jax.runs.code import example_shapes, program_digest
from lstm_jax.runs.evaluation import score_splits
from lstm_jax.tasks.task import Task
from lstm_jax.train.placement import Placement, build_programs

pytestmark = pytest.mark.usefixtures("fast_compile")

SMALL = {"hidden_size": 4, "batch_size": 8, "microbatches": 1, "total_steps": 1}


def scored(task, dataset, **fields):
    """Returns the scores of a member of random weights on the test, and its outputs [N,O]."""
    member = Experiment(task=task, **(SMALL | fields))
    programs = build_programs(Placement((member,), 1, 1), dataset, 1)
    params = programs.init().params
    ((score,),) = score_splits(
        programs, params, (member,), {"test": dataset.test}, dataset
    ).values()
    return score


def classes(num_classes, size, seed):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (size, 5, 6)).astype(np.uint8)
    return {"images": images, "labels": rng.integers(0, num_classes, size).astype(np.int32)}


def test_top_five_and_macro_f1_are_those_of_scikit_learn(tmp_path):
    """On 83 examples, so that the last block is not full; the last of 12 classes has no label."""
    splits = [classes(11, size, seed) for seed, size in enumerate((20, 20, 83))]
    data = make_dataset("made", *splits, num_classes=12)
    outcome = run_tiny(tmp_path, Experiment(total_steps=30, **TINY), data=data)
    (result,) = outcome.members
    labels = splits[2]["labels"]
    answers = outcome.load().probabilities(splits[2]["images"])
    f1 = f1_score(labels, answers.argmax(axis=1), average="macro")
    assert result.test["macro_f1"] == pytest.approx(f1, abs=1e-6)
    top = top_k_accuracy_score(labels, answers, k=5, labels=range(12))
    assert result.test["top_5_accuracy"] == pytest.approx(top, abs=1e-6)
    of_five = Images().evaluation_items(np.zeros((2, 5), np.float32), {"labels": np.zeros(2, int)})
    assert "top_5_accuracy" not in of_five


@pytest.mark.parametrize("period", [0, 7])
def test_the_scaled_error_is_one_for_the_naive_forecast_of_a_step(period):
    task = Forecast(window=5, horizon=1, period=period)
    dataset = task.load(print)
    train, past = dataset.train, max(1, period)
    index = np.arange(len(train["first"]))
    y = gather_windows(train, index, 5, 1)["y"][:, 0].astype(float)
    naive = np.abs(y - train["target"][train["first"] + 5 - past])
    sums = {"squared_error": 1.0, "weight": float(len(y)), "absolute_error": naive.sum()}
    assert task.finalise(sums, dataset)["mase"] == pytest.approx(1, rel=1e-6)
    if not period:
        score = scored(task, dataset)
        assert score["absolute_error"] ** 2 <= score["squared_error"]


def test_perplexities_are_powers_of_the_mean_cross_entropy():
    for task in (Language(length=8), Translation()):
        sums = {"loss": np.float64(6.0), task.metric: np.float64(6.0), "weight": np.float64(4.0)}
        base = 2 if isinstance(task, Language) else np.e
        assert task.finalise(sums, None)["perplexity"] == pytest.approx(base**1.5)


def test_the_absolute_error_of_the_adding_problem_is_below_the_root_of_the_squared_one():
    task = Adding(length=4)
    score = scored(task, task.load(print))
    assert 0 < score["absolute_error"] < score["squared_error"] ** 0.5


def test_the_first_metric_decides_and_is_that_of_training():
    assert (Images.metric, Images.metrics[0]) == ("accuracy", "accuracy")

    @dataclass(frozen=True)
    class One(Images):
        metric = "share"

    assert One.metrics == ("share",)
    with pytest.raises(UserError, match="a metric cannot be called loss"):
        type("Wrong", (Task,), {"metrics": ("accuracy", "loss")})


def test_an_edited_metric_of_a_users_file_is_another_program(tmp_path, monkeypatch):
    """Neither results nor rows of two formulas stand in one run."""
    monkeypatch.chdir(tmp_path)
    code = (
        "from dataclasses import dataclass\nfrom lstm_jax import Images\n"
        "@dataclass(frozen=True)\nclass Mine(Images):\n"
        "    metrics = (*Images.metrics, 'half')\n"
        "    def evaluation_items(self, outputs, batch):\n"
        "        return super().evaluation_items(outputs, batch) | {'half': 0.5 * outputs[:, 0]}\n"
        "    def finalise(self, sums, dataset):\n"
        "        return super().finalise(sums, dataset) | {'half': sums['half'] / 2}\n"
    )
    dataset = tiny_dataset()
    digests = []
    for text in (code, code, code.replace("0.5", "0.25"), code.replace("/ 2", "/ 3")):
        (tmp_path / "mine.py").write_text(text)
        linecache.clearcache()
        task = load_attribute("task", "mine.py:Mine")(dataset="digits")
        spec = task.model_spec(dataset.metadata)
        member = Experiment(task=task, **SMALL)
        digests.append(program_digest(member, spec, example_shapes(dataset)))
    assert len({*digests}) == 3
    assert digests[0] == digests[1]
