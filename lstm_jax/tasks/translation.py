"""Translation of sentences, by an encoder and a decoder.

Axes: B batch, W tokens of the longest sentence.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from lstm_jax.data.dataset import Dataset, Say
from lstm_jax.fields import Axis, axis
from lstm_jax.tasks.seq2seq import Seq2SeqTask, map_unknown
from lstm_jax.tasks.task import ENCODING, Batch, Inputs, ModelSpec, Task

if TYPE_CHECKING:
    import jax

TOKEN_ARRAYS = ("source", "target", "shown")  # arrays of a batch, [B,W]


@dataclass(frozen=True)
class Translation(Seq2SeqTask):
    """Translation of sentences."""

    name: ClassVar[str] = "translation"
    predictor: ClassVar[str | None] = "lstm_jax.predict.sequence:translate"
    answers: ClassVar[str | None] = "lstm_jax.predict.sequence:translations"
    figures: ClassVar[str | None] = "lstm_jax.report.figures.sequences:translation_figures"

    dataset: Axis[str] = axis(
        "dates",
        "`dates` (dates and numbers in words and in figures, generated, no network), a file with a "
        "sentence and its translation in each row (.tsv, .csv, .jsonl, .parquet), or the name of a "
        "TFDS translation set such as ted_hrlr_translate/pt_to_en",
        data=True,
    )
    source_column: Axis[str | None] = axis(
        None, "the column of the sentences in a file: a name, or a number from 1; none: the one "
        "that is named source or a language, or the first",
        data=True,
    )  # fmt: skip
    target_column: Axis[str | None] = axis(
        None, "the column of the translations in a file, as for the sentences", data=True
    )
    encoding: Axis[str | None] = axis(None, **ENCODING)
    swapped: Axis[bool] = axis(
        False, "translate from the second language into the first", data=True
    )
    units: Axis[str] = axis(
        "words", "tokens: `words`, with each digit and mark as a token of its own, or `characters`",
        choices=lambda: ("words", "characters"), data=True,
    )  # fmt: skip
    lowercase: Axis[bool] = axis(False, "convert all letters to lower case", data=True)
    max_words: Axis[int] = axis(
        50, "maximum number of words; pairs with a longer sentence are left out",
        low=1, high=1000, data=True,
    )  # fmt: skip
    max_vocabulary: Axis[int] = axis(
        10_000, "maximum size of each vocabulary: the most frequent tokens of training",
        low=1, high=10**6, data=True,
    )  # fmt: skip
    validation: Axis[str] = axis(
        "by-rule",
        "line numbers of the validation pairs of a file, such as 1-400,9001-9200; by-rule: every "
        "tenth block of forty pairs",
        data=True,
    )
    test: Axis[str] = axis(
        "by-rule", "line numbers of the test pairs, as for validation", data=True
    )
    word_dropout: Axis[float] = axis(
        0.0, "probability in training that a source token is replaced by the unknown token",
        low=0.0, high=0.999, traced=True, setting=True,
    )  # fmt: skip

    def load(self, say: Say) -> Dataset:
        from lstm_jax.data.pairs import PairOptions, load_pairs

        options = PairOptions(*(getattr(self, name) for name in PairOptions._fields))
        return load_pairs(self.dataset, options, say)

    def built_in(self) -> Task | None:
        if self.dataset == "dates":
            return None
        return replace(
            self, dataset="dates", validation="by-rule", test="by-rule", source_column=None,
            target_column=None, encoding=None,
        )  # fmt: skip

    def model_spec(self, metadata: dict[str, Any]) -> ModelSpec:
        decoder = self.decoder(metadata)
        return ModelSpec(
            num_features=len(metadata["source_vocabulary"]),
            num_outputs=decoder.num_symbols,
            token_inputs=True,
            bucket_lengths=tuple(metadata["widths"]),
            decoder=decoder,
        )

    def example_lengths(self, batch: Batch) -> Any:
        import jax.numpy as jnp

        return jnp.maximum(batch["source_lengths"], batch["target_lengths"])

    def truncate(self, batch: Batch, length: int) -> Batch:
        return {n: a[:, :length] if n in TOKEN_ARRAYS else a for n, a in batch.items()}

    def augment(self, batch: Batch, key: jax.Array) -> Batch:
        import jax
        import jax.numpy as jnp

        from lstm_jax.data.tokens import UNKNOWN

        batch = super().augment(batch, key)
        is_kept_BW = jax.random.uniform(key, batch["source"].shape) >= self.word_dropout
        return {**batch, "source": jnp.where(is_kept_BW, batch["source"], jnp.int32(UNKNOWN))}

    def inputs(self, batch: Batch) -> Inputs:
        return Inputs(
            map_unknown(batch["source"]).T, batch["source_lengths"], self.decoder_inputs(batch)
        )

    @property
    def time_step_name(self) -> str:
        """What the encoder reads at a time step, in a word."""
        return "word" if self.units == "words" else "character"
