"""What is exported answers as the model does, of every task; ONNX where it has the nodes."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path

import jax
import numpy as np
import onnx
import pytest
from trained_runs import quiet

from lstm_jax import Adding, Captions, Experiment, Forecast, Images, Language, Text, Translation
from lstm_jax.cells import CELLS, get_cell, scan
from lstm_jax.data.dataset import say_nothing
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.export.description import describe_model
from lstm_jax.export.onnx import to_onnx
from lstm_jax.export.stablehlo import (
    _compare,
    arrays_read,
    export,
    export_files,
    made_up_examples,
    run_onnx,
    run_stablehlo,
    to_stablehlo,
)
from lstm_jax.predict import inference
from lstm_jax.predict.decode import generate
from lstm_jax.predict.forecast import predict
from lstm_jax.predict.language import write as write_on
from lstm_jax.predict.predict import PredictOptions
from lstm_jax.predict.sequence import translate
from lstm_jax.predict.text import predict as classify
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
    trained = untrained(task, data, cell=cell, layers=2, bidirectional=answer == "mean")
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
        assert re.search(r"within [\d.e+-]+$", _compare(run, trained, data.test, Path()))
        with pytest.raises(EnvironmentProblem, match="off by up to"):
            _compare(lambda x, run=run: run(x) + 10, trained, data.test, Path())
    far = trained.metadata | {"means": [1e9, 0.0], "target_mean": 1e9}
    trained = replace(trained, metadata=far)
    said = _compare(run_onnx(to_onnx(trained)), trained, data.test, Path())
    assert "float32 rounds the numbers of the file by up to" in said


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


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_is_traced_for_any_number_of_time_steps(name):
    """So the StableHLO file of a text holds for every length; else it would be that of the data."""
    cell, (time, batch) = get_cell(name), jax.export.symbolic_shape("t, n")

    def array(*shape, dtype=np.float32):
        return jax.ShapeDtypeStruct(shape, dtype)

    kernel = array(4 + 2 * cell.num_read, 2 * len(cell.blocks))
    extra = {name: array(*weight.shape(2)) for name, weight in cell.extra.items()}
    backwards = partial(scan.run, cell, reverse=True)
    h_TBH, _ = jax.eval_shape(
        lambda kernel, x, extra, lengths: backwards(kernel, x, extra, lengths_B=lengths),
        *(kernel, array(time, batch, 3), extra, array(batch, dtype=np.int32)),
    )
    assert h_TBH.shape == (time, batch, 2)


@pytest.mark.parametrize("answer", ["last", "mean"])
def test_texts_of_unknown_words_and_empty_ones_have_finite_answers(texts, answer):
    task = Text(dataset=texts, pooling=answer)
    data = task.load(say_nothing)
    trained = untrained(task, data, layers=2)
    symbols = np.array([[1] * 5, [1, 0, 0, 0, 0], [0] * 5], np.int32)
    lengths = np.array([5, 1, 0], np.int32)
    # The file holds for any number of time steps, not those of this batch alone.
    first = {"symbols": symbols[:, :3], "lengths": lengths, "labels": lengths}
    wanted = trained.answers({"symbols": symbols, "lengths": lengths})
    assert np.isfinite(wanted).all()
    for run in (run_stablehlo(to_stablehlo(trained, first)), run_onnx(to_onnx(trained))):
        np.testing.assert_allclose(run(symbols, lengths), wanted, atol=1e-5)


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


def test_onnx_refuses_what_it_has_no_nodes_for():
    """Of a task, of a cell and of a block."""
    task = Adding(length=9)
    trained = untrained(task, task.load(say_nothing))
    with pytest.raises(UserError, match="not of the task adding; leave --onnx away"):
        to_onnx(trained)
    trained = untrained(IMAGES_TASK, IMAGES, block="residual")
    with pytest.raises(UserError, match="not of the block residual; leave --onnx away"):
        to_onnx(trained)
    trained = untrained(IMAGES_TASK, IMAGES, cell="lstm_peephole")
    with pytest.raises(UserError, match="ONNX has no operator for the cell lstm_peephole"):
        to_onnx(trained)
    with pytest.raises(UserError, match="ONNX is written with products in float32"):
        to_onnx(untrained(IMAGES_TASK, IMAGES, precision="bfloat16"))
    with pytest.raises(UserError, match="ONNX has no operator with zoneout"):
        to_onnx(untrained(IMAGES_TASK, IMAGES, zoneout=0.1))
    np.testing.assert_allclose(*both(trained, IMAGES, as_stablehlo(trained, IMAGES)), atol=1e-5)


# Runs programs in turn, each with its arguments, where this package cannot be imported.
WITHOUT_THE_PACKAGE = """
import json, runpy, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "lstm_jax":
            raise ImportError(name)

sys.meta_path.insert(0, Blocker())
for arguments in json.load(sys.stdin):
    sys.argv = arguments
    runpy.run_path(arguments[0], run_name="__main__")
    print("end")
