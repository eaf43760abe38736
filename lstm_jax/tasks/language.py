"""The next byte of a text, foretold at every step.

Axes: N windows, B batch, T bytes that are read, V = 256 bytes there are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from lstm_jax.data.dataset import Dataset, Say
from lstm_jax.fields import Axis, axis
from lstm_jax.tasks.task import Batch, Inputs, ModelSpec, PerExample, Task

if TYPE_CHECKING:
    import jax

BYTES = 256


@dataclass(frozen=True)
class Language(Task):
    """The next byte of a text, at every step.

    A training window begins without a past. Scores are taken of whole texts: the state goes on from
    window to window. A character is a byte: what UTF-8 writes with two counts as two.
    """

    name: ClassVar[str] = "language"
    predictor: ClassVar[str | None] = "lstm_jax.predict.language:predict"
    figures: ClassVar[str | None] = "lstm_jax.report.figures.language:of_answers"
    metric: ClassVar[str] = "bits_per_character"
    higher_is_better: ClassVar[bool] = False
    causal: ClassVar[bool] = True

    dataset: Axis[str] = axis(
        "python",
        "`python` (the source of the standard library that runs, no network), a file of text or a "
        "pattern of files, or a TFDS set of texts such as tiny_shakespeare",
        data=True,
    )
    length: Axis[int] = axis(
        128, "bytes in a window: how far back a gradient goes", low=1, high=100_000, data=True
    )

    def load(self, say: Say) -> Dataset:
        from lstm_jax.data import language

        return language.load_language(self.dataset, self.length, say)

    def built_in(self) -> Task | None:
        return None if self.dataset == "python" else replace(self, dataset="python")

    def trivial_score(self, dataset: Dataset) -> float:
        """Returns the bits a byte costs that is foretold by the shares of bytes in training."""
        from lstm_jax.data import language

        train, test = language.windows_text(dataset.train), language.streams_text(dataset.test)
        (bits,) = language.ngram_bits_per_byte(train, test, 1)
        return bits

    def model_spec(self, metadata: dict[str, Any]) -> ModelSpec:
        return ModelSpec(BYTES, BYTES, per_step_outputs=True, token_inputs=True, carry_state=True)

    def total_weight(self, batch: Batch) -> Any:
        import jax.numpy as jnp

        return jnp.sum(batch["lengths"]).astype(jnp.float32)

    def inputs(self, batch: Batch) -> Inputs:
        import jax.numpy as jnp

        return Inputs(batch["symbols"][:, :-1].T.astype(jnp.int32))

    def per_example(self, outputs: jax.Array, batch: Batch, *, training: bool) -> PerExample:
        """Scores logits [T,B,V] by cross-entropy; see `Images.items` for why labels are one-hot."""
        import jax
        import jax.numpy as jnp

        target_TBV = jax.nn.one_hot(batch["symbols"][:, 1:].T, BYTES, dtype=jnp.float32)
        loss_TB = -jnp.sum(target_TBV * jax.nn.log_softmax(outputs), axis=-1)
        row_T1 = jnp.arange(outputs.shape[0], dtype=jnp.int32)[:, None]
        weight_TB = (row_T1 < batch["lengths"][None]).astype(jnp.float32)
        return PerExample(
            loss_TB.ravel(), loss_TB.ravel() * jnp.float32(1 / math.log(2)), weight_TB.ravel()
        )

    @property
    def time_step_name(self) -> str:
        return "byte"
