"""What is exported answers as the model does, of every task; ONNX where it has the nodes."""

import json
from hashlib import sha256
from pathlib import Path

import jax
import numpy as np
import onnx
import pytest
from trained_runs import quiet

from lstm_jax import Adding, Experiment, Forecast, Images, Text, Translation
from lstm_jax.data.dataset import say_nothing
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.export.description import describe_model
from lstm_jax.export.onnx import to_onnx
from lstm_jax.export.stablehlo import (
    _compare,
    arrays_read,
    export,
    made_up_examples,
    run_onnx,
    run_stablehlo,
    to_stablehlo,
)
from lstm_jax.predict import inference
from lstm_jax.predict.forecast import predict
from lstm_jax.predict.predict import PredictOptions
from lstm_jax.predict.text import probabilities
from lstm_jax.predict.trained import TrainedModel, load
from lstm_jax.runs.code import example_shapes

pytestmark = pytest.mark.usefixtures("fast_compile")


def untrained(task, data, **values):
    """A member of random weights, on no disk."""
    member = Experiment(task=task, hidden_size=6, forget_bias=0.5, **values)
    shapes, rng = (
        inference.param_shapes(member, task.model_spec(data.metadata)),
        np.random.default_rng(0),
    )
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.5, leaf.shape).astype(leaf.dtype), shapes)
    return TrainedModel("one", member, 0, None, data.metadata, params)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A file of texts of one to fifteen words."""
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("texts") / "texts.tsv"
    lines = [" ".join(rng.choice(list("abcdefgh"), rng.integers(1, 16))) for _ in range(300)]
    path.write_text("".join(f"{i % 3}\t{line}\n" for i, line in enumerate(lines)))
    return str(path)


def both(trained, data, run, count=37):
    """What was exported says of test examples, and what the model says of them."""
    batch = trained.member.task.gather(data.test, np.arange(count))
    names = arrays_read(trained, batch)
    return run(*(np.asarray(batch[name]) for name in names)), trained.answers(batch)


def as_stablehlo(trained, data):
    batch = trained.member.task.gather(data.test, np.arange(1))
    return run_stablehlo(to_stablehlo(trained, batch))


@pytest.mark.parametrize(("cell", "answer"), [("lstm", "last"), ("gru", "mean")])
def test_a_model_of_texts_is_the_same_in_both_forms(texts, cell, answer):
    """Of texts of several lengths."""
    task = Text(dataset=texts, pooling=answer)
    data = task.load(say_nothing)
    trained = untrained(task, data, cell=cell, layers=2)
    for run in (as_stablehlo(trained, data), run_onnx(to_onnx(trained))):
        actual, wanted = both(trained, data, run, count=20)
        np.testing.assert_allclose(actual, wanted, atol=1e-5)
        np.testing.assert_allclose(actual.sum(axis=1), 1, atol=1e-5)


def test_a_forecast_is_the_same_in_both_forms():
    task = Forecast(window=7, horizon=3)
    data = task.load(say_nothing)
    trained = untrained(task, data)
    for run in (as_stablehlo(trained, data), run_onnx(to_onnx(trained))):
        assert "within" in _compare(run, trained, data.test, Path())
    with pytest.raises(EnvironmentProblem, match="is not written: outputs off by up to nan"):
        _compare(lambda *arrays: np.full((len(arrays[0]), 3), np.nan), trained, data.test, Path())


def test_an_exported_forecast_reads_and_answers_in_the_units_of_the_file(tmp_path, capsys):
    """The mean is 10,000 times the deviation: one float32 of it would lose the answer's digits."""
    rows = [f"{1e6 + 100 * np.sin(i / 3)},{np.cos(i / 3) / 1e6}" for i in range(400)]
    (tmp_path / "series.csv").write_text("\n".join(["a,b", *rows]))
    task = Forecast(file=str(tmp_path / "series.csv"), target="a", columns="a,b", window=7)
    data = task.load(say_nothing)
    trained = untrained(task, data)
    predict(trained, PredictOptions(last=tmp_path / "series.csv", json=True), print)
    (wanted,) = json.loads(capsys.readouterr().out)["forecast"]
    last = np.array([row.split(",") for row in rows[-7:]], np.float32)[None]
    content = to_onnx(trained)
    for run in (as_stablehlo(trained, data), run_onnx(content)):
        assert run(last)[0, 0] == pytest.approx(wanted, abs=0.2)  # the deviation is 70
        assert "within" in _compare(run, trained, data.test, Path())
        with pytest.raises(EnvironmentProblem, match="off by up to"):
            _compare(lambda x, run=run: run(x) + 10, trained, data.test, Path())


