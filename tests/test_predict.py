"""A trained model in use: the same answers from a run, from pictures, and where it is exported."""

import io
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from trained_runs import SWEEP, reading, train

import lstm_jax
from lstm_jax import Experiment
from lstm_jax.data.images import load_images
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.predict.predict import PredictOptions, predict
from lstm_jax.runs import checkpoints
from lstm_jax.tasks.images import Images

pytestmark = pytest.mark.usefixtures("fast_compile")

SMALL = Experiment(task=Images(dataset="digits"), hidden_size=6, forget_bias=0.5)


def quiet():
    return Console(file=io.StringIO(), width=300)


@pytest.fixture(scope="module")
def records():
    """Records by run directory, instead of those on disk."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lstm_jax.predict.trained.read_run", reading(found))
        yield found


@pytest.fixture(scope="module")
def finished(records, tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "digits" / SWEEP.digest
    records[directory] = train(directory, SWEEP)
    return directory


@pytest.fixture(scope="module")
def test_split():
    return load_images("digits").test


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


def test_the_other_seeds_of_its_setting_are_had_unless_their_checkpoint_is_lost(finished, tmp_path):
    trained = lstm_jax.load(finished)
    first, second = trained.over_seeds()
    assert first == trained
    assert second.member == first.member.replace_unchecked({"seed": 1 - first.member.seed})
    assert second.result.parameters_sha256 != first.result.parameters_sha256
    lost, unfinished = replace(trained, directory=tmp_path), replace(trained, result=None)
    assert [len(list(one.over_seeds())) for one in (lost, unfinished)] == [1, 1]


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
    other = changed(records, finished, reused_from=finished.name)
    assert lstm_jax.load(other).member == lstm_jax.load(finished).member


@pytest.mark.parametrize(
    "home", ["..", ".", "", "../digits", "/tmp", "0123456789AB", "ba9876543210"]
)
def test_a_member_is_never_looked_for_outside(finished, records, home):
    """The last one is a link that leads outside."""
    link = finished.parent / "ba9876543210"
    link.unlink(missing_ok=True)
    link.symlink_to(finished)
    with pytest.raises(EnvironmentProblem, match="which is no directory beside it"):
        lstm_jax.load(changed(records, finished, reused_from=home))


def test_other_parameters_than_those_on_record_are_refused(finished, records):
    other = changed(records, finished, reused_from=finished.name, parameters_sha256="0" * 64)
    with pytest.raises(EnvironmentProblem, match="than those on record") as caught:
        lstm_jax.load(other)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_another_model_is_refused(finished, records):
    record = records[finished]
    wider = record.study.experiment.replace({"layers": 2})
    results = {
        d: replace(r, member=r.member.replace_unchecked({"layers": 2}))
        for d, r in record.results.items()
    }
    other = finished.parent / "0123456789ac"
    digests = tuple(results)
    state = checkpoints.load(finished, digests, print)
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


@pytest.mark.parametrize("images", [np.zeros((1, 8, 9), np.uint8), np.zeros((1, 8, 8))])
def test_images_of_another_shape_are_refused(finished, images):
    with pytest.raises(UserError, match=r"this model reads uint8 \[N, 8, 8\]"):
        lstm_jax.load(finished).predict(images)


def test_predictions_are_lines_or_json_and_show_the_rows(finished, tmp_path, test_split):
    path = tmp_path / "digit.png"
    Image.fromarray(test_split["images"][0]).resize((64, 64)).save(path)
    plain, rows, as_json = quiet(), quiet(), quiet()
    predict(finished, PredictOptions((str(path),)), plain)
    predict(finished, PredictOptions((str(path),), by_time_step=True), rows)
    predict(finished, PredictOptions((str(path),), json=True, by_time_step=True), as_json)
    answer = json.loads(as_json.file.getvalue())
    assert plain.file.getvalue().startswith(f"{path}: {answer['digit']} (")
    assert len(rows.file.getvalue().splitlines()) == 9
    assert np.argmax(answer["by_step"][-1]) == answer["digit"]
    assert sum(answer["probabilities"]) == pytest.approx(1, abs=1e-4)


def test_one_bad_file_does_not_stop_the_others(finished, tmp_path, test_split, capsys):
    for index in range(2):
        Image.fromarray(test_split["images"][index]).save(tmp_path / f"{index}.png")
    (tmp_path / "1_bad.png").write_text("no picture")
    (tmp_path / "none").mkdir()
    console, none = quiet(), str(tmp_path / "none")
    with pytest.raises(UserError, match="3 of 5 inputs could not be read"):
        predict(finished, PredictOptions((none, str(tmp_path), "absent.png")), console)
    answers, complaints = console.file.getvalue().splitlines(), capsys.readouterr().err.splitlines()
    assert [line.split(": ")[0] for line in answers] == [f"{tmp_path}/{i}.png" for i in (0, 1)]
    bad = [none, f"{tmp_path}/1_bad.png", "absent.png"]
    assert [line.split(": ")[1] for line in complaints] == bad


def test_what_is_doubtful_is_said(finished, tmp_path, test_split):
    """An answer that is hardly one, and two digits read as one."""
    trained = lstm_jax.load(finished)
    sure = trained.probabilities(test_split["images"]).max(axis=1)
    images = test_split["images"][[np.argmin(sure), np.argmax(sure)]]
    sheet = np.concatenate([np.pad(image, 4) for image in images], axis=1)
    for name, image in (("unsure", images[0]), ("sure", images[1]), ("two", sheet)):
        Image.fromarray(255 - image).save(tmp_path / f"{name}.png")
    console = quiet()
    predict(finished, PredictOptions((str(tmp_path),), json=True), console)
    sure, two, unsure = [json.loads(line) for line in console.file.getvalue().splitlines()]
    assert sure["notes"] == []
    assert "not sure" in unsure["notes"]
    assert "2 drawings seem to be on it, read as one" in two["notes"]


def test_an_array_on_stdin(finished, test_split, monkeypatch):
    def feed(data):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        console = quiet()
        predict(finished, PredictOptions(("-",)), console)
        return console.file.getvalue().splitlines()

    saved = io.BytesIO()
    np.save(saved, test_split["images"][:5])
    wanted = lstm_jax.load(finished).predict(test_split["images"][:5])
    assert [int(line.split()[1]) for line in feed(saved.getvalue())] == list(wanted)
    with pytest.raises(UserError, match="stdin is no array"):
        feed(b"not an array")
