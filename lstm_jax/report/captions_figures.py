"""What a writer of captions does: five scenes, its scores beside the floor, and its attention."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from lstm_jax.data import Dataset, num_examples
from lstm_jax.report import figures, plots
from lstm_jax.report.figures import Figure, Table
from lstm_jax.report.sentences_figures import SHOWN, of_attention, of_sentences
from lstm_jax.use import decode
from lstm_jax.use.trained import Trained


def of_answers(trained: Trained, dataset: Dataset, who: str) -> Iterator[Figure | Table]:
    """Yields five captions with their scenes, the scores of all beside the floor, and where the
    model looked. Scenes and sentences are made, and the page says so.
    """
    test, facts = dataset.test, dataset.facts
    said = Counter(decode.texts(dataset.train["target"], facts, "target"))
    commonest = said.most_common(1)[0][0]
    floors = {f"floor: always `{commonest}`": [commonest] * num_examples(test)}
    table, written = of_sentences(trained, dataset, who, floors)
    right = decode.texts(test["target"][:SHOWN], facts, "target")
    rows = [(w, r) for w, r in zip(written.texts, right, strict=False)]
    note = "the first scenes of the test, from left to right in the figure"
    yield Table("captions", "Five captions", note, ("written", "right"), rows)
    yield table
    yield Figure(
        "scenes",
        "Five scenes",
        f"{dataset.name}, test; scenes and sentences are made, pictures are of the image set",
        figures.draw(plots.pictures, test["scenes"][:SHOWN], right, grid=(1, SHOWN),
                     size=(2.4, 1.7)),
    )  # fmt: skip
    rows_read = [str(row + 1) for row in range(test["scenes"].shape[1])]
    yield from of_attention(trained, test, written, [rows_read] * 2, who)
