"""A trained model in use: the same answers from a run, from pictures, and where it is exported."""

import io
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from trained_runs import METADATA, SWEEP, quiet, train

import lstm_jax
from lstm_jax import Experiment, StateTracking
from lstm_jax.config.blocks import Residual
from lstm_jax.data.images import load_images
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.predict import inference
from lstm_jax.predict.predict import PredictOptions, predict
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.runs import checkpoints
from lstm_jax.tasks.images import Images

pytestmark = pytest.mark.usefixtures("fast_compile")

SMALL = Experiment(task=Images(dataset="digits"), hidden_size=6, forget_bias=0.5)


@pytest.fixture(scope="module")
def test_split():
    return load_images("digits").test


def test_the_chosen_member_answers_as_its_record_says(trained_sweep, records, test_split):
    trained = lstm_jax.load(trained_sweep)
    results = records[trained_sweep].results.values()
    best = max(results, key=lambda result: result.validation_metric)
    assert trained.member == best.member
    right = trained.predict(test_split["images"]) == test_split["labels"]
    assert right.mean() == pytest.approx(best.test_metric)
    probabilities = trained.probabilities(test_split["images"])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_any_member_by_how_its_digest_begins(trained_sweep):
    for member in SWEEP.members():
        assert lstm_jax.load(trained_sweep, member.digest[:6]).member == member
    with pytest.raises(UserError, match="0 members begin with 'zz'"):
        lstm_jax.load(trained_sweep, "zz")


def test_other_seeds_of_its_setting_are_loaded_unless_their_checkpoint_is_lost(
    trained_sweep, tmp_path
):
    trained = lstm_jax.load(trained_sweep)
    first, second = trained.over_seeds()
    assert first == trained
    assert second.member == first.member.replace_unchecked({"seed": 1 - first.member.seed})
    assert second.result.parameters_sha256 != first.result.parameters_sha256
    lost, unfinished = replace(trained, directory=tmp_path), replace(trained, result=None)
    assert [len(list(model.over_seeds())) for model in (lost, unfinished)] == [1, 1]


def test_the_belief_grows_row_by_row_and_ends_in_the_answer(trained_sweep, test_split):
    trained, images = lstm_jax.load(trained_sweep), test_split["images"]
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


def test_a_member_that_was_taken_over_is_found_where_it_was_trained(trained_sweep, records):
    other = changed(records, trained_sweep, reused_from=trained_sweep.name)
    assert lstm_jax.load(other).member == lstm_jax.load(trained_sweep).member


@pytest.mark.parametrize(
    "home", ["..", ".", "", "../digits", "/tmp", "0123456789AB", "ba9876543210"]
)
def test_a_member_is_never_looked_for_outside(trained_sweep, records, home):
    """The last one is a link that leads outside."""
    link = trained_sweep.parent / "ba9876543210"
    link.unlink(missing_ok=True)
    link.symlink_to(trained_sweep)
    with pytest.raises(EnvironmentProblem, match="which is no directory beside it"):
        lstm_jax.load(changed(records, trained_sweep, reused_from=home))


def test_other_parameters_than_those_on_record_are_refused(trained_sweep, records):
    other = changed(
        records, trained_sweep, reused_from=trained_sweep.name, parameters_sha256="0" * 64
    )
    with pytest.raises(EnvironmentProblem, match="than those on record") as caught:
        lstm_jax.load(other)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_another_model_is_refused(trained_sweep, records):
    record = records[trained_sweep]
    wider = record.study.experiment.replace({"layers": 2})
    results = {
        d: replace(r, member=r.member.replace_unchecked({"layers": 2}))
        for d, r in record.results.items()
    }
    other = trained_sweep.parent / "0123456789ac"
    digests = tuple(results)
    state = checkpoints.load(trained_sweep, digests, print)
    arrays = {n: np.stack([state[d].arrays[n] for d in digests]) for n in state[digests[0]].arrays}
    other.mkdir(exist_ok=True)
    checkpoints.save(other, digests, checkpoints.Saved(235, arrays, "i", [1.0] * 4))
    study = replace(record.study, experiment=wider)
    records[other] = replace(record, results=results, study=study)
    with pytest.raises(EnvironmentProblem, match="of another version"):
        lstm_jax.load(other, digests[0])


