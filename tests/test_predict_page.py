"""The code blocks of docs/predict.md run, each with the models that it loads."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pyarrow.csv import read_csv
from trained_runs import METADATA, zero_model

import lstm_jax
from lstm_jax import Adding, Experiment, Forecast, Images, Language, Text, Translation
from lstm_jax.data.dataset import say_nothing
from lstm_jax.data.images import load_images
from lstm_jax.errors import UserError
from lstm_jax.predict import inference
from lstm_jax.predict.stream import Stream
from lstm_jax.predict.trained import TrainedModel

PAGE = (Path(__file__).parent.parent / "docs" / "predict.md").read_text()


def untrained(task, metadata):
    return zero_model(Experiment(task=task, hidden_size=4), metadata)


def of_file(path, rows, task, **fields):
    path.write_text("\n".join(rows) + "\n")
    task = task(**{"file" if task is Forecast else "dataset": str(path)}, **fields)
    return untrained(task, task.load(say_nothing).metadata)


@pytest.fixture
def models(tmp_path, monkeypatch):
    """Makes a model when a block loads it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "polars", SimpleNamespace(read_csv=read_csv))
    days = [f"2024-01-{day:02},{day % 5}" for day in range(1, 31)]
    words = [f"{number % 2}\ta film {number} of words" for number in range(40)]
    pairs = [f"june {day} 1999\t1999 6 {day}" for day in range(1, 31)]
    made = {
        "digits": lambda: untrained(Images(dataset="digits"), METADATA),
        "reviews": lambda: of_file(tmp_path / "reviews.tsv", words, Text, max_length=8),
        "prices": lambda: of_file(
            tmp_path / "prices.csv", ["time,y", *days], Forecast, target="y", window=4
        ),
        "dates": lambda: of_file(tmp_path / "dates.tsv", pairs, Translation),
        "code": lambda: untrained(Language(), {}),
    }
    monkeypatch.setattr(lstm_jax, "load", lambda name: made[name]())


def test_a_stream_equals_the_whole_image_to_the_bit():
    """As programs are compiled for users: `Stream` is imported before `fast_compile` begins."""
    task, images = Images(dataset="digits"), load_images("digits").test["images"][:5]
    member = Experiment(task=task, hidden_size=4)
    params = inference.initial_params(member, task.model_spec(METADATA))
    model = TrainedModel("test", member, 0, None, METADATA, params)
    for image in images:
        stream = Stream(model)
        last_C = [stream.step(row) for row in image][-1]
        np.testing.assert_array_equal(last_C, model.predict(image).probabilities[0])


@pytest.mark.usefixtures("fast_compile")
@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
def test_a_block_of_the_page_runs(models, block):
    values = {}
    exec(block, values)
    if "forecast" in values:
        assert values["forecast"].shape == (1,)
    if "right" in values:
        assert values["right"].shape == values["answers"].labels.shape == (360,)
    if "probabilities" in values:
        assert np.isclose(values["probabilities"].sum(), 1)


@pytest.mark.usefixtures("fast_compile")
def test_a_stream_reads_tokens_as_predict_does(tmp_path):
    words = [f"{number % 2}\ta film {number} of words" for number in range(40)]
    model = of_file(tmp_path / "reviews.tsv", words, Text, max_length=8)
    params = inference.initial_params(model.member, model.spec)
    model = TrainedModel("test", model.member, 0, None, model.metadata, params)
    stream = model.stream()
    last = [stream.step(token) for token in ("Film", "of", "WORDS")][-1]
    np.testing.assert_allclose(last, model.predict("Film of WORDS").probabilities[0], atol=1e-6)
    for x in ("a film", " "):
        with pytest.raises(UserError, match="a time step reads one"):
            stream.step(x)


@pytest.mark.usefixtures("fast_compile")
def test_arrays_that_a_task_cannot_read_are_refused():
    task = Adding(length=4)
    dataset = task.load(say_nothing)
    model = untrained(task, dataset.metadata)
    one = {name: array[:1] for name, array in dataset.test.items()}
    for inputs in ({"numbers": one["numbers"]}, {**one, "numbers": one["numbers"][:, :3]}):
        with pytest.raises(UserError, match=r"numbers \[N, 4\], places \[N, 2\]"):
            model.predict(inputs)
    with pytest.raises(UserError, match=r"as \[4, 1, 2\], .* expected one time step"):
        model.stream().step(one)