def test_an_exported_forecast_of_several_series_reads_and_answers_in_the_units_of_each(tmp_path):
    rows = [f"{name},{level + np.sin(i)}" for i in range(80) for name, level in UNITS.items()]
    (tmp_path / "long.csv").write_text("\n".join(["place,y", *rows]))
    task = Forecast(file=str(tmp_path / "long.csv"), target="y", series="place", window=7)
    data = task.load(say_nothing)
    trained = untrained(task, data)
    x_NTI = np.array([[[level + np.sin(i)] for i in range(7)] for level in UNITS.values()])
    numbers = np.arange(2, dtype=np.int32)
    for run in (as_stablehlo(trained, data), run_onnx(to_onnx(trained))):
        assert "within" in _compare(run, trained, data.test, Path())
        near, far = run(x_NTI.astype(np.float32), numbers)
        assert far - near == pytest.approx(1000, abs=1)


@pytest.mark.parametrize("answer", ["last", "mean"])
def test_texts_of_unknown_words_and_empty_ones_have_finite_answers(texts, answer):
    task = Text(dataset=texts, pooling=answer)
    data = task.load(say_nothing)
    trained = untrained(task, data, layers=2)
    symbols = np.array([[1] * 5, [1, 0, 0, 0, 0], [0] * 5], np.int32)
    lengths = np.array([5, 1, 0], np.int32)
    first = {"symbols": symbols, "lengths": lengths, "labels": lengths}
    wanted = trained.answers({"symbols": symbols, "lengths": lengths})
    assert np.isfinite(wanted).all()
    for run in (run_stablehlo(to_stablehlo(trained, first)), run_onnx(to_onnx(trained))):
        np.testing.assert_allclose(run(symbols, lengths), wanted, atol=1e-5)


def test_a_text_is_answered_from_what_the_files_themselves_say(texts):
    """From the metadata of the ONNX file alone: no data set, no run, none of this package."""
    task = Text(dataset=texts, min_count=1)
    data = task.load(say_nothing)
    trained = untrained(task, data)
    content = to_onnx(trained, describe_model(trained))
    props = onnx.load_from_string(content).metadata_props
    known = {each.key: json.loads(each.value) for each in props}
    words = ["a", "h", "nothing", "b"]
    unknown = known["vocabulary"].index("<unknown>")
    number = {word: i for i, word in enumerate(known["vocabulary"])}
    symbols = np.array([[number.get(word, unknown) for word in words]])
    (answer,) = run_onnx(content)(symbols, np.array([len(words)]))
    (wanted,) = probabilities(trained, [words])
    np.testing.assert_allclose(answer, wanted, atol=1e-5)
    assert (known["task"], known["task_fields"]["units"]) == ("text", "words")
    assert len(known["classes"]) == len(answer)


def test_what_a_forecast_means_stands_beside_it(tmp_path):
    rows = [f"2024-01-{1 + i // 24:02} {i % 24:02}:00,{i % 7}" for i in range(400)]
    (tmp_path / "t.csv").write_text("\n".join(["time,y", *rows]))
    task = Forecast(file=str(tmp_path / "t.csv"), target="y", window=7)
    data = task.load(say_nothing)
    trained = untrained(task, data)
    trained.metadata["card"] = {"shown": ["an example of training, which is not given away"]}
    known = describe_model(trained)
    assert "given away" not in str(known)
    assert known["time"] == {"column": "time", "amount": 3600.0, "unit": "seconds"}
    assert (known["target"], known["columns"]) == ("y", ["y"])
    assert (known["means"], known["target_scale"]) == (
        data.metadata["means"],
        data.metadata["target_scale"],
    )


UNITS = {"near": 3, "far": 1003}
TASKS = {"adding": Adding(length=9), "attention": Translation(dataset="dates", attention="luong")}


