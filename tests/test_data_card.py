"""`data` says what was read, and the trivial score stands beside the scores of a run."""

from __future__ import annotations

import re

import numpy as np
import pytest
from trained_runs import made_up_record, quiet

from lstm_jax import Experiment, Forecast, Images, Text, make_dataset, run
from lstm_jax.cli.main import main
from lstm_jax.config.search import Study
from lstm_jax.data.dataset import say_nothing
from lstm_jax.report.figures.data import data_tables
from lstm_jax.report.summary import summary
from lstm_jax.report.template import render
from lstm_jax.runs.data_card import (
    best_trivial_score,
    class_counts,
    data_card,
    describe,
    trivial_scores,
)
from lstm_jax.runs.datasets import load_data
from lstm_jax.runs.json_files import check
from lstm_jax.runs.record import CARD
from lstm_jax.tasks.captions import Captions
from lstm_jax.tasks.language import Language
from lstm_jax.tasks.memory import Adding
from lstm_jax.tasks.translation import Translation


def lines_of(task):
    return list(describe(data_card(task, task.load(say_nothing))))


def examples_of(task):
    return [line.split(": ", 1)[1] for line in lines_of(task) if line.startswith("training exam")]


def warnings_of(task):
    return [line for line in lines_of(task) if line.startswith("warning")]


def test_the_command_prints_counts_that_add_up_and_makes_no_directory(tmp_path, capsys):
    main(["data", "digits", "--runs-dir", str(tmp_path / "runs")])
    output = capsys.readouterr().out
    tables = [line.split() for line in output.splitlines()]
    totals = next(words[1:] for words in tables if words[:1] == ["examples"])
    counts = [words[2:] for words in tables if words[:1] == ["class"]]
    assert len(counts) == 10
    for column, total in enumerate(totals):
        assert sum(int(row[column]) for row in counts) == int(total.replace(",", ""))
    assert "images: uint8 [8, 8]" in output
    assert "trivial accuracy on the test: always `1` 0.1" in output
    assert not (tmp_path / "runs").exists()


