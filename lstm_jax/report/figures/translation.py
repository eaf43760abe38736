"""What a translator does: five sentences, its scores beside the floors, and its attention."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lstm_jax.data.dataset import Dataset
from lstm_jax.predict import decode
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.report.drawing import Figure, Table
from lstm_jax.report.figures.sentences import SHOWN, of_attention, of_sentences

ATTENTION_SHOWN = 2


def of_answers(trained: TrainedModel, dataset: Dataset, who: str) -> Iterator[Figure | Table]:
    """Yields five translations, the scores of all beside the floors, and where it looked."""
    test, metadata = dataset.test, dataset.metadata
    sources = decode.texts(test["source"], metadata, "source")
    nearest = decode.texts(dataset.train["target"][nearest_by_words(dataset)], metadata, "target")
    floors = {"floor: the source itself": sources, "floor: nearest neighbour by words": nearest}
    table, written = of_sentences(trained, dataset, who, floors)
    right = decode.texts(test["target"], metadata, "target")
    yield Table(
        "sentences", "Five sentences", "the first of the test, written greedily",
        ("source", "written", "right"), list(zip(sources, written.texts, right))[:SHOWN],  # noqa: B905
    )  # fmt: skip
    yield table
    first = [decode.words(row, metadata, "source") for row in test["source"][:ATTENTION_SHOWN]]
    yield from of_attention(trained, test, written, first, who)


def nearest_by_words(dataset: Dataset) -> np.ndarray:
    """Returns, for each test example, the training example whose source has the most alike words:
    the highest cosine of the counts of symbols, weighted by their inverse document frequency.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    def symbols(row_W: np.ndarray) -> list[str]:
        return decode.words(row_W, dataset.metadata, "source")

    weigh = TfidfVectorizer(analyzer=symbols, sublinear_tf=True)
    train = weigh.fit_transform(dataset.train["source"])
    alike = weigh.transform(dataset.test["source"]) @ train.T
    return np.asarray(alike.argmax(axis=1)).ravel()