def test_an_unfinished_run_is_used_as_far_as_it_got(records, tmp_path, test_split, capsys):
    directory = tmp_path / SWEEP.digest
    records[directory] = train(directory, SWEEP, steps=10)
    assert lstm_jax.load(directory).steps == 10
    Image.fromarray(255 - test_split["images"][0]).resize((90, 90)).save(tmp_path / "a.png")
    predict(directory, PredictOptions((str(tmp_path / "a.png"),)), quiet())
    assert "is unfinished: step 10 of 125" in capsys.readouterr().err


def test_answers_are_small_and_numpy_reads_them_as_labels(trained_sweep, test_split, tmp_path):
    trained, images = lstm_jax.load(trained_sweep), test_split["images"][:5]
    answers, one = trained.predict(images), trained.predict(images[0])
    assert (answers == trained.probabilities(images).argmax(axis=1)).all()
    assert (len(answers), len(one), answers.names[0]) == (5, 1, str(answers.labels[0]))
    assert repr(answers).startswith(f"Classes({answers.names[0]} ")
    assert repr(answers).endswith("%, and 2 more)")
    for index in range(2):
        Image.fromarray(images[index]).resize((64, 64)).save(tmp_path / f"{index}.png")
    paths = [tmp_path / "0.png", tmp_path / "1.png"]
    each = [trained.predict(str(path)).probabilities[0] for path in paths]
    np.testing.assert_allclose(trained.predict(paths).probabilities, each, atol=1e-6)


def test_a_stream_ends_where_the_whole_image_does(trained_sweep, test_split):
    trained = lstm_jax.load(trained_sweep)
    stream = trained.stream()
    for image in test_split["images"][:3]:
        stream.reset()
        beliefs = [stream.step(row) for row in image]
        whole_C = trained.predict(image).probabilities[0]
        np.testing.assert_allclose(beliefs[-1], whole_C, atol=1e-6)
        np.testing.assert_allclose(beliefs, trained.beliefs(image[None])[:, 0], atol=1e-5)
    for row in (image[0, 1:], image[0].astype(int), image):
        with pytest.raises(UserError, match=r"this model reads uint8 \[8\], a row of an image"):
            stream.step(row)


def test_a_stream_refuses_arrays_without_the_axes_of_examples_and_time_steps():
    member = Experiment(task=StateTracking(), hidden_size=2)
    params = inference.initial_params(member, member.task.model_spec({}))
    stream = TrainedModel("test", member, 0, None, {}, params).stream()
    with pytest.raises(UserError, match=r"as \[2\], .*; expected one time step of one sequence"):
        stream.step({"symbols": np.int32(1)})
    assert stream.step({"symbols": np.int32([[1]])}).shape == (2,)


def test_numbers_that_are_no_symbols_of_the_task_are_refused():
    member = Experiment(task=StateTracking(length=3), hidden_size=2)
    params = inference.initial_params(member, member.task.model_spec({}))
    trained = TrainedModel("test", member, 0, None, {}, params)
    assert trained.predict({"symbols": [[0, 1, 1]]}).shape == (1, 3, 2)
    for symbols, message in (
        ([[0, 7, 1]], "symbols has numbers from 0 to 7; this model reads 0 to 1"),
        ([[0, -1, 1]], "from -1 to 1"),
        ([[0.0, 1.0, 1.0]], "symbols is float64; this model reads whole numbers"),
        ([["a", "b", "a"]], "symbols is <U1"),
    ):
        with pytest.raises(UserError, match=f"predict: .*{message}"):
            trained.predict({"symbols": symbols})
        with pytest.raises(UserError, match=f"stream: .*{message}"):
            trained.stream().step({"symbols": symbols})
    examples = {"arrays": {"symbols": [[9, 3], "<i4"], "x": [[9, 3], "<i4"]}}
    with pytest.raises(UserError, match="x is float64; this model reads whole"):
        replace(trained, metadata={"examples": examples}).predict({"x": [[0.5]]})


