"""Image captioning: an encoder reads a scene, a row or a column at each time step, and a decoder
writes a sentence about it.

Axes: B batch, T rows and I columns of a scene; read by columns, T columns and I rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from lstm_jax.data.dataset import Dataset, Say
from lstm_jax.fields import Axis, axis
from lstm_jax.tasks.images import to_sequences
from lstm_jax.tasks.seq2seq import Seq2SeqTask
from lstm_jax.tasks.task import Batch, Inputs, ModelSpec, Task


@dataclass(frozen=True)
class Captions(Seq2SeqTask):
    """Captions of scenes that are made of two or three images.

    Scenes and sentences are generated (`data/scenes.py`) from the images of an image set.
    Validation and test hold combinations of classes and relations that are not in training.
    """

    name: ClassVar[str] = "captions"
    predictor: ClassVar[str | None] = "lstm_jax.predict.sequence:caption"
    answers: ClassVar[str | None] = "lstm_jax.predict.sequence:captions"
    figures: ClassVar[str | None] = "lstm_jax.report.figures.sequences:caption_figures"

    dataset: Axis[str] = axis(
        "digits",
        "the image set: `digits`, `mnist`, or the name of a TFDS image classification set",
        data=True,
    )
    num_scenes: Axis[int] = axis(20_000, "number of training scenes", low=1, high=10**6, data=True)
    shrink: Axis[int] = axis(
        1, "scale images down by this factor, by the mean of the pixels", low=1, high=64, data=True
    )
    reading: Axis[str] = axis(
        "rows",
        "what a time step reads: a row or a column of the scene; `columns` reads pictures that "
        "stand beside each other one after the other",
        choices=lambda: ("rows", "columns"), setting=True,
    )  # fmt: skip

    def load(self, say: Say) -> Dataset:
        from lstm_jax.data.scenes import load_scenes

        return load_scenes(self.dataset, self.num_scenes, self.shrink, say)

    def built_in(self) -> Task | None:
        return None if self.dataset == "digits" else replace(self, dataset="digits", shrink=1)

    def model_spec(self, metadata: dict[str, Any]) -> ModelSpec:
        decoder = self.decoder(metadata)
        rows, columns = metadata["shapes"]["scenes"]
        width = rows if self.reading == "columns" else columns
        return ModelSpec(num_features=width, num_outputs=decoder.num_symbols, decoder=decoder)

    def inputs(self, batch: Batch) -> Inputs:
        import jax.numpy as jnp

        x_BTI = to_sequences(batch["scenes"], self.reading).astype(jnp.float32) / 255.0
        return Inputs(x_BTI.swapaxes(0, 1), decoder_inputs_SB=self.decoder_inputs(batch))

    @property
    def time_step_name(self) -> str:
        """What the model reads at a time step: row or column."""
        return self.reading.rstrip("s")