"""


def predicted(predictor, keys, trained, **options):
    lines = []
    predictor(trained, PredictOptions(json=True, **options), lines.append)
    return [{key: json.loads(line)[key] for key in keys} for line in lines]


decoded = partial(bytes.decode, errors="replace")


def same(actual, wanted):
    """Returns whether all that is wanted was answered: numbers to 1e-5, of large ones to 1e-6 of
    their size, as float32 holds no more.
    """
    if isinstance(wanted, dict):
        return all(same(actual[key], value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return len(actual) == len(wanted) and all(map(same, actual, wanted))
    return actual == (
        pytest.approx(wanted, rel=1e-6, abs=1e-5) if isinstance(wanted, float) else wanted
    )


@pytest.mark.slow
def test_a_folder_answers_raw_inputs_as_predict_does_without_this_package(texts, tmp_path):
    """Of each form of input, in one process for all."""
    calls, wanted = [], []

    def add(task, arguments, answers, data=None, *, onnx=False):
        data = task.load(say_nothing) if data is None else data
        trained, folder = untrained(task, data), tmp_path / task.name
        folder.mkdir()
        if "decoder" in trained.params:  # of padding, begin and unknown, which are never written
            trained.params["output"]["bias"][[0, 1, 3]] = 3
        batch = task.gather(data.test, np.arange(1))
        for name, content in export_files(trained, batch, onnx=onnx).items():
            (folder / name).write_bytes(content)
        inputs = arguments(data.test) if callable(arguments) else arguments
        if not isinstance(inputs, list):  # an array, or several by name
            write = np.savez if isinstance(inputs, dict) else np.save
            with open(folder / "inputs", "wb") as file:
                write(file, **inputs) if isinstance(inputs, dict) else write(file, inputs)
        files = inputs if isinstance(inputs, list) else [folder / "inputs"]
        calls.append([str(folder / "use.py"), *map(str, files)])
        wanted.append(answers(trained, inputs))

    def of_images(trained, images):
        rows = trained.probabilities(images).astype(float).tolist()
        return [{"probabilities": dict(zip(trained.class_names, row, strict=True))} for row in rows]

    def of_scenes(trained, scenes):
        empty = {"target": np.zeros((1, 9), np.int32), "target_lengths": np.ones(1, np.int32)}
        answer = generate(trained, {"scenes": scenes, **empty})
        return [{"caption": answer.texts[0], "certainty": float(answer.certainty_N[0])}]

    rows = [f"{name},{level + np.sin(i)}" for i in range(80) for name, level in UNITS.items()]
    (tmp_path / "long.csv").write_text("\n".join(["place,y", *rows]))
    series = Forecast(file=str(tmp_path / "long.csv"), target="y", series="place", window=7)
    add(IMAGES_TASK, lambda test: test["images"][:2], of_images, IMAGES, onnx=True)
    add(
        Text(dataset=texts),
        ["a B h\u00e9 c", "c " * 20],
        lambda trained, texts: predicted(
            classify, ["label", "probabilities"], trained, inputs=texts
        ),
    )
    add(
        series,
        [tmp_path / "long.csv"],
        lambda trained, files: predicted(predict, ["series", "forecast"], trained, last=files[0]),
        onnx=True,
    )
    add(
        Language(dataset=texts, length=8),
        ["a b", 9],
        lambda trained, _: [
            {"beginning": "a b", "written": decoded(write_on(trained, b"a b", 9, 0.0, 0))}
        ],
    )
    add(
        Translation(dataset="dates", attention="luong"),
        ["the third of May 1999"],
        lambda trained, texts: predicted(translate, ["target", "certainty"], trained, inputs=texts),
    )
    add(Captions(num_scenes=20, reading="columns"), lambda test: test["scenes"][:1], of_scenes)
    add(
        Adding(length=9),
        lambda test: {name: array[:2] for name, array in test.items()},
        lambda trained, batch: [trained.answers(batch).astype(float).tolist()],
    )
    flags = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_PACKAGE], input=json.dumps(calls), text=True,
        capture_output=True, check=False, cwd=tmp_path, env={**os.environ, "XLA_FLAGS": flags},
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    for said, answers in zip(ran.stdout.split("end\n"), wanted, strict=False):
        assert same([json.loads(line) for line in said.splitlines()], answers), (said, answers)


IMAGES_TASK = Images(dataset="digits")
IMAGES = IMAGES_TASK.load(say_nothing)


@pytest.mark.parametrize(
    ("cell", "layers", "how", "pool"),
    [
        ("lstm", 2, "columns", 1), ("gru", 2, "permuted", 2), ("rnn", 2, "rows", 1),
        ("irnn", 1, "rows", 4),
    ],
)  # fmt: skip
def test_what_onnx_runs_answers_as_the_model_does(cell, layers, how, pool):
    """The RNN reads in both directions."""
    fields = {"cell": cell, "layers": layers, "bidirectional": cell == "rnn"}
    task = Images(dataset="digits", reading=how, pool=pool)
    trained = untrained(task, IMAGES, **fields)
    actual, wanted = both(trained, IMAGES, run_onnx(to_onnx(trained)))
    np.testing.assert_allclose(actual, wanted, atol=1e-5)
    np.testing.assert_allclose(trained.probabilities(IMAGES.test["images"][:37]), wanted, atol=1e-6)


def test_an_export_lies_beside_the_run_and_nothing_else_does(trained_sweep):
    console = quiet()
    export(trained_sweep, console, onnx=True)
    lines = console.file.getvalue().splitlines()
    text = "takes images [n, 8, 8]; "
    assert sum(text in line and "the same class on all 360" in line for line in lines) == 2
    names = {path.name for path in (trained_sweep / "export").iterdir()}
    assert names == {"model.stablehlo", "model.onnx", "model.json", "use.py"}
    known = json.loads((trained_sweep / "export" / "model.json").read_text())
    result = load(trained_sweep).result
    assert known["parameters_sha256"] == result.parameters_sha256
    assert (known["identity"], known["steps"]) == (result.identity, result.steps)
    props = onnx.load(trained_sweep / "export" / "model.onnx").metadata_props
    files = {name: sha256((trained_sweep / "export" / name).read_bytes()) for name in names}
    del files["model.json"], files["use.py"]
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
    "task", ["text", Forecast(window=5, horizon=2), Translation(dataset="dates")]
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
