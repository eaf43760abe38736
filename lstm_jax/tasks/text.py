"""Which class a text is of, read a word or a character at a time.

Axes: N texts, B batch, T symbols that are read, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from lstm_jax.data.dataset import Dataset, Say
from lstm_jax.fields import Axis, axis
from lstm_jax.tasks.classification import commonest_class_accuracy, cross_entropy_per_example
from lstm_jax.tasks.task import Batch, Inputs, ModelSpec, PerExample, Task

if TYPE_CHECKING:
    import jax


@dataclass(frozen=True)
class Text(Task):
    """Which class a text is of."""

    name: ClassVar[str] = "text"
    predictor: ClassVar[str | None] = "lstm_jax.predict.text:predict"
    figures: ClassVar[str | None] = "lstm_jax.report.figures.text:of_answers"
    metric: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[bool] = True

    dataset: Axis[str] = axis(
        "imdb_reviews",
        "a file of lines `label<TAB>text`, or a TFDS text-classification set by its name",
        data=True,
    )
    unit: Axis[str] = axis(
        "words",
        "what is read at a time: `words` (in small letters) and signs, or `characters`",
        choices=lambda: ("words", "characters"),
        data=True,
    )
    vocabulary: Axis[int] = axis(
        20_000, "symbols at most, the commonest of training", low=3, high=10**7, data=True
    )
    least_count: Axis[int] = axis(
        2, "times that a symbol must occur in training to be known", low=1, high=10**9, data=True
    )
    longest: Axis[int] = axis(
        400, "symbols that are read of a text, the last ones", low=1, high=10**6, data=True
    )
    answer: Axis[str] = axis(
        "last",
        "what the answer is given by: the `last` output, or the `mean` over all",
        choices=lambda: ("last", "mean"),
    )
    word_dropout: Axis[float | None] = axis(
        None,
        "probability that a symbol is read as unknown in training; none: off",
        value_type=float,
        low=0.0,
        high=0.999,
        traced=True,
        optional=True,
    )
    label_smoothing: Axis[float] = axis(
        0.0,
        "share of the training target spread evenly over all classes",
        low=0.0,
        high=0.999,
        traced=True,
    )

    def load(self, say: Say) -> Dataset:
        from lstm_jax.data.text import load_texts

        return load_texts(
            self.dataset, self.unit, self.vocabulary, self.least_count, self.longest, say
        )

    def built_in(self) -> Task | None:
        return None

    def trivial_score(self, dataset: Dataset) -> float:
        return commonest_class_accuracy(dataset)

    def model_spec(self, metadata: dict[str, Any]) -> ModelSpec:
        return ModelSpec(
            num_features=len(metadata["vocabulary"]),
            num_outputs=len(metadata["classes"]),
            mean_pool=self.answer == "mean",
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

        symbols_BT = batch["symbols"]
        dropped_BT = jax.random.uniform(key, symbols_BT.shape) < self.word_dropout
        unknown = jnp.asarray(TEXT_UNKNOWN, symbols_BT.dtype)
        return {**batch, "symbols": jnp.where(dropped_BT, unknown, symbols_BT)}

    def inputs(self, batch: Batch) -> Inputs:
        import jax.numpy as jnp

        return Inputs(batch["symbols"].T.astype(jnp.int32), batch["lengths"])

    def per_example(self, outputs: jax.Array, batch: Batch, *, training: bool) -> PerExample:
        return cross_entropy_per_example(
            outputs, batch["labels"], self.label_smoothing if training else None
        )

    @property
    def time_step_name(self) -> str:
        return self.unit.rstrip("s")
