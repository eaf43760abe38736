"""Trained members are scored on other conditions and data, on record, or refused in one line."""

import json
from dataclasses import replace

import numpy as np
import pytest

import lstm_jax
from lstm_jax import Adding, Experiment, Forecast, Text, Translation, make_dataset
from lstm_jax.cli.main import main
from lstm_jax.cli.parse import parse
from lstm_jax.data.time_series import gather_windows
from lstm_jax.errors import UserError
from lstm_jax.predict.scores import ScoredElsewhere, conditions, read_scores, table_of
from lstm_jax.report.figures.scores import score_figures
from lstm_jax.tasks.task import ModelSpec

pytestmark = pytest.mark.usefixtures("fast_compile")

SMALL = {"hidden_size": 4, "batch_size": 8, "microbatches": 1, "total_steps": 4, "num_evals": 1}
ADDING = Experiment(task=Adding(length=6), seed=(0, 1), **SMALL)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    return lstm_jax.run(ADDING, runs_dir=tmp_path_factory.mktemp("runs"), silent=True)


@pytest.fixture(scope="module")
def scores(outcome):
    return outcome.score(length=(6, 9, 20))


def test_the_score_on_the_condition_of_training_is_the_result(outcome, scores):
    assert scores["length"].tolist() == [6, 9, 20] * 2
    tests = [result.test["squared_error"] for result in outcome.members]
    assert scores["test_squared_error"][[0, 3]].tolist() == tests
    assert len({*scores["test_squared_error"].tolist()}) == 6


def test_scores_are_on_record_with_their_identity_and_stand_in_the_report(outcome, scores):
    files = sorted((outcome.directory / "scores").iterdir())
    assert len(files) == 6
    content = json.loads(files[0].read_text())
    assert content["identity"].keys() >= {"versions", "data", "instruction_set"}
    assert content["trained_under"] in outcome.record.identities
    notes = []
    table, figure = score_figures(outcome.record, outcome.directory, notes.append)
    assert table.header == ["scored at length", *table.header[1:]]
    assert [row[0] for row in table.rows] == ["6", "9", "20"]
    assert "Squared error by length" in figure.title
    assert figure.drawing.csv.count("all members,") == 3
    assert notes == []


def test_an_interval_is_cut_where_the_metric_ends(outcome):
    (first, *_), errors = outcome.members, (0.0, 0.1, 1.0)
    scores = [ScoredElsewhere(first, {"length": 9}, {}, {"squared_error": e}, 1.0) for e in errors]
    header, (row,) = table_of(outcome.record, scores)
    assert "[0.0000, " in row[header.index("test squared error")]


def test_a_file_that_was_changed_or_is_of_other_parameters_is_not_used(outcome, scores):
    members, notes = dict(outcome.record.results), []
    first, second = members
    members[first] = replace(members[first], parameters_sha256="0" * 64)
    path = next((outcome.directory / "scores").glob(f"{second}-*"))
    before = path.read_text()
    path.write_text(before.replace('"test"', '"text"', 1))
    record = replace(outcome.record, results=members)
    assert len(read_scores(record, outcome.directory, notes.append)) == 2
    assert len(notes) == 4
    path.write_text(before)


def test_the_command_scores_one_member_and_prints_a_table(outcome, capsys):
    member = outcome.members[1].member.digest
    run_dir = str(outcome.directory)
    main(["score", run_dir, "--task.length", "7", "8", "--member", member[:6]])
    out = capsys.readouterr().out
    assert "scored at length" in out
    assert len(list((outcome.directory / "scores").glob(f"{member}-*"))) == 5
    command = parse(["score", run_dir, "--task.length=7", "--task.dataset", "a", "b"])
    assert command.values == {"length": ("7",), "dataset": ("a", "b")}
    for words in ([], ["--task.length"], ["--task.length", "7", "--task.length", "8"]):
        with pytest.raises(UserError, match=r"score: say what|has no value|is there twice"):
            parse(["score", run_dir, *words]).check()


