"""Texts from files, a vocabulary of training alone, masks, a task that is solved, sentences asked.

One size for all: a model of 8 units in both directions, texts of up to 8 words.
"""

import gzip
import io
import json
import unicodedata
from collections import Counter
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow_datasets as tfds
from trained_runs import train_in_memory

from lstm_jax.config.experiment import Experiment
from lstm_jax.data import tfds_sets, tokens
from lstm_jax.data.columns import read_rows
from lstm_jax.data.dataset import say_nothing
from lstm_jax.data.files import read_text
from lstm_jax.data.labelled_splits import SPLITS, TENTHS
from lstm_jax.data.readers import read_table
from lstm_jax.data.text import LabelledTexts, load_texts, read_texts
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.predict import inference, text
from lstm_jax.predict.predict import PredictOptions
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.report.figures.text import answer_figures, ensemble_row
from lstm_jax.tasks.text import Text

pytestmark = pytest.mark.usefixtures("fast_compile")

WORDS = ["the", "a", "film", "is", "was", "long", "short", "old", "new", "plot"]


def lines(count=200):
    """Texts of 2 to 8 words; a label says whether the word `good` is among them."""
    rng = np.random.RandomState(0)
    labelled = []
    for number in range(count):
        text = list(rng.choice(WORDS, rng.randint(2, 8)))
        if number % 2:
            text.insert(rng.randint(len(text) + 1), "good")
        labelled.append((str(number % 2), f"{' '.join(text)} {number}"))
    return labelled


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "reviews.tsv"
    path.write_text("".join(f"{label}\t{text}\n" for label, text in lines()))
    return path


@pytest.fixture(scope="module")
def trained(file):
    """A model that was trained on the file, as `predict` has it, and its score on the test."""
    task = Text(dataset=str(file), pooling="mean", word_dropout=0.1, max_length=8)
    member = Experiment(
        task=task, hidden_size=8, bidirectional=True, kernel_init="orthogonal", batch_size=16,
        microbatches=2, learning_rate=0.02, total_examples=16 * 150,
    )  # fmt: skip
    dataset = task.load(say_nothing)
    model, state, programs = train_in_memory(member, dataset)
    sums = programs.score(state.params, dataset.test)
    return model, dataset, float(sums.metric[0] / sums.weight[0])


# Files.


@pytest.mark.parametrize(
    ("content", "printed"),
    [
        (b"1\tgood\n0\tbad\tvery\n", "line 2: 3 cells, and line 1 has 2; a tab separates cells"),
        (b"1\tgood\n\nnone\n", "line 3: 1 cells, and line 1 has 2"),
        (b"1\tgood\n0\tb\xe4d\n", "line 2 is not UTF-8 .*byte 0xe4.*--task.encoding"),
        (b"\n\n", "has 0 columns"),
        (b"1\tgood\tvery\n", "has 3 columns, 1, good, very: say which one is the label"),
        (b"1\t" + b"x" * 1_000_001, "line 1 has 1,000,003 characters"),
    ],
)
def test_a_mistake_in_a_file_is_one_line_that_says_where(tmp_path, content, printed):
    path = tmp_path / "bad.tsv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=printed) as caught:
        read_texts(str(path), say_nothing)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_endings_are_read_in_any_case_and_other_files_are_told_what_to_be(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = "".join(f"{label}\t{text}\n" for label, text in lines(40))
    for name in ("REVIEWS.TSV", "reviews", "reviews.jsonl"):
        (tmp_path / name).write_text(content)
    assert read_texts("REVIEWS.TSV", say_nothing) == read_texts("./reviews", say_nothing)
    with pytest.raises(UserError, match=r"reviews\.jsonl, line 1: not JSON"):
        read_texts("reviews.jsonl", say_nothing)
    with pytest.raises(EnvironmentProblem, match=r"absent\.parquet cannot be read: No such file"):
        read_texts("absent.parquet", say_nothing)
    with pytest.raises(
        UserError, match=r"There is a file reviews, read as ./reviews: .* a label and a text"
    ):
        read_texts("reviews", say_nothing)


def test_packed_lines_are_read_alike_and_omissions_are_reported(tmp_path):
    content = "\ufeff1\tgood \r\n\r\n0\tbad\r\n0\t\r\n1\tgood\r\n0\tbad".encode()
    plain, packed = tmp_path / "a.tsv", tmp_path / "a.tsv.gz"
    plain.write_bytes(content)
    packed.write_bytes(gzip.compress(content))
    messages = []
    for path in (plain, packed):
        table = read_table(path, say=messages.append)
        assert read_rows(table, ["1", "2"], messages.append) == [("1", "good"), ("0", "bad")]
    assert [line.split(": ")[1] for line in messages[:3]] == [
        "left out an empty line 1 time (line 2)",
        "left out a line with an empty column 1 time (line 4)",
        "left out a repeated line 2 times (line 5 and others)",
    ]


def test_a_text_is_a_file_or_all_files_of_a_pattern_by_name(tmp_path):
    (tmp_path / "b.txt").write_text("two")
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "c.gz").write_bytes(gzip.compress(b"three")[:-4])
    assert read_text(tmp_path / "*.txt") == b"one\ntwo"
    assert read_text(tmp_path / "a.txt") == b"one"
    with pytest.raises(UserError, match="is a folder; give a pattern"):
        read_text(tmp_path)
    with pytest.raises(UserError, match="there is no such file"):
        read_text(tmp_path / "nothing.txt")
    with pytest.raises(EnvironmentProblem, match=r"c\.gz: is damaged"):
        read_text(tmp_path / "c.gz")


