"""A trained model in use: the same answers from a run, from pictures, and where it is exported."""

import io
import json
import sys
from dataclasses import dataclass, replace

import jax
import numpy as np
import pytest
from by_hand import SWEEP, reading, train
from PIL import Image, ImageDraw, ImageOps
from rich.console import Console

import lstm_jax
from lstm_jax import Experiment
from lstm_jax.data.images import load
from lstm_jax.errors import SurroundingsError, UserError
from lstm_jax.runs import checkpoints
from lstm_jax.tasks.images import Images
from lstm_jax.tasks.task import Task
from lstm_jax.use import forward
from lstm_jax.use.asked import Asked
from lstm_jax.use.export import export, run_onnx, run_stablehlo, stablehlo
from lstm_jax.use.onnx import to_onnx
from lstm_jax.use.pictures import as_digit, read_picture
from lstm_jax.use.predict import predict
from lstm_jax.use.trained import Trained

pytestmark = pytest.mark.usefixtures("quickly")

SMALL = Experiment(task=Images(dataset="digits"), hidden_size=6, forget_bias=0.5)


def quiet():
    return Console(file=io.StringIO(), width=300)


@pytest.fixture(scope="module")
def records():
    """Records by run directory, instead of those on disk."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lstm_jax.use.trained.read_run", reading(found))
        yield found


@pytest.fixture(scope="module")
def finished(records, tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "digits" / SWEEP.digest
    records[directory] = train(directory, SWEEP)
    return directory


@pytest.fixture(scope="module")
def test_split():
    return load("digits").test


def test_the_chosen_member_answers_as_its_record_says(finished, records, test_split):
    trained = lstm_jax.load(finished)
    results = records[finished].results.values()
    best = max(results, key=lambda result: result.validation_metric)
    assert trained.member == best.member
    right = trained.predict(test_split["images"]) == test_split["labels"]
    assert right.mean() == pytest.approx(best.test_metric)
    probabilities = trained.probabilities(test_split["images"])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_any_member_by_how_its_digest_begins(finished):
    for member in SWEEP.members():
        assert lstm_jax.load(finished, member.digest[:6]).member == member
    with pytest.raises(UserError, match="0 members begin with 'zz'"):
        lstm_jax.load(finished, "zz")


def test_the_belief_grows_row_by_row_and_ends_in_the_answer(finished, test_split):
    trained, images = lstm_jax.load(finished), test_split["images"]
    beliefs = trained.beliefs(images)
    right = (np.argmax(beliefs, axis=-1) == test_split["labels"]).mean(axis=1)
    assert beliefs.shape == (8, 360, 10)
    assert right[0] < 0.5 < right[-1]
    np.testing.assert_allclose(beliefs[-1], trained.probabilities(images), rtol=1e-4, atol=1e-6)


def changed(records, directory, **values):
    """Puts the run's record, its results changed so, under a directory beside it."""
    record = records[directory]
    results = {digest: replace(result, **values) for digest, result in record.results.items()}
    other = directory.parent / "0123456789ab"
    records[other] = replace(record, results=results)
    return other


def test_a_member_that_was_taken_over_is_found_where_it_was_trained(finished, records):
    other = changed(records, finished, taken_from=finished.name)
    assert lstm_jax.load(other).member == lstm_jax.load(finished).member


@pytest.mark.parametrize(
    "home", ["..", ".", "", "../digits", "/tmp", "0123456789AB", "ba9876543210"]
)
def test_a_member_is_never_looked_for_outside(finished, records, home):
    """The last one is a link that leads outside."""
    link = finished.parent / "ba9876543210"
    link.unlink(missing_ok=True)
    link.symlink_to(finished)
    with pytest.raises(SurroundingsError, match="which is no directory beside it"):
        lstm_jax.load(changed(records, finished, taken_from=home))


def test_other_parameters_than_those_on_record_are_refused(finished, records):
    other = changed(records, finished, taken_from=finished.name, parameters_sha256="0" * 64)
    with pytest.raises(SurroundingsError, match="than those on record") as caught:
        lstm_jax.load(other)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_another_model_is_refused(finished, records):
    record = records[finished]
    wider = record.study.experiment.replaced({"layers": 2})
    results = {
        d: replace(r, member=r.member.having({"layers": 2})) for d, r in record.results.items()
    }
    other = finished.parent / "0123456789ac"
    digests = tuple(results)
    state = checkpoints.load(finished, digests, print)
    arrays = {n: np.stack([state[d].arrays[n] for d in digests]) for n in state[digests[0]].arrays}
    other.mkdir(exist_ok=True)
    checkpoints.save(other, digests, checkpoints.Saved(235, arrays, "i", [1.0] * 4))
    study = replace(record.study, experiment=wider)
    records[other] = replace(record, results=results, study=study)
    with pytest.raises(SurroundingsError, match="of another version"):
        lstm_jax.load(other, digests[0])


