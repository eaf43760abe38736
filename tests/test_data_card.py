"""`data` says what was read, and the trivial score stands beside the scores of a run."""

from __future__ import annotations

import re

import numpy as np
import pytest

from lstm_jax import Experiment, Forecast, Images, Text, make_dataset, run
from lstm_jax.cli.main import main
from lstm_jax.data.dataset import say_nothing
from lstm_jax.runs.data_card import class_counts, describe
from lstm_jax.tasks.captions import Captions
from lstm_jax.tasks.language import Language
from lstm_jax.tasks.memory import Adding
from lstm_jax.tasks.translation import Translation


def lines_of(task):
    return list(describe(task, task.load(say_nothing)))


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
    assert "trivial accuracy, of the best answer that ignores the input: 0.1000" in output
    assert not (tmp_path / "runs").exists()


def test_a_class_that_a_split_lacks_is_a_warning():
    images = np.zeros((6, 2, 2), np.uint8)
    split = {"images": images, "labels": np.array([0, 0, 0, 1, 1, 2], np.int32)}
    few = {"images": images[:2], "labels": np.array([0, 2], np.int32)}
    dataset = make_dataset("made", split, split, few, num_classes=3, classes=["a", "b", "c"])
    assert class_counts(dataset) == {"a": (3, 3, 1), "b": (2, 2, 0), "c": (1, 1, 1)}
    found = [line for line in describe(Images(dataset="made"), dataset) if "warning" in line]
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
        line for line in describe(Images(dataset="made"), dataset) if "training" in line
    )
    assert first.endswith("class yes, 2 rows of 2 pixels from 0 to 3, mean 1.5")
    assert second.endswith("class no, 2 rows of 2 pixels from 4 to 7, mean 5.5")


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


@pytest.mark.usefixtures("fast_compile")
def test_the_trivial_score_stands_beside_the_score(tmp_path, capsys):
    fields = {"hidden_size": 4, "total_steps": 2, "task": Images(dataset="digits")}
    for name, seeds in {"one": 0, "two": [0, 1]}.items():
        run(Experiment(**fields, seed=seeds), name=name, runs_dir=tmp_path)
    lines = [line for line in capsys.readouterr().out.splitlines() if "test accuracy" in line]
    assert len(lines) == 2
    assert all("(trivial 0.1000)" in line for line in lines)
