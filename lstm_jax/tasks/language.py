"""Language modelling: the next byte of a text, predicted at every time step.

Axes: N windows, B batch, T bytes of a window, V = 256 byte values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from lstm_jax.data.dataset import Arrays, Dataset, Say
from lstm_jax.fields import Axis, axis
from lstm_jax.tasks.task import Batch, Inputs, ItemScores, ModelSpec, Task

if TYPE_CHECKING:
    import jax

BYTES = 256


@dataclass(frozen=True)
class Language(Task):
    """Language modelling of bytes.

    A training window starts from the zero state. Evaluation reads whole texts: it carries the state
    from window to window. A character is a byte: one that UTF-8 writes as two bytes counts twice.
    """

    name: ClassVar[str] = "language"
    predictor: ClassVar[str | None] = "lstm_jax.predict.language:predict"
    answers: ClassVar[str | None] = "lstm_jax.predict.language:continue_texts"
    figures: ClassVar[str | None] = "lstm_jax.report.figures.language:answer_figures"
    metrics: ClassVar[tuple[str, ...]] = ("bits_per_character", "perplexity")
    higher_is_better: ClassVar[bool] = False
    metric_range: ClassVar[tuple[float, float]] = (0.0, math.inf)
    causal: ClassVar[bool] = True

    dataset: Axis[str] = axis(
        "python",
        "`python` (the source of Python's standard library, no network), a text file, a pattern of "
        "files, or the name of a TFDS text set such as tiny_shakespeare",
        data=True,
    )
    length: Axis[int] = axis(
        128, "bytes of a training window: gradients reach no further back",
        low=1, high=100_000, data=True, setting=True,
    )  # fmt: skip

    def load(self, say: Say) -> Dataset:
        from lstm_jax.data import language

        return language.load_language(self.dataset, self.length, say)

    def built_in(self) -> Task | None:
        return None if self.dataset == "python" else replace(self, dataset="python")

    def trivial_score(self, dataset: Dataset) -> float:
        """Returns the bits per byte of a model that knows only how frequent each byte is."""
        from lstm_jax.data import language

        train, test = language.windows_text(dataset.train), language.streams_text(dataset.test)
        (bits,) = language.ngram_bits_per_byte(train, test, 1)
        return bits

    def trivial_scores(self, dataset: Dataset) -> dict[str, float]:
        return {"how frequent each byte is": self.trivial_score(dataset)}

    def describe_example(self, example: Arrays, metadata: dict[str, Any]) -> str:
        return repr(bytes(example["symbols"][: example["lengths"] + 1].tolist()))

    def model_spec(self, metadata: dict[str, Any]) -> ModelSpec:
        return ModelSpec(BYTES, BYTES, per_step_outputs=True, token_inputs=True, carry_state=True)

    def total_weight(self, batch: Batch) -> Any:
        import jax.numpy as jnp

        return jnp.sum(batch["lengths"]).astype(jnp.float32)

    def inputs(self, batch: Batch) -> Inputs:
        import jax.numpy as jnp

        return Inputs(batch["symbols"][:, :-1].T.astype(jnp.int32))

    def score_items(self, outputs: jax.Array, batch: Batch, *, training: bool) -> ItemScores:
        """Returns the cross-entropy of logits [T,B,V] at each time step, in nats and in bits.

        Labels are one-hot for the reason in `classification.cross_entropy_scores`.
        """
        import jax
        import jax.numpy as jnp

        target_TBV = jax.nn.one_hot(batch["symbols"][:, 1:].T, BYTES, dtype=jnp.float32)
        loss_TB = -jnp.sum(target_TBV * jax.nn.log_softmax(outputs), axis=-1)
        t_T1 = jnp.arange(outputs.shape[0], dtype=jnp.int32)[:, None]
        weight_TB = (t_T1 < batch["lengths"][None]).astype(jnp.float32)
        return ItemScores(
            loss_TB.ravel(), loss_TB.ravel() * jnp.float32(1 / math.log(2)), weight_TB.ravel()
        )

    def finalise(self, sums: Mapping[str, Any], dataset: Dataset) -> dict[str, float]:
        """Returns bits per byte, and the perplexity: how many bytes are as probable."""
        scores = super().finalise(sums, dataset)
        return scores | {"perplexity": float(2 ** scores[self.metric])}

    @property
    def time_step_name(self) -> str:
        return "byte"
