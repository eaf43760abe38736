"""What a classifier of texts does: five examples, its mistakes, and what counting words gets."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lstm_jax.data.dataset import Dataset, say_nothing
from lstm_jax.data.text import LabelledTexts, read_texts
from lstm_jax.predict import text as predictor
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.report import drawing, plots
from lstm_jax.report.drawing import Figure, Table
from lstm_jax.report.figures.model import this_model

EXAMPLES = MISTAKES = 5
SHOWN = 400  # characters of a text
WORDS_SHOWN = 30


def of_answers(trained: TrainedModel, dataset: Dataset, who: str) -> Iterator[Figure | Table]:
    """Yields examples, worst mistakes and confusion on validation, and what simpler models get."""
    task = predictor.text_task(trained)
    texts = read_texts(task.dataset, say_nothing)
    lines, classes = texts.splits["validation"], texts.classes
    pieces = [predictor.tokenize(trained, text) for _, text in lines]
    labels = np.array([classes.index(label) for label, _ in lines])
    probabilities = predictor.probabilities(trained, pieces)
    answers = np.argmax(probabilities, axis=1)
    where = f"{dataset.name}, validation, n = {len(lines):,}; {who}"

    def rows(places: np.ndarray) -> list[list[str]]:
        return [
            [lines[i][1][:SHOWN], lines[i][0], f"{classes[answers[i]]} "
             f"({probabilities[i, answers[i]]:.0%})"]
            for i in places.tolist()
        ]  # fmt: skip

    header = ("text", "label", "answer")
    yield Table(
        "examples",
        "Five texts",
        f"the first of {where}",
        header,
        rows(np.arange(len(lines))[:EXAMPLES]),
    )
    yield _word_by_word(trained, pieces[0], classes, int(labels[0]), where)
    wrong = np.flatnonzero(answers != labels)
    wrong = wrong[np.argsort(probabilities[wrong, labels[wrong]])][:MISTAKES]
    if len(wrong):
        caption = f"{where}; least probability for the label first"
        yield Table("mistakes", "The worst mistakes", caption, header, rows(wrong))
    if len(classes) <= 26:
        counts = np.zeros((len(classes),) * 2, int)
        np.add.at(counts, (labels, answers), 1)
        legend = ", ".join(f"{i} = {name}" for i, name in enumerate(classes))
        yield Figure(
            "confusion",
            "What is taken for what",
            f"{where}; rows are labels, the diagonal is right; {legend}",
            drawing.draw(plots.confusion, counts, size=(4.6, 4.2)),
        )
    yield _simpler(trained, texts, task.trivial_score(dataset), dataset.name)


def _word_by_word(
    trained: TrainedModel, pieces: list[str], classes: list[str], label: int, where: str
) -> Table:
    """The belief in the label of the first text, as it is read."""
    belief_T = predictor.beliefs(trained, pieces[:WORDS_SHOWN])[:, label]
    rows = [[piece, f"{belief:.2f}"] for piece, belief in zip(pieces, belief_T, strict=False)]
    return Table(
        "belief",
        "Belief as the first text is read",
        f"{where}; the answer if the text ended there",
        (trained.member.task.time_step_name, f"probability of {classes[label]}"),
        rows,
    )


def _simpler(trained: TrainedModel, texts: LabelledTexts, commonest: float, name: str) -> Table:
    """What the commonest class gets, and naive Bayes on counts of words and pairs of them."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import make_pipeline

    bayes = make_pipeline(CountVectorizer(ngram_range=(1, 2)), MultinomialNB())

    def columns(split: str) -> tuple[list[str], list[str]]:
        labels, contents = zip(*texts.splits[split], strict=True)
        return list(contents), list(labels)

    bayes.fit(*columns("train"))
    scores = [f"{bayes.score(*columns(split)):.3f}" for split in ("validation", "test")]
    return Table(
        "simpler",
        "What simpler models get",
        f"{name}; accuracy; learnt from the same training texts ({texts.rule})",
        ("model", "validation", "test"),
        [
            *this_model(trained),
            ["the class that is commonest in training", "", f"{commonest:.3f}"],
            ["naive Bayes on words and pairs of words", *scores],
        ],
    )