def test_an_unfinished_run_is_used_as_far_as_it_got(records, tmp_path, test_split, capsys):
    directory = tmp_path / SWEEP.digest
    records[directory] = train(directory, SWEEP, steps=10)
    assert lstm_jax.load(directory).steps == 10
    Image.fromarray(255 - test_split["images"][0]).resize((90, 90)).save(tmp_path / "a.png")
    predict(directory, Asked((str(tmp_path / "a.png"),)), quiet())
    assert "is unfinished: step 10 of 125" in capsys.readouterr().err


@pytest.mark.parametrize("images", [np.zeros((1, 8, 9), np.uint8), np.zeros((1, 8, 8))])
def test_images_of_another_shape_are_refused(finished, images):
    with pytest.raises(UserError, match=r"this model reads uint8 \[N, 8, 8\]"):
        lstm_jax.load(finished).predict(images)


def untrained(**values):
    """A member of random weights, on no disk."""
    member, rng = SMALL.replaced(values), np.random.default_rng(0)
    facts = {"shapes": {"images": [8, 8]}, "num_classes": 10}
    shapes = forward.shapes(member, member.task.ends(facts))
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.5, leaf.shape).astype(leaf.dtype), shapes)
    return Trained("digits", member, 0, None, facts, params)


def test_an_export_lies_beside_the_run_and_nothing_else_does(finished):
    console = quiet()
    export(finished, console, onnx=True)
    lines = console.file.getvalue().splitlines()
    assert sum("the same digit on all 360 test images" in line for line in lines) == 2
    names = {path.name for path in (finished / "export").iterdir()}
    assert names == {"model.stablehlo", "model.onnx"}


@pytest.mark.parametrize(
    ("cell", "layers", "how"),
    [("lstm", 2, "columns"), ("gru", 2, "permuted"), ("rnn", 2, "rows"), ("irnn", 1, "rows")],
)
def test_what_onnx_runs_answers_as_the_model_does(test_split, cell, layers, how):
    values = {"cell": cell, "layers": layers, "task.reading": how}
    trained = untrained(**values)
    images = test_split["images"][:50]
    answers = run_onnx(to_onnx(trained))(images)
    np.testing.assert_allclose(answers, trained.probabilities(images), atol=1e-5)


def test_a_cell_that_onnx_has_not_is_refused_in_words_and_goes_as_stablehlo(test_split):
    trained, images = untrained(cell="lstm_peephole"), test_split["images"]
    with pytest.raises(UserError, match="ONNX has no operator for the cell lstm_peephole"):
        to_onnx(trained)
    answers = run_stablehlo(stablehlo(trained))(images)
    np.testing.assert_allclose(answers, trained.probabilities(images), atol=1e-5)


def test_a_model_that_reads_no_images_says_so(finished):
    trained = lstm_jax.load(finished)

    @dataclass(frozen=True)
    class Other(Task):
        name = "other"

    other = replace(trained, member=trained.member.having({"task": Other()}))
    with pytest.raises(UserError, match="a model of the task other reads no images"):
        stablehlo(other)


def test_an_export_that_answers_otherwise_is_not_written(finished, monkeypatch):
    monkeypatch.setattr(
        "lstm_jax.use.export.run_stablehlo",
        lambda content: lambda images: np.eye(10)[images[:, 0, 0] * 0],
    )
    finished.joinpath("export", "model.stablehlo").unlink(missing_ok=True)
    with pytest.raises(SurroundingsError, match="is not written: another digit"):
        export(finished, quiet())
    assert not finished.joinpath("export", "model.stablehlo").exists()


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
    images = load("digits").test["images"][:40]
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
    Image.fromarray(test_split["images"][0]).resize((64, 64)).save(path)
    plain, rows, as_json = quiet(), quiet(), quiet()
    predict(finished, Asked((str(path),)), plain)
    predict(finished, Asked((str(path),), rows=True), rows)
    predict(finished, Asked((str(path),), json=True, rows=True), as_json)
    answer = json.loads(as_json.file.getvalue())
    assert plain.file.getvalue().startswith(f"{path}: {answer['digit']} (")
    assert len(rows.file.getvalue().splitlines()) == 9
    assert np.argmax(answer["by_step"][-1]) == answer["digit"]
    assert sum(answer["probabilities"]) == pytest.approx(1, abs=1e-4)


def test_an_array_on_stdin(finished, test_split, monkeypatch):
    def feed(data):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        console = quiet()
        predict(finished, Asked(("-",)), console)
        return console.file.getvalue().splitlines()

    saved = io.BytesIO()
    np.save(saved, test_split["images"][:5])
    wanted = lstm_jax.load(finished).predict(test_split["images"][:5])
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