def test_data_that_run_refuses_are_shown_and_the_reason_with_them(tmp_path, capsys):
    main(["data", "digits", "--batch-size", "2048", "--runs-dir", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "class 7" in printed
    assert "warning: `run` refuses this experiment: batch_size: 2048 is more than" in printed


def test_a_class_that_a_split_lacks_is_a_warning():
    images = np.zeros((6, 2, 2), np.uint8)
    split = {"images": images, "labels": np.array([0, 0, 0, 1, 1, 2], np.int32)}
    few = {"images": images[:2], "labels": np.array([0, 2], np.int32)}
    dataset = make_dataset("made", split, split, few, num_classes=3, classes=["a", "b", "c"])
    assert class_counts(dataset) == {"a": [3, 3, 1], "b": [2, 2, 0], "c": [1, 1, 1]}
    found = [
        line for line in describe(data_card(Images(dataset="made"), dataset)) if "warning" in line
    ]
    assert found == ["warning: test has no example of the class b"]


def test_labels_that_are_no_classes_are_not_counted():
    split = {"labels": np.array([0.5, -1.5], np.float32)}
    dataset = make_dataset("made", split, split, split)
    assert class_counts(dataset) == {}


def test_examples_that_each_step_draws_are_not_counted(capsys, tmp_path):
    main(["data", "copying", "--runs-dir", str(tmp_path)])
    assert re.search(r"examples +new in each step +1,000 +1,000", capsys.readouterr().out)


@pytest.mark.parametrize("command", ["run", "data"])
@pytest.mark.parametrize("method", ["trivial_score(self, dataset)", "model_spec(self, metadata)"])
def test_a_mistake_in_a_task_of_ones_own_is_one_line_and_makes_no_directory(
    command, method, tmp_path, capsys
):
    file = tmp_path / "bad.py"
    file.write_text(
        "from dataclasses import dataclass\nfrom lstm_jax import Experiment, Images\n"
        f"@dataclass(frozen=True)\nclass Bad(Images):\n    def {method}:\n        return 1 / 0\n"
        "experiment = Experiment(task=Bad(dataset='digits'), total_steps=2, hidden_size=4)\n"
    )
    with pytest.raises(SystemExit) as ended:
        main([command, str(file), "--runs-dir", str(tmp_path / "runs")])
    assert ended.value.code == 2
    assert "bad.py, line 6: ZeroDivisionError: division by zero" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_images_are_shown_with_their_class_and_their_values():
    images = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    split = {"images": images, "labels": np.array([1, 0], np.int32)}
    dataset = make_dataset("made", split, split, split, num_classes=2, classes=["no", "yes"])
    first, second = (
        line for line in describe(data_card(Images(dataset="made"), dataset)) if "training" in line
    )
    assert first.endswith("class yes, 2 rows of 2 pixels from 0 to 3, mean 1.5")
    assert second.endswith("class no, 2 rows of 2 pixels from 4 to 7, mean 5.5")


@pytest.mark.parametrize("white", [1, 2, 255])
def test_images_of_zeros_and_ones_are_a_warning(white):
    images = white * np.eye(2, dtype=np.uint8)[None].repeat(2, axis=0)
    split = {"images": images, "labels": np.array([1, 0], np.int32)}
    dataset = make_dataset("made", split, split, split, num_classes=2)
    warnings = data_card(Images(dataset="made"), dataset)["warnings"]
    assert [line.startswith("pixels are 0 or 1 of 255") for line in warnings] == [True] * (
        white == 1
    )


def test_texts_are_shown_as_the_network_reads_them(tmp_path):
    file = tmp_path / "texts.tsv"
    words = {"good": "fine", "bad": "dull"}
    lines = [f"{c}\tFilm {i}, {word}!" for i in range(200) for c, word in words.items()]
    file.write_text("\n".join(lines))
    shown = examples_of(Text(dataset=str(file), min_count=1, max_vocabulary=1000))
    assert len(shown) == 3
    for line in shown:
        name, word = re.fullmatch(r"class (\w+), 5 words: film \d+ , (\w+) !", line).groups()
        assert words[name] == word


def test_texts_of_unknown_words_are_a_warning(tmp_path):
    file = tmp_path / "texts.tsv"
    file.write_text("\n".join(f"{'ab'[i % 2]}\tword{i} other{i}" for i in range(400)))
    found = [line for line in warnings_of(Text(dataset=str(file))) if "tokens" in line]
    assert [("100% of the tokens of" in line) for line in found] == [True, True]
    assert "--task.min-count 1" in found[0]


def test_a_window_is_shown_in_the_units_of_the_file(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("a,b,c\n" + "\n".join(f"{100 + i},7,{i % 5}" for i in range(200)))
    task = Forecast(file=str(file), target="c", columns="a,b", window=4, horizon=2)
    assert examples_of(task)[0] == "4 rows, the last with a 103, b 7; then c 4, 0"


def test_sentences_and_bytes_are_shown_as_they_stand_in_the_file(tmp_path):
    text = tmp_path / "text.txt"
    text.write_bytes(bytes(range(32, 127)) * 200)
    assert examples_of(Language(dataset=str(text), length=8))[0] == repr(bytes(range(32, 41)))
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("\n".join(f"the cat number {i}\tle chat numéro {i}" for i in range(400)))
    shown = examples_of(Translation(dataset=str(pairs)))
    assert all(
        line.count("the cat number ") == line.count(" -> le chat numéro ") == 1 for line in shown
    )
    assert all(line.split(" -> ")[0].split()[-1] == line.split()[-1] for line in shown)
    assert all(line[:2] == "a " for line in examples_of(Captions(num_scenes=8)))


def test_a_task_without_a_form_for_examples_shows_shapes_and_the_trivial_score():
    found = lines_of(Adding(length=10))
    assert found[0] == "numbers: float32 [10]"
    assert [line for line in found if line.startswith("trivial squared error")]
    assert len(found) == 4


def test_answers_that_need_no_model_are_named_with_their_scores(tmp_path):
    split = {"images": np.zeros((4, 2, 2), np.uint8), "labels": np.array([1, 1, 1, 0], np.int32)}
    dataset = make_dataset("made", split, split, split, num_classes=2, classes=["yes", "no"])
    assert trivial_scores(Images(dataset="made"), dataset) == {"always `no`": 0.75}
    file = tmp_path / "rows.csv"
    file.write_text("y\n" + "\n".join(str(i // 10) for i in range(400)))
    task = Forecast(file=str(file), target="y", window=4)
    dataset = task.load(say_nothing)
    first, last = trivial_scores(task, dataset).items()
    assert first == ("the mean of training", task.trivial_score(dataset))
    assert last[0] == "the last value"
    jumps = np.diff(dataset.test["target"])[dataset.test["first"] + 3]
    np.testing.assert_allclose(last[1], np.mean(jumps.astype(float) ** 2), rtol=1e-5)


def test_the_best_answer_without_a_model_stands_beside_the_score():
    less, more = Forecast(), Images()
    assert best_trivial_score(less, {"the mean": 1.0, "the last value": 0.02}) == 0.02
    assert best_trivial_score(more, {"always `0`": 0.1, "another": 0.3, "none": None}) == 0.3
    assert best_trivial_score(more, {}) is None


def test_an_own_trivial_score_is_not_called_the_commonest_class():
    class Own(Images):
        def trivial_score(self, dataset):
            return 0.25

    split = {"images": np.zeros((1, 2, 2), np.uint8), "labels": np.zeros(1, np.int32)}
    dataset = make_dataset("made", split, split, split, num_classes=1)
    assert [*trivial_scores(Own(), dataset).values()] == [0.25]
    assert "always" not in str(trivial_scores(Own(), dataset))


def test_the_share_of_unknown_tokens_is_shown_where_it_is_small_too(tmp_path):
    file = tmp_path / "texts.tsv"  # each number is there once
    file.write_text("\n".join(f"{'ab'[i % 2]}\tall but the last {i}" for i in range(400)))
    task = Text(dataset=str(file))
    dataset = task.load(say_nothing)
    words = [dataset.metadata["vocabulary"][i] for i in dataset.test["symbols"].ravel() if i]
    share = words.count("<unknown>") / len(words)
    assert share == 0.2
    assert task.describe_data(dataset)[0].endswith(f"{share:.1%} of test")


def test_what_was_said_while_reading_is_on_the_card(tmp_path):
    file = tmp_path / "texts.tsv"
    file.write_text("label\ttext\n" + "\n".join(f"{'ab'[i % 2]}\tword {i}" for i in range(400)))
    study = Study(Experiment(task=Text(dataset=str(file)), hidden_size=4))
    console = quiet()
    _, study, datasets = load_data("own", study, False, console)
    ((key, task),) = study.experiment.data_tasks().items()
    card = data_card(task, datasets[key])
    assert card["notes"] == [f"{file}: the first line names the columns, label, text"]
    assert card["notes"][0] in console.file.getvalue()
    assert datasets[key].fingerprint == task.load(say_nothing).fingerprint


def test_the_page_shows_the_card_escaped():
    images = np.zeros((6, 2, 2), np.uint8)
    split = {"images": images, "labels": np.array([0, 0, 0, 0, 1, 1], np.int32)}
    few = {"images": images[:1], "labels": np.zeros(1, np.int32)}
    names = ["<script>", "b\x1b"]
    dataset = make_dataset("made", split, split, few, num_classes=2, classes=names)
    record = made_up_record(Experiment(task=Images(dataset="made")))
    record.metadata = {"dataset made": {"card": data_card(Images(dataset="made"), dataset)}}
    counts, as_read = data_tables(record)
    assert [*counts.rows[1]] == ["class <script>", "4", "4", "1"]
    assert ("warning", "test has no example of the class b\x1b") in as_read.rows
    section = {"tables": [counts, as_read], "figures": [], "name": "data", "title": "Data"}
    page = render("report.html", **summary(record, []), result=section, sections=[section])
    assert "<script>" not in page
    assert "class &lt;script&gt;" in page
    assert "the class b\\x1b" in page
    assert page.count("training example 1") == 2


@pytest.mark.usefixtures("fast_compile")
def test_run_begins_with_the_card_which_is_on_record(tmp_path, capsys):
    fields = {"hidden_size": 4, "total_steps": 2, "microbatches": 1}
    fields |= {"task": Images(dataset="digits")}
    for name, seeds in {"one": 0, "two": [0, 1]}.items():
        outcome = run(Experiment(**fields, seed=seeds), name=name, runs_dir=tmp_path)
    output = capsys.readouterr().out.splitlines()
    lines = [line for line in output if "test accuracy" in line]
    assert len(lines) == 2
    assert all("(trivial 0.1000)" in line for line in lines)
    assert output[0].startswith("data digits (dataset digits): 1,318 training, 119 validation, 360")
    assert output[1].startswith("10 classes: 0 131/12/35, 1 133/13/36")
    assert output[2] == "trivial accuracy on the test: always `1` 0.1"
    ((key, values),) = outcome.record.metadata.items()
    task = Images(dataset="digits")
    assert values["card"] == data_card(task, task.load(say_nothing))
    assert key == task.data_key
    for name, wrong in {"examples": [1.5], "warnings": "w", "trivial": {"a": "b"}}.items():
        with pytest.raises(ValueError, match=name):
            check(values["card"] | {name: wrong}, CARD)