# Splits and the vocabulary.


def test_the_vocabulary_sees_training_text_alone(tmp_path, trained):
    """A word that is often in validation and test alone is not known."""
    splits, _, _ = read_texts(trained[0].member.task.dataset, say_nothing)
    held_out = {text for split in ("validation", "test") for _, text in splits[split]}
    assert len(held_out) == 40
    count = Counter(word for _, text in splits["train"] for word in text.split())
    vocabulary = trained[1].metadata["vocabulary"]
    assert {*WORDS, "good"} < set(vocabulary)
    known = vocabulary[len(tokens.TEXT_SPECIAL) :]
    assert known == sorted((w for w in count if count[w] > 1), key=lambda w: (-count[w], w))


def test_a_text_of_training_is_removed_from_the_test_and_that_is_reported(tmp_path):
    path, kept = tmp_path / "twice.tsv", lines(40)
    path.write_text("".join(f"{label}\t{text}\n" for label, text in kept))
    splits, classes, rule = read_texts(str(path), say_nothing)
    assert [len(splits[name]) for name in SPLITS] == [32, 4, 4]
    assert classes == ["0", "1"]
    assert rule == f"of each class of the lines, by a hash of the text, {TENTHS}"
    # Of the other class, and in capitals: in some split it is there twice.
    shouted = [(str(1 - int(label)), f" {text.upper()}") for label, text in kept]
    path.write_text("".join(f"{label}\t{text}\n" for label, text in kept + shouted[1::2]))
    messages = []
    splits, _, _ = read_texts(str(path), messages.append)
    contents = [{text.strip().lower() for _, text in splits[name]} for name in SPLITS]
    assert not contents[0] & contents[1]
    assert not (contents[0] | contents[1]) & contents[2]
    assert any("duplicates of texts in the splits before it" in message for message in messages)


