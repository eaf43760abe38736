"""What a scene shows, in a sentence: an encoder reads the scene row by row, a decoder writes.

Axes: B batch, T rows of a scene, I its columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from lstm_jax.data.dataset import Dataset, Say
from lstm_jax.fields import Axis, axis
from lstm_jax.tasks.seq2seq import Seq2SeqTask
from lstm_jax.tasks.task import Batch, Inputs, ModelSpec, Task


@dataclass(frozen=True)
class Captions(Seq2SeqTask):
    """What two or three pictures put together show.

    Scenes and sentences are made (`data/scenes.py`); the pictures are those of an image set.
    Validation and test hold combinations of classes and relation that training never shows.
    """

    name: ClassVar[str] = "captions"
    predictor: ClassVar[str | None] = "lstm_jax.predict.sequence:caption"
    figures: ClassVar[str | None] = "lstm_jax.report.figures.captions:of_answers"

    dataset: Axis[str] = axis(
        "digits", "whose pictures: `digits`, `mnist`, or a TFDS image set, as for images", data=True
    )
    scenes: Axis[int] = axis(20_000, "made for training", low=1, high=10**6, data=True)
    shrink: Axis[int] = axis(
        1, "rows and columns of a picture that become one, their mean", low=1, high=64, data=True
    )

    def load(self, say: Say) -> Dataset:
        from lstm_jax.data.scenes import load_scenes

        return load_scenes(self.dataset, self.scenes, self.shrink, say)

    def built_in(self) -> Task | None:
        return None if self.dataset == "digits" else replace(self, dataset="digits", shrink=1)

    def model_spec(self, metadata: dict[str, Any]) -> ModelSpec:
        decoder = self.decoder(metadata)
        width = metadata["shapes"]["scenes"][1]
        return ModelSpec(num_features=width, num_outputs=decoder.num_symbols, decoder=decoder)

    def inputs(self, batch: Batch) -> Inputs:
        import jax.numpy as jnp

        x_BTI = batch["scenes"].astype(jnp.float32) / 255.0
        return Inputs(x_BTI.swapaxes(0, 1), decoder_inputs_SB=self.decoder_inputs(batch))