def test_every_data_set_is_adapted_to_that_of_training(outcome, monkeypatch):
    def refuse(task, dataset, metadata):
        raise UserError(f"{dataset.name} differs from {metadata['shapes']}")

    monkeypatch.setattr(Adding, "adapt_data", refuse)
    with pytest.raises(UserError, match=r"adding differs from .*'numbers': \[6\]"):
        outcome.score(length=7)


def test_what_cannot_be_scored_is_refused_in_one_line(outcome, monkeypatch):
    with pytest.raises(UserError, match=r"no field 'lenght'; its fields are len.*\. Did you mean"):
        outcome.score(lenght=8)
    with pytest.raises(UserError, match="length: 1 is not between 2"):
        outcome.score(length=1)
    monkeypatch.setattr(
        Adding, "model_spec", lambda task, metadata: ModelSpec(2, 1 if task.length == 6 else 2)
    )
    with pytest.raises(UserError, match=r"task\.length 7: needs a model of another shape"):
        outcome.score(length=7)
    data = make_dataset("words", *[{"x": np.zeros(2)}] * 3, target_vocabulary=["a", "b"])
    with pytest.raises(UserError, match=r"words: target vocabulary \(2, there 1\): not as"):
        Translation().adapt_data(data, {"target_vocabulary": ["a"]})


def test_a_member_trained_in_epochs_is_scored_on_data_of_any_size():
    trained = Experiment(
        task=Text(dataset="one.tsv"), total_epochs=3, batch_size=10, microbatches=1
    )
    member = trained.with_data_sizes({trained.task.data_key: 50})
    assert member.num_steps == 15
    values = {"dataset": ["other.tsv", "more.tsv"]}
    assert [each.task.dataset for each in conditions(member, values).members()] == values["dataset"]


def test_another_file_of_texts_is_read_with_the_vocabulary_and_classes_of_training(tmp_path):
    words = ["good", "fine", "bad", "poor", "a", "film", "it", "is"]

    def write(name, classes, extra):
        rng = np.random.default_rng(len(name))
        lines = [
            f"{rng.choice(classes)}\t{' '.join(rng.choice([*words, *extra], 4))} {i}"
            for i in range(60)
        ]
        (tmp_path / name).write_text("\n".join(lines))
        return Text(dataset=str(tmp_path / name), max_length=8)

    trained = write("one.tsv", ["no", "yes"], ["old"]).load(print)
    task = write("two.tsv", ["no", "yes"], ["new", "other"])
    adapted = task.adapt_data(task.load(print), trained.metadata)
    known = trained.metadata["vocabulary"]
    assert adapted.metadata["vocabulary"] == known
    read = {known[i] for text in adapted.test["symbols"] for i in text}
    assert read >= {"good", "film"}
    assert not read & {"new", "other"}
    classes = write("three.tsv", ["no", "perhaps", "yes"], [])
    with pytest.raises(UserError, match=r"three\.tsv: classes \(3, there 2\): not as in"):
        classes.adapt_data(classes.load(print), trained.metadata)


def test_another_series_is_read_in_the_units_of_training(tmp_path):
    files = {}
    for name, scale, shift in (("one", 1.0, 0.0), ("other", 5.0, 100.0)):
        x = np.sin(np.arange(300) / 5) * scale + shift
        (tmp_path / f"{name}.csv").write_text("x\n" + "\n".join(f"{value:.9g}" for value in x))
        files[name] = str(tmp_path / f"{name}.csv")
    trained, other = (Forecast(file=f, window=4, horizon=2).load(print) for f in files.values())
    task = Forecast(file=files["other"], window=4, horizon=2)
    adapted = task.adapt_data(other, trained.metadata)
    mean, scale = trained.metadata["target_mean"], trained.metadata["target_scale"]
    values = gather_windows(adapted.test, np.arange(20), 4, 2)["y"] * scale + mean
    expected = (
        gather_windows(other.test, np.arange(20), 4, 2)["y"] * other.metadata["target_scale"]
        + other.metadata["target_mean"]
    )
    np.testing.assert_allclose(values, expected, rtol=1e-5)
