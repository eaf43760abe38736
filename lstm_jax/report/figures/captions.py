"""What a writer of captions does: five scenes, its scores beside the floor, and its attention."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from lstm_jax.data.dataset import Dataset, num_examples
from lstm_jax.predict import decode
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.report import drawing, plots
from lstm_jax.report.drawing import Figure, Table
from lstm_jax.report.figures.sentences import SHOWN, of_attention, of_sentences


def of_answers(trained: TrainedModel, dataset: Dataset, who: str) -> Iterator[Figure | Table]:
    """Yields five captions with their scenes, the scores of all beside the floor, and where the
    model looked. Scenes and sentences are made, and the page says so.
    """
    test, metadata = dataset.test, dataset.metadata
    said = Counter(decode.texts(dataset.train["target"], metadata, "target"))
    commonest = said.most_common(1)[0][0]
    floors = {f"floor: always `{commonest}`": [commonest] * num_examples(test)}
    table, written = of_sentences(trained, dataset, who, floors)
    right = decode.texts(test["target"][:SHOWN], metadata, "target")
    rows = [(w, r) for w, r in zip(written.texts, right, strict=False)]
    note = "the first scenes of the test, from left to right in the figure"
    yield Table("captions", "Five captions", note, ("written", "right"), rows)
    yield table
    yield Figure(
        "scenes",
        "Five scenes",
        f"{dataset.name}, test; scenes and sentences are made, pictures are of the image set",
        drawing.draw(plots.pictures, test["scenes"][:SHOWN], right, grid=(1, SHOWN),
                     size=(2.4, 1.7)),
    )  # fmt: skip
    rows_read = [str(row + 1) for row in range(test["scenes"].shape[1])]
    yield from of_attention(trained, test, written, [rows_read] * 2, who)