@pytest.mark.parametrize("num_classes", [2, 5])
def test_a_pattern_in_the_order_of_the_labels_is_not_one_of_the_split(tmp_path, num_classes):
    """Labels that take turns; and a label with one text is in training, wherever it stands."""
    path = tmp_path / "turns.tsv"
    texts = [f"{'abcde'[i % num_classes]}\ttext {i}" for i in range(400)]
    path.write_text("\n".join(texts))
    splits, _, _ = read_texts(str(path), say_nothing)
    for name, share in (("train", 320), ("validation", 40), ("test", 40)):
        counts = Counter(label for label, _ in splits[name])
        assert set(counts.values()) == {share // num_classes}
    texts[9] = "rare\ttext 9"
    path.write_text("\n".join(texts))
    messages = []
    splits, _, _ = read_texts(str(path), messages.append)
    assert ("rare", "text 9") in splits["train"]
    assert messages == [f"{path}: the class `rare` has one text: is it a header, or a slip?"]


@pytest.mark.parametrize("header", ["label\ttext", "Sentiment\tReview", '"class"\t"sentence"'])
def test_a_header_is_no_example(tmp_path, header):
    path, messages = tmp_path / "head.tsv", []
    body = "".join(f"{label}\t{text}\n" for label, text in lines(40))
    path.write_text(body)
    without = load_texts(str(path), "words", 100, 1, 8, say_nothing)
    path.write_text(f"{header}\n{body}")
    found = load_texts(str(path), "words", 100, 1, 8, messages.append)
    assert found.fingerprint == without.fingerprint
    (message,) = messages
    assert "the first line names the columns" in message
    turned = "".join(f"{text}\t{label}\n" for label, text in lines(40))
    path.write_text("text\tlabel\n" + turned)
    assert load_texts(str(path), "words", 100, 1, 8, say_nothing).fingerprint == without.fingerprint
    path.write_text("Etikett\tSatz\n" + body)  # a language that we do not know
    read_texts(str(path), messages.append)
    assert messages[1:] == [f"{path}: the class `Etikett` has one text: is it a header, or a slip?"]
    path.write_text("news\ttext\n" * 2 + f"news\tsentence\n{body}")  # a class of that name
    assert "news" in read_texts(str(path), say_nothing).classes


def test_labels_that_differ_in_their_spelling_alone_are_named(tmp_path):
    path, messages = tmp_path / "mixed.tsv", []
    labels = ("1", "1.0", "Pos", "pos", "0")
    path.write_text("".join(f"{labels[i % 5]}\ttext {i}\n" for i in range(100)))
    assert len(read_texts(str(path), messages.append).classes) == 5
    assert [message.split(": ")[1].split(" are ")[0] for message in messages] == [
        "the labels `1` and `1.0`", "the labels `Pos` and `pos`",
    ]  # fmt: skip


def test_a_file_without_classes_or_too_short_is_refused(tmp_path):
    path = tmp_path / "few.tsv"
    path.write_text("1\tgood\n0\tbad\n")
    with pytest.raises(UserError, match="no text for validation and test"):
        read_texts(str(path), say_nothing)
    path.write_text("".join(f"1\ttext {i}\n" for i in range(20)))
    with pytest.raises(UserError, match="1 different labels, not 2 to 1,000"):
        read_texts(str(path), say_nothing)


def test_tokens_vocabulary_and_truncation():
    words = tokens.tokenize_text("It's  GOOD, isn't it?", "words")
    assert words == ["it's", "good", ",", "isn't", "it", "?"]
    assert tokens.tokenize_text("a \n b", "characters") == ["a", " ", "b"]
    symbols = tokens.text_vocabulary([["b", "a"], ["a", "b", "c"], ["a"]], max_size=4, min_count=2)
    assert symbols == [*tokens.TEXT_SPECIAL, "a", "b"]
    rows = tokens.encode_texts([["c", "b", "a"], ["b"]], symbols, 2)
    assert rows.tolist() == [[3, 2], [3, 0]]  # a text keeps its end
    assert tokens.text_bucket_lengths([1, 2, 3, 30], 20) == [4, 20]


@pytest.mark.parametrize(
    "word",
    [
        "हिन्दी", "সুন্দর", "தமிழ்", "cafe\u0301", "İstanbul", "مُحَمَّد", "שָׁלוֹם", "❤\ufe0f",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian, with a joiner
    ],
)  # fmt: skip
def test_combining_marks_belong_to_their_word(word):
    """However it is typed, it is one symbol, and joining gives it back."""
    for form in ("NFC", "NFD"):
        typed = unicodedata.normalize(form, word)
        composed = unicodedata.normalize("NFC", word)
        assert tokens.tokenize_text(f"a {typed}.", "words") == ["a", tokens.lower(composed), "."]
        symbols = tokens.tokenize_sentence(f"a {typed}.", "words")
        assert symbols == [" a", f" {composed}", "."]
        for units in ("words", "characters"):
            assert tokens.join_sentence(tokens.tokenize_sentence(typed, units)) == composed
    assert tokens.lower("İZMİR") == "izmir"


def test_a_script_without_spaces_is_named_with_the_option_for_it():
    long = [
        ["ภาษาไทยดีมากเลยครับ", "!"],
        ["很好吃", "!", "推荐购买", "。", "10"],
        ["とても良い", "映画でした"],
    ]
    for texts in (
        *([words] for words in long),
        [["非常", "好看", "的", "电影"], ["国际化"]],
        [["ภาษา", "ไทย", "ดี"]],
        [["这", "部", "电影"]],
        [["internationalisation"]],
    ):
        messages = []
        tokens.say_unspaced("own", texts, "words", messages.append)
        tokens.say_unspaced("own", texts, "characters", pytest.fail)
        assert ["--task.units characters" in message for message in messages] == [
            True for _ in range(texts[0] in long)
        ]


# TFDS: features as the sets have them, without the half minute that preparing one takes.


class Prepared:
    """A set on disk, as TFDS's builder shows it."""

    def __init__(self, features, splits):
        self.name = self.data_path = "stand_in"
        self.info = SimpleNamespace(features=tfds.features.FeaturesDict(features), splits=splits)

    def as_data_source(self, split):
        return self.info.splits[split]


@pytest.fixture
def on_disk(monkeypatch):
    def put(features, splits):
        monkeypatch.setattr(tfds_sets, "prepared_builder", lambda *_: Prepared(features, splits))

    return put


def test_a_set_of_tfds_is_read_by_its_features(on_disk):
    features = {"description": tfds.features.Text(), "label": tfds.features.ClassLabel(names="ab")}
    splits = {
        name: [{"description": f"text {name} {i}\n".encode(), "label": i % 2} for i in range(20)]
        for name in ("train", "test", "unsupervised")
    }
    on_disk(features, splits)
    loaded = read_texts("ag_news_subset", say_nothing)
    assert [len(loaded.splits[name]) for name in ("train", "validation", "test")] == [18, 2, 20]
    assert loaded.splits["train"][1] == ("1", "text train 1\n")
    assert loaded.rule.startswith("TFDS's test")
    on_disk({"image": tfds.features.Text(), "label": tfds.features.ClassLabel(names="ab")}, splits)
    with pytest.raises(UserError, match="mnist has no feature text or sentence or description"):
        read_texts("mnist", say_nothing)
    with pytest.raises(UserError, match="expected a file, or a name"):
        read_texts("no name", say_nothing)


# The model.


def test_a_solvable_task_is_solved(trained):
    assert trained[2] == 1.0
    train, test = (getattr(trained[1], split)["labels"] for split in ("train", "test"))
    commonest = np.bincount(train).argmax()
    assert trained[0].member.task.trivial_score(trained[1]) == np.mean(test == commonest)


def test_padding_moves_no_output(trained):
    """A text's answer is the same whatever stands behind it, and however wide its batch is."""
    model, dataset, _ = trained
    batch = {name: array[:16] for name, array in dataset.test.items()}
    inside = np.arange(batch["symbols"].shape[1]) < batch["lengths"][:, None]
    assert not inside.all()
    assert inside.sum(axis=1).min() <= dataset.metadata["widths"][0]
    garbage = {**batch, "symbols": np.where(inside, batch["symbols"], np.uint16(3))}
    answers = [
        np.asarray(inference.compiled_answers(model.spec, model.ready, model.fused, each))
        for each in (batch, garbage)
    ]
    np.testing.assert_array_equal(*answers)
    short = batch["lengths"] <= dataset.metadata["widths"][0]
    few = model.member.task.truncate(batch, dataset.metadata["widths"][0])
    cut = np.asarray(inference.compiled_answers(model.spec, model.ready, model.fused, few))
    np.testing.assert_allclose(cut[short], answers[0][short], atol=1e-6)


def test_word_dropout_makes_its_share_unknown_and_touches_nothing_else():
    task = Text(word_dropout=0.25)
    batch = {"symbols": jnp.full((100, 100), 7, jnp.uint16), "lengths": jnp.full(100, 100)}
    read = task.augment(batch, jax.random.key(0))
    symbols = np.asarray(read["symbols"])
    assert set(np.unique(symbols)) == {tokens.TEXT_UNKNOWN, 7}
    assert abs(np.mean(symbols == tokens.TEXT_UNKNOWN) - 0.25) < 0.02
    assert read["lengths"] is batch["lengths"]
    assert Text().augment(batch, jax.random.key(0)) is batch


def test_a_sentence_is_answered_and_the_belief_moves_word_by_word(trained, tmp_path):
    model, _, _ = trained
    printed = []
    text.predict(
        model, PredictOptions(("The film is GOOD zzz",), show_each_time_step=True), printed.append
    )
    assert len(printed) == 6
    assert printed[-1].startswith("1 (")
    assert printed[-1].endswith("The film is GOOD zzz; not known: zzz")
    text.predict(model, PredictOptions(("xx yy",)), printed.append)
    assert printed[-1].endswith("not known: xx, yy; no word of it was in training: not sure")
    (tmp_path / "new.csv").write_text("text\ngood\n")  # its first line and its quotes are no texts
    with pytest.raises(UserError, match="is a table, not a text; give - and its texts alone"):
        text.predict(model, PredictOptions((str(tmp_path / "new.csv"),)), printed.append)
    with pytest.raises(
        UserError, match="is a file, not a text; for an answer to each of its lines"
    ):
        text.predict(model, PredictOptions((__file__,)), printed.append)
    printed.clear()
    options = PredictOptions(("the film is good",), show_each_time_step=True, json=True)
    text.predict(model, options, printed.append)
    answer = json.loads(printed[0])
    assert [piece for piece, _ in answer["by_step"]] == ["the", "film", "is", "good"]
    beliefs = [row["1"] for _, row in answer["by_step"]]
    assert beliefs[3] > 0.9 > 0.5 > beliefs[2]
    assert answer["probabilities"] == answer["by_step"][-1][1]
    with pytest.raises(UserError, match=r"^predict: ' ' has no word that could be read$"):
        text.predict(model, PredictOptions((" ",)), printed.append)
    answers = model.predict(["the film is good", "the film"])
    assert answers.names == ["1", "0"]
    assert answers.probabilities[0, 1] == pytest.approx(answer["probabilities"]["1"], abs=1e-5)
    with pytest.raises(UserError, match="give a text, or a list of texts"):
        model.predict([7])
    with pytest.raises(UserError, match="time step by time step: it reads backwards too"):
        model.stream()


def test_the_report_shows_texts_an_ensemble_and_simpler_models(trained, monkeypatch):
    model, dataset, _ = trained
    monkeypatch.setattr(TrainedModel, "over_seeds", lambda self: iter([self, self]))
    elements = {each.name: each for each in answer_figures(model, dataset, "seed 0")}
    assert {"examples", "belief", "confusion", "simpler"} <= elements.keys()
    for table in (elements["examples"], elements["belief"], elements["simpler"]):
        assert {len(row) for row in table.rows} == {len(table.header)}
    text, label, answer = elements["examples"].rows[0]
    assert label == str(int("good" in text.split()))
    # The belief after the last word is the probability of the answer.
    sure = float(elements["belief"].rows[-1][1])
    assert answer == f"{label if sure > 0.5 else 1 - int(label)} ({max(sure, 1 - sure):.0%})"
    ensemble, trivial, bayes = elements["simpler"].rows
    assert ensemble[0].startswith("ensemble of 2 seeds")
    assert trivial[2] == f"{model.member.task.trivial_score(dataset):.3f}"
    assert 0.5 < float(bayes[2]) <= 1


def test_an_ensemble_answers_with_the_mean_probability_of_all_seeds(trained, monkeypatch):
    """Two seeds against one: a vote would follow the two, the mean follows the one that is sure."""
    model, _, _ = trained
    examples = [("1", "good"), ("1", "good"), ("0", "good")]
    texts = LabelledTexts({"validation": examples, "test": examples}, ["0", "1"], "")
    of_one = {"unsure": [[0.6, 0.4]] * 3, "sure": [[0.1, 0.9]] * 3}
    seeds = [SimpleNamespace(name=name) for name in ("unsure", "unsure", "sure")]
    monkeypatch.setattr(TrainedModel, "over_seeds", lambda self: iter(seeds))
    monkeypatch.setattr(text, "probabilities", lambda seed, pieces: np.array(of_one[seed.name]))
    name = "ensemble of 3 seeds: mean of their probabilities"
    assert ensemble_row(model, texts) == [[name, "0.667", "0.667"]]
    monkeypatch.setattr(TrainedModel, "over_seeds", lambda self: iter([self]))
    assert ensemble_row(model, texts) == []


@pytest.mark.parametrize("as_json", [False, True])
def test_each_line_of_stdin_has_one_answer_beside_it(trained, monkeypatch, as_json):
    """Empty ones too; a byte order mark belongs to no word, and a line ends with \\n alone."""
    content = "\ufeffgood film\n\nthe\u2028plot\r\n  \nold\x0cfilm\n".encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    said = []
    with pytest.raises(UserError, match=r"^2 of 5 texts could not be read"):
        text.predict(trained[0], PredictOptions(("-",), json=as_json), said.append)
    assert len(said) == 5
    for number in (2, 4):
        reason = "has no word that could be read"
        assert f"line {number} of stdin: " in said[number - 1]
        assert reason in said[number - 1]
    assert not any("not known" in line for line in said)
    if as_json:
        assert [json.loads(line)["text"] for line in said][:2] == ["good film", ""]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"good\nb\xe4d\n")))
    with pytest.raises(UserError, match="stdin: line 2 is not UTF-8"):
        text.predict(trained[0], PredictOptions(("-",)), said.append)