def test_a_stream_reads_columns_through_a_block_with_a_convolution(test_split):
    image, task = test_split["images"][0], Images(dataset="digits", reading="columns")
    member = Experiment(task=task, hidden_size=4, block=Residual(conv=3))
    params = inference.initial_params(member, task.model_spec(METADATA))
    model = TrainedModel("test", member, 0, None, METADATA, params)
    stream = model.stream()
    last = [stream.step(column) for column in image.T][-1]
    np.testing.assert_allclose(last, model.predict(image).probabilities[0], atol=1e-6)
    with pytest.raises(UserError, match="its head reads the mean"):
        replace(model, member=member.replace({"read_out": "mean"})).stream()
    with pytest.raises(UserError, match=r"means of squares .*task\.pool"):
        replace(model, member=member.replace({"task.pool": 2})).stream()


@pytest.mark.parametrize("images", [np.zeros((1, 8, 9), np.uint8), np.zeros((1, 8, 8))])
def test_images_of_another_shape_are_refused(trained_sweep, images):
    with pytest.raises(UserError, match=r"this model reads uint8 \[N, 8, 8\]"):
        lstm_jax.load(trained_sweep).predict(images)


def test_predictions_are_lines_or_json_and_show_the_rows(trained_sweep, tmp_path, test_split):
    path = tmp_path / "digit.png"
    Image.fromarray(test_split["images"][0]).resize((64, 64)).save(path)
    plain, rows, as_json = quiet(), quiet(), quiet()
    predict(trained_sweep, PredictOptions((str(path),)), plain)
    predict(trained_sweep, PredictOptions((str(path),), show_each_time_step=True), rows)
    predict(
        trained_sweep, PredictOptions((str(path),), json=True, show_each_time_step=True), as_json
    )
    answer = json.loads(as_json.file.getvalue())
    assert plain.file.getvalue().startswith(f"{path}: {answer['digit']} (")
    assert len(rows.file.getvalue().splitlines()) == 9
    assert np.argmax(answer["by_step"][-1]) == answer["digit"]
    assert sum(answer["probabilities"]) == pytest.approx(1, abs=1e-4)


def test_one_bad_file_does_not_stop_the_others(trained_sweep, tmp_path, test_split, capsys):
    for index in range(2):
        Image.fromarray(test_split["images"][index]).save(tmp_path / f"{index}.png")
    (tmp_path / "1_bad.png").write_text("no picture")
    (tmp_path / "none").mkdir()
    console, none = quiet(), str(tmp_path / "none")
    with pytest.raises(UserError, match="3 of 5 inputs could not be read"):
        predict(trained_sweep, PredictOptions((none, str(tmp_path), "absent.png")), console)
    answers, complaints = console.file.getvalue().splitlines(), capsys.readouterr().err.splitlines()
    assert [line.split(": ")[0] for line in answers] == [f"{tmp_path}/{i}.png" for i in (0, 1)]
    bad = [none, f"{tmp_path}/1_bad.png", "absent.png"]
    assert [line.split(": ")[1] for line in complaints] == bad


def test_what_is_doubtful_is_said(trained_sweep, tmp_path, test_split):
    """An answer that is hardly one, and two digits read as one."""
    trained = lstm_jax.load(trained_sweep)
    sure = trained.probabilities(test_split["images"]).max(axis=1)
    images = test_split["images"][[np.argmin(sure), np.argmax(sure)]]
    sheet = np.concatenate([np.pad(image, 4) for image in images], axis=1)
    for name, image in (("unsure", images[0]), ("sure", images[1]), ("two", sheet)):
        Image.fromarray(255 - image).save(tmp_path / f"{name}.png")
    console = quiet()
    predict(trained_sweep, PredictOptions((str(tmp_path),), json=True), console)
    sure, two, unsure = [json.loads(line) for line in console.file.getvalue().splitlines()]
    assert sure["notes"] == []
    assert "not sure" in unsure["notes"]
    assert "2 drawings seem to be on it, read as one" in two["notes"]


def test_an_array_on_stdin(trained_sweep, test_split, monkeypatch):
    def feed(data):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        console = quiet()
        predict(trained_sweep, PredictOptions(("-",)), console)
        return console.file.getvalue().splitlines()

    saved = io.BytesIO()
    np.save(saved, test_split["images"][:5])
    wanted = lstm_jax.load(trained_sweep).predict(test_split["images"][:5])
    assert [int(line.split()[1]) for line in feed(saved.getvalue())] == wanted.labels.tolist()
    with pytest.raises(UserError, match="stdin is no array"):
        feed(b"not an array")