@pytest.mark.parametrize("name", TASKS)
def test_every_other_task_goes_as_stablehlo_and_onnx_refuses_it(name):
    task = TASKS[name]
    data = task.load(say_nothing)
    trained = untrained(task, data)
    np.testing.assert_allclose(*both(trained, data, as_stablehlo(trained, data), 5), atol=1e-4)
    with pytest.raises(UserError, match=f"not of the task {task.name}; leave --onnx away"):
        to_onnx(trained)


IMAGES = Images(dataset="digits").load(say_nothing)


@pytest.mark.parametrize(
    ("cell", "layers", "how", "pool"),
    [
        ("lstm", 2, "columns", 1), ("gru", 2, "permuted", 2), ("rnn", 2, "rows", 1),
        ("irnn", 1, "rows", 4),
    ],
)  # fmt: skip
def test_what_onnx_runs_answers_as_the_model_does(cell, layers, how, pool):
    task = Images(dataset="digits", reading=how, pool=pool)
    trained = untrained(task, IMAGES, cell=cell, layers=layers)
    actual, wanted = both(trained, IMAGES, run_onnx(to_onnx(trained)))
    np.testing.assert_allclose(actual, wanted, atol=1e-5)
    np.testing.assert_allclose(trained.probabilities(IMAGES.test["images"][:37]), wanted, atol=1e-6)


def test_a_cell_that_onnx_has_not_is_refused_in_words_and_goes_as_stablehlo():
    trained = untrained(Images(dataset="digits"), IMAGES, cell="lstm_peephole")
    with pytest.raises(UserError, match="ONNX has no operator for the cell lstm_peephole"):
        to_onnx(trained)
    with pytest.raises(UserError, match="ONNX is written with products in float32"):
        to_onnx(untrained(Images(dataset="digits"), IMAGES, precision="bfloat16"))
    np.testing.assert_allclose(*both(trained, IMAGES, as_stablehlo(trained, IMAGES)), atol=1e-5)


def test_an_export_lies_beside_the_run_and_nothing_else_does(trained_sweep):
    console = quiet()
    export(trained_sweep, console, onnx=True)
    lines = console.file.getvalue().splitlines()
    text = "takes images; "
    assert sum(text in line and "the same class on all 360" in line for line in lines) == 2
    names = {path.name for path in (trained_sweep / "export").iterdir()}
    assert names == {"model.stablehlo", "model.onnx", "model.json"}
    known = json.loads((trained_sweep / "export" / "model.json").read_text())
    result = load(trained_sweep).result
    assert known["parameters_sha256"] == result.parameters_sha256
    assert (known["identity"], known["steps"]) == (result.identity, result.steps)
    props = onnx.load(trained_sweep / "export" / "model.onnx").metadata_props
    files = {name: sha256((trained_sweep / "export" / name).read_bytes()) for name in names}
    del files["model.json"]
    assert known.pop("files") == {name: digest.hexdigest() for name, digest in files.items()}
    assert known.pop("inputs") == {"images": {"dtype": "uint8", "shape": ["n", 8, 8]}}
    assert {each.key: json.loads(each.value) for each in props} == known


def test_an_export_that_answers_otherwise_is_not_written(trained_sweep, monkeypatch):
    monkeypatch.setattr(
        "lstm_jax.export.stablehlo.run_stablehlo",
        lambda content: lambda images: np.eye(10)[images[:, 0, 0] * 0],
    )
    trained_sweep.joinpath("export", "model.stablehlo").unlink(missing_ok=True)
    with pytest.raises(EnvironmentProblem, match="is not written: another class"):
        export(trained_sweep, quiet())
    assert not trained_sweep.joinpath("export", "model.stablehlo").exists()


@pytest.mark.parametrize(
    "task", ["text", Forecast(window=5, horizon=2), Adding(length=9), Translation(dataset="dates")]
)
def test_made_up_examples_fit_the_model_of_every_task(task, texts):
    task = Text(dataset=texts, pooling="mean") if task == "text" else task
    data = task.load(say_nothing)
    trained = untrained(task, data)
    trained.metadata["examples"] = example_shapes(data)
    examples = made_up_examples(trained, 9)
    first = task.gather(examples, np.arange(1))
    said = _compare(
        run_stablehlo(to_stablehlo(trained, first)), trained, examples, Path(), "made-up examples"
    )
    assert "all 9 made-up examples" in said
