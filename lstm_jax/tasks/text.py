"""Text classification, a word or a character at each time step.

Axes: N texts, B batch, T tokens of a text, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from lstm_jax.data.dataset import Arrays, Dataset, Say, say_nothing
from lstm_jax.fields import Axis, axis
from lstm_jax.tasks.classification import LABEL_SMOOTHING, ClassificationTask
from lstm_jax.tasks.task import ENCODING, Batch, Inputs, ModelSpec

if TYPE_CHECKING:
    import jax

MANY_UNKNOWN = 0.2  # share of tokens outside the vocabulary that is worth a warning


@dataclass(frozen=True)
class Text(ClassificationTask):
    """Text classification."""

    name: ClassVar[str] = "text"
    predictor: ClassVar[str | None] = "lstm_jax.predict.text:predict"
    answers: ClassVar[str | None] = "lstm_jax.predict.text:classify"
    figures: ClassVar[str | None] = "lstm_jax.report.figures.text:answer_figures"

    dataset: Axis[str] = axis(
        "imdb_reviews",
        "a file with a label and a text in each row (.tsv, .csv, .jsonl, .parquet), a folder with "
        "a folder of .txt files for each class, or the name of a TFDS text classification set",
        data=True,
    )
    label_column: Axis[str | None] = axis(
        None, "the column of the labels in a file: a name, or a number from 1; none: the one that "
        "is named label or alike, or the first of two",
        data=True,
    )  # fmt: skip
    text_column: Axis[str | None] = axis(
        None, "the column of the texts in a file, as for the labels", data=True
    )
    encoding: Axis[str | None] = axis(None, **ENCODING)
    units: Axis[str] = axis(
        "words", "tokens: lower-case `words` and punctuation marks, or `characters`",
        choices=lambda: ("words", "characters"), data=True, setting=True,
    )  # fmt: skip
    max_vocabulary: Axis[int] = axis(
        20_000, "maximum size of the vocabulary: the most frequent tokens of training",
        low=3, high=10**7, data=True, setting=True,
    )  # fmt: skip
    min_count: Axis[int] = axis(
        2, "minimum number of occurrences in training of a token of the vocabulary",
        low=1, high=10**9, data=True, setting=True,
    )  # fmt: skip
    max_length: Axis[int] = axis(
        400, "maximum number of tokens of a text; of a longer text the last ones are read",
        low=1, high=10**6, data=True, setting=True,
    )  # fmt: skip
    pooling: Axis[str] = axis(
        "last", "what the head reads: the `last` output, or the `mean` over all time steps",
        choices=lambda: ("last", "mean"), setting=True,
    )  # fmt: skip
    word_dropout: Axis[float | None] = axis(
        None, "probability in training that a token is replaced by the unknown token; none: off",
        low=0.0, high=0.999, traced=True, setting=True,
    )  # fmt: skip
    label_smoothing: Axis[float] = axis(0.0, **LABEL_SMOOTHING)

    def load(self, say: Say) -> Dataset:
        return self._load(say)

    def _load(self, say: Say, vocabulary: list[str] | None = None) -> Dataset:
        from lstm_jax.data.text import TextColumns, load_texts

        columns = TextColumns(self.label_column, self.text_column, self.encoding)
        return load_texts(
            self.dataset, self.units, self.max_vocabulary, self.min_count, self.max_length, say,
            columns, vocabulary,
        )  # fmt: skip

    def adapt_data(self, dataset: Dataset, metadata: dict[str, Any]) -> Dataset:
        """Returns the texts read again, with the vocabulary of training."""
        if dataset.metadata["vocabulary"] != metadata["vocabulary"]:
            dataset = self._load(say_nothing, metadata["vocabulary"])
        return super().adapt_data(dataset, metadata)

    def check_data(self, dataset: Dataset) -> None:
        from lstm_jax.data.text import check_texts

        check_texts(dataset)

    def describe_example(self, example: Arrays, metadata: dict[str, Any]) -> str:
        vocabulary, classes = metadata["vocabulary"], metadata["classes"]
        tokens = [vocabulary[i] for i in example["symbols"][: example["lengths"]]]
        text = (" " if self.units == "words" else "").join(tokens)
        return f"class {classes[example['labels']]}, {len(tokens)} {self.units}: {text}"

    def describe_data(self, dataset: Dataset) -> list[str]:
        """Returns the size of the vocabulary, and the share of tokens that are not in it."""
        shares = [f"{share:.1%} of {split}" for split, share in unknown_shares(dataset).items()]
        size = len(dataset.metadata["vocabulary"])
        return [f"vocabulary of {size:,} {self.units}; unknown: {', '.join(shares)}"]

    def doubts(self, dataset: Dataset) -> list[str]:
        return [
            f"{share:.0%} of the tokens of {split} are not in the vocabulary; give "
            "--task.min-count 1, a larger --task.max-vocabulary or --task.units characters"
            for split, share in unknown_shares(dataset).items()
            if share > MANY_UNKNOWN
        ]

    def model_spec(self, metadata: dict[str, Any]) -> ModelSpec:
        return ModelSpec(
            num_features=len(metadata["vocabulary"]),
            num_outputs=len(metadata["classes"]),
            mean_pool=self.pooling == "mean",
            token_inputs=True,
            bucket_lengths=tuple(metadata["widths"]),
        )

    def example_lengths(self, batch: Batch) -> Any:
        return batch["lengths"]

    def truncate(self, batch: Batch, length: int) -> Batch:
        return {**batch, "symbols": batch["symbols"][:, :length]}

    def augment(self, batch: Batch, key: jax.Array) -> Batch:
        if self.word_dropout is None:
            return batch
        import jax
        import jax.numpy as jnp

        from lstm_jax.data.tokens import TEXT_UNKNOWN

        tokens_BT = batch["symbols"]
        is_dropped_BT = jax.random.uniform(key, tokens_BT.shape) < self.word_dropout
        unknown = jnp.asarray(TEXT_UNKNOWN, tokens_BT.dtype)
        return {**batch, "symbols": jnp.where(is_dropped_BT, unknown, tokens_BT)}

    def inputs(self, batch: Batch) -> Inputs:
        import jax.numpy as jnp

        return Inputs(batch["symbols"].T.astype(jnp.int32), batch["lengths"])

    @property
    def time_step_name(self) -> str:
        return self.units.rstrip("s")


def unknown_shares(dataset: Dataset) -> dict[str, float]:
    """Returns the share of tokens outside the vocabulary, in validation and in the test."""
    from lstm_jax.data.tokens import TEXT_UNKNOWN

    shares = {}
    for split, arrays in (("validation", dataset.validation), ("test", dataset.test)):
        count = max(1, int(arrays["lengths"].sum()))
        shares[split] = int((arrays["symbols"] == TEXT_UNKNOWN).sum()) / count
    return shares
