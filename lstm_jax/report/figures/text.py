"""Answers of a text classifier: examples, mistakes, its belief word by word, and simpler models.

Axes: N texts, T symbols of a text, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lstm_jax.data.dataset import Dataset, say_nothing
from lstm_jax.data.text import LabelledTexts, read_texts
from lstm_jax.predict import text as predictor
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.report.drawing import Figure, TextTable
from lstm_jax.report.figures import confusion_figure, model_row, worst_mistakes

NUM_EXAMPLES = MAX_MISTAKES = 5
MAX_CHARACTERS = 400  # of a text
MAX_SYMBOLS = 30  # of the text whose belief is shown


def answer_figures(
    trained: TrainedModel, dataset: Dataset, member_label: str
) -> Iterator[Figure | TextTable]:
    """Yields examples, the belief as a text is read, worst mistakes and confusion matrix on
    validation, and the accuracy beside an ensemble of all seeds and simpler models, trained on the
    same texts.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import make_pipeline

    task = predictor.text_task(trained)
    texts = read_texts(task.dataset, say_nothing)
    examples, classes = texts.splits["validation"], texts.classes
    pieces = [predictor.tokenize(trained, text) for _, text in examples]
    labels = np.array([classes.index(label) for label, _ in examples])
    probabilities_NC = predictor.probabilities(trained, pieces)
    answers = np.argmax(probabilities_NC, axis=1)
    source = f"{dataset.name}, validation, n = {len(examples):,}; {member_label}"

    def rows(index_N: np.ndarray) -> list[list[str]]:
        return [
            [examples[i][1][:MAX_CHARACTERS], examples[i][0], f"{classes[answers[i]]} "
             f"({probabilities_NC[i, answers[i]]:.0%})"]
            for i in index_N.tolist()
        ]  # fmt: skip

    header = ("text", "label", "answer")
    first = np.arange(len(examples))[:NUM_EXAMPLES]
    yield TextTable("examples", "Five texts", f"the first of {source}", header, rows(first))
    belief_T = predictor.beliefs(trained, pieces[0][:MAX_SYMBOLS])[:, labels[0]]
    yield TextTable(
        "belief",
        "Belief as the first text is read",
        f"{source}; the answer if the text ended there",
        (task.time_step_name, f"probability of {classes[labels[0]]}"),
        [[piece, f"{belief:.2f}"] for piece, belief in zip(pieces[0], belief_T, strict=False)],
    )
    wrong = worst_mistakes(labels, answers, probabilities_NC, MAX_MISTAKES)
    if len(wrong):
        caption = f"{source}; sorted by the probability of the label, lowest first"
        yield TextTable("mistakes", "The worst mistakes", caption, header, rows(wrong))
    legend = ", ".join(f"{i} = {name}" for i, name in enumerate(classes))
    yield from confusion_figure(source, f"; {legend}", labels, answers, len(classes))
    bayes = make_pipeline(CountVectorizer(ngram_range=(1, 2)), MultinomialNB())
    contents = {name: [text for _, text in split] for name, split in texts.splits.items()}
    targets = {name: [label for label, _ in split] for name, split in texts.splits.items()}
    bayes.fit(contents["train"], targets["train"])
    scores = [bayes.score(contents[name], targets[name]) for name in ("validation", "test")]
    yield TextTable(
        "simpler",
        "Accuracy beside simpler models",
        f"{dataset.name}; all models learn from the same training texts ({texts.rule})",
        ("model", "validation", "test"),
        [
            *model_row(trained),
            *ensemble_row(trained, texts),
            ["trivial: most frequent class of training", "", f"{task.trivial_score(dataset):.3f}"],
            ["naive Bayes on words and pairs of words", *(f"{score:.3f}" for score in scores)],
        ],
    )


def ensemble_row(trained: TrainedModel, texts: LabelledTexts) -> list[list[str]]:
    """Returns the row of an ensemble in a table of models. It answers with the class whose
    probability, averaged over all finished seeds of this model's setting, is the highest. Returns
    no row for a single seed.
    """
    models = [*trained.over_seeds()]
    if len(models) == 1:
        return []
    scores = []
    for name in ("validation", "test"):
        labels = np.array([texts.classes.index(label) for label, _ in texts.splits[name]])
        pieces = [predictor.tokenize(trained, text) for _, text in texts.splits[name]]
        mean_NC = np.mean([predictor.probabilities(model, pieces) for model in models], axis=0)
        scores.append(np.mean(np.argmax(mean_NC, axis=1) == labels))
    name = f"ensemble of {len(models)} seeds: mean of their probabilities"
    return [[name, *(f"{score:.3f}" for score in scores)]]
