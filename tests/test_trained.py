"""A trained model in use: the same answers from a run, from pictures, and where it is exported."""

import io
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps
from rich.console import Console

import lstm_jax
from lstm_jax import Experiment
from lstm_jax.data.load import load
from lstm_jax.errors import Interrupted, SurroundingsError, UserError
from lstm_jax.runs.runner import run
from lstm_jax.use.export import export
from lstm_jax.use.pictures import as_digit, read_picture
from lstm_jax.use.predict import predict

SWEEP = Experiment(dataset="digits", hidden_size=16, num_examples=30_000, seed=(0, 1))


def quiet():
    return Console(file=io.StringIO(), width=300)


def train(runs, experiment, **options):
    return run("digits", experiment, quiet(), runs_dir=runs, segment_steps=100, **options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return train(tmp_path_factory.mktemp("runs"), SWEEP)


@pytest.fixture(scope="module")
def test_split():
    return load("digits").test


def test_the_chosen_member_answers_as_its_record_says(finished, test_split):
    trained = lstm_jax.load(finished)
    results = json.loads((finished / "record.json").read_text())["members"]
    best = max(results.values(), key=lambda row: row["validation_accuracy"])
    assert trained.member.seed == best["seed"]
    right = trained.predict(test_split.images) == test_split.labels
    assert right.mean() == pytest.approx(best["test_accuracy"])
    probabilities = trained.probabilities(test_split.images)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_any_member_by_how_its_digest_begins(finished):
    for member in SWEEP.members():
        digest = SWEEP.solo(member).digest
        assert lstm_jax.load(finished, digest[:6]).member == member
    with pytest.raises(UserError, match="0 members begin with 'zz'"):
        lstm_jax.load(finished, "zz")


def test_the_belief_grows_row_by_row(finished, test_split):
    beliefs = lstm_jax.load(finished).beliefs(test_split.images)
    right = (np.argmax(beliefs, axis=-1) == test_split.labels).mean(axis=1)
    assert beliefs.shape == (8, 360, 10)
    assert right[0] < 0.5 < right[-1]


def test_a_member_that_was_taken_over_is_found_where_it_was_trained(finished):
    solo = SWEEP.solo(SWEEP.members()[0])
    grown = train(finished.parent.parent, solo)
    assert json.loads((grown / "record.json").read_text())["members"][solo.digest]["from"]
    assert lstm_jax.load(grown).member == SWEEP.members()[0]
    again = train(finished.parent.parent, replace(SWEEP, seed=(0, 1, 2)))
    homes = {
        row["from"] for row in json.loads((again / "record.json").read_text())["members"].values()
    }
    assert homes == {finished.name, None}
    for member in SWEEP.members():
        assert lstm_jax.load(again, SWEEP.solo(member).digest).member == member


def test_an_unfinished_run_is_used_as_far_as_it_got(tmp_path, test_split, capsys):
    with pytest.raises(Interrupted):
        train(tmp_path, SWEEP, max_minutes=1e-9)
    (directory,) = (tmp_path / "digits").iterdir()
    assert lstm_jax.load(directory).steps == 100
    Image.fromarray(255 - test_split.images[0]).resize((90, 90)).save(tmp_path / "a.png")
    predict(directory, (str(tmp_path / "a.png"),), quiet())
    assert "unfinished: step 100 of 235" in capsys.readouterr().err


@pytest.mark.parametrize("images", [np.zeros((1, 8, 9), np.uint8), np.zeros((1, 8, 8))])
def test_images_of_another_shape_are_refused(finished, images):
    with pytest.raises(UserError, match=r"this model reads uint8 \[N, 8, 8\]"):
        lstm_jax.load(finished).predict(images)


@pytest.mark.parametrize("reading", ["rows", "columns", "permuted"])
def test_what_is_exported_answers_as_the_model_does(finished, tmp_path, reading):
    directory = finished
    if reading != "rows":
        small = Experiment(dataset="digits", hidden_size=8, num_examples=1280, reading=reading)
        directory = train(tmp_path, small)
    console = quiet()
    export(directory, console, onnx=True)
    lines = console.file.getvalue().splitlines()
    assert sum("the same digit on all 360 test images" in line for line in lines) == 2
    for name in ("model.stablehlo", "model.onnx"):
        assert (directory / "export" / name).stat().st_size > 1000


def test_an_export_that_answers_otherwise_is_not_called_done(finished, monkeypatch):
    monkeypatch.setattr(
        "lstm_jax.export.run_stablehlo", lambda path: lambda images: np.eye(10)[images[:, 0, 0] * 0]
    )
    with pytest.raises(SurroundingsError, match="is not to be used: another digit"):
        export(finished, quiet())


def pictures(image, draw):
    """The image as people hand it in: scaled, with a margin, dark on light or light on dark."""
    picture = Image.fromarray(image).resize([int(draw.integers(40, 200))] * 2)
    left, top = draw.integers(0, 60, 2)
    canvas = Image.new("L", (picture.width + 2 * left, picture.height + 2 * top))
    canvas.paste(picture, (left, top))
    return ImageOps.invert(canvas) if draw.random() < 0.5 else canvas


@pytest.fixture(scope="module")
def mnist_like():
    """28 x 28 images made as MNIST's were: a box of 20 pixels, centred by mass."""
    images = load("digits").test.images[:40]
    return np.stack([as_digit(np.pad(image, 2), 28) for image in images])


def test_a_picture_comes_back_as_the_image_it_was_made_from(mnist_like, tmp_path):
    draw = np.random.default_rng(0)
    for index, image in enumerate(mnist_like):
        path = tmp_path / f"{index}.png"
        pictures(image, draw).save(path)
        found = read_picture(str(path), (28, 28)).astype(float)
        assert np.corrcoef(found.ravel(), image.ravel())[0, 1] > 0.8
        assert found[0].max() == found[:, 0].max() == 0


def test_a_thin_pen_on_a_large_sheet_is_as_white_as_any(tmp_path):
    sheet = Image.new("L", (3000, 3000), 255)
    ImageDraw.Draw(sheet).line([(500, 400), (1500, 2400), (2500, 400)], fill=0, width=3)
    sheet.save(tmp_path / "thin.png")
    assert read_picture(str(tmp_path / "thin.png"), (28, 28)).max() > 250


def test_predictions_are_lines_or_json_and_show_the_rows(finished, tmp_path, test_split):
    path = tmp_path / "digit.png"
    Image.fromarray(test_split.images[0]).resize((64, 64)).save(path)
    plain, rows, as_json = quiet(), quiet(), quiet()
    predict(finished, (str(path),), plain)
    predict(finished, (str(path),), rows, rows=True)
    predict(finished, (str(path),), as_json, json=True, rows=True)
    answer = json.loads(as_json.file.getvalue())
    assert plain.file.getvalue().startswith(f"{path}: {answer['digit']} (")
    assert len(rows.file.getvalue().splitlines()) == 9
    assert np.argmax(answer["by_step"][-1]) == answer["digit"]
    assert sum(answer["probabilities"]) == pytest.approx(1, abs=1e-4)


def test_an_array_on_stdin(finished, test_split, monkeypatch):
    def feed(data):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        console = quiet()
        predict(finished, ("-",), console)
        return console.file.getvalue().splitlines()

    saved = io.BytesIO()
    np.save(saved, test_split.images[:5])
    wanted = lstm_jax.load(finished).predict(test_split.images[:5])
    assert [int(line.split()[1]) for line in feed(saved.getvalue())] == list(wanted)
    with pytest.raises(UserError, match="stdin is no array"):
        feed(b"not an array")


def damaged(path, kind):
    if kind == "text":
        path.write_text("no picture")
    elif kind == "cut":
        Image.fromarray(np.arange(900, dtype=np.uint8).reshape(30, 30)).save(path)
        path.write_bytes(path.read_bytes()[:-300])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "blank":
        Image.new("L", (30, 30), 200).save(path)
    elif kind == "specks":
        specks = np.zeros((3000, 3000), np.uint8)
        specks[5, 5] = specks[-5, -5] = 255
        Image.fromarray(specks).save(path)
    elif kind == "huge":
        Image.new("1", (8000, 8000)).save(path)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("absent", "No such file"),
        ("text", "no picture, or a damaged one"),
        ("cut", "no picture, or a damaged one"),
        ("empty", "no picture, or a damaged one"),
        ("blank", "nothing is drawn on it"),
        ("specks", "nothing is drawn on it but specks"),
        ("huge", "8000 x 8000 pixels are more than"),
    ],
)
def test_what_is_no_picture_is_one_line(tmp_path, kind, words):
    path = tmp_path / "a.png"
    damaged(path, kind)
    with pytest.raises(UserError, match=words) as caught:
        read_picture(str(path), (28, 28))
    assert "\n" not in str(caught.value)
