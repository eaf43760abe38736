"""Classification: the loss, the metric and the trivial score of tasks with one class per example.

Axes: B batch, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from lstm_jax.data.dataset import Dataset
from lstm_jax.fields import Axis
from lstm_jax.tasks.task import Batch, ItemScores, Task

if TYPE_CHECKING:
    import jax


TOP = 5  # classes among which the label is, of more classes than these

# The declaration of the field `label_smoothing`: `axis(0.0, **LABEL_SMOOTHING)`.
LABEL_SMOOTHING: dict[str, Any] = {
    "help": "fraction of the training target that is spread evenly over all classes",
    "low": 0.0,
    "high": 0.999,
    "traced": True,
    "setting": True,
}


def cross_entropy_scores(logits_BC: jax.Array, labels_B: Any, smoothing: Any = None) -> ItemScores:
    """Returns the cross-entropy of each example, and 1 where its largest logit is the label's.

    `smoothing` spreads that fraction of the target evenly over all classes. Labels are one-hot: the
    gradient of an integer-label lookup is a scatter, and a GPU does not fix the order in which a
    scatter adds.
    """
    import jax
    import jax.numpy as jnp
    import optax

    target_BC = jax.nn.one_hot(labels_B, logits_BC.shape[-1], dtype=jnp.float32)
    if smoothing is not None:
        target_BC = optax.smooth_labels(target_BC, smoothing)
    loss_B = -jnp.sum(target_BC * jax.nn.log_softmax(logits_BC), axis=-1)
    is_correct_B = (jnp.argmax(logits_BC, axis=-1) == labels_B).astype(jnp.float32)
    return ItemScores(loss_B, is_correct_B, jnp.ones_like(loss_B))


def commonest_class(dataset: Dataset) -> int:
    """Returns the class that is most frequent in training."""
    import numpy as np

    return int(np.bincount(dataset.train["labels"]).argmax())


class ClassificationTask(Task):
    """A task with one class per example, whose data have int32 `labels` [N].

    The macro F1 is the mean of F1 over all classes that are a label or an answer.
    """

    metrics: ClassVar[tuple[str, ...]] = ("accuracy", f"top_{TOP}_accuracy", "macro_f1")
    higher_is_better: ClassVar[bool] = True
    metric_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    label_smoothing: Axis[float]  # declared by the task: `axis(0.0, **LABEL_SMOOTHING)`

    def trivial_score(self, dataset: Dataset) -> float:
        """Returns the test accuracy of the class that is most frequent in training."""
        import numpy as np

        return float(np.mean(dataset.test["labels"] == commonest_class(dataset)))

    def trivial_scores(self, dataset: Dataset) -> dict[str, float]:
        if type(self).trivial_score is not ClassificationTask.trivial_score:
            return super().trivial_scores(dataset)
        commonest, classes = commonest_class(dataset), dataset.metadata.get("classes")
        name = classes[commonest] if classes else commonest
        return {f"always `{name}`": self.trivial_score(dataset)}

    def score_items(self, outputs: jax.Array, batch: Batch, *, training: bool) -> ItemScores:
        smoothing = self.label_smoothing if training else None
        return cross_entropy_scores(outputs, batch["labels"], smoothing)

    def evaluation_items(self, outputs: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Returns, for logits [B,C], whether the label is among the best answers [B], and one-hot
        classes [B,C] of labels, of answers, and of labels that are the answer.
        """
        import jax
        import jax.numpy as jnp

        labels_B, num_classes = batch["labels"], outputs.shape[-1]
        label_BC = jax.nn.one_hot(labels_B, num_classes, dtype=jnp.float32)
        answer_BC = jax.nn.one_hot(jnp.argmax(outputs, axis=-1), num_classes, dtype=jnp.float32)
        items = {"label": label_BC, "answer": answer_BC, "hit": label_BC * answer_BC}
        if num_classes > TOP:
            is_among_B = jnp.any(jax.lax.top_k(outputs, TOP)[1] == labels_B[:, None], axis=1)
            items[f"top_{TOP}_accuracy"] = is_among_B.astype(jnp.float32)
        return items

    def finalise(self, sums: Mapping[str, Any], dataset: Dataset) -> dict[str, float]:
        """Returns accuracy, top-5 accuracy of more than five classes, and macro F1."""
        count_C = sums["label"] + sums["answer"]
        f1_C = 2 * sums["hit"][count_C > 0] / count_C[count_C > 0]
        return super().finalise(sums, dataset) | {"macro_f1": float(f1_C.mean())}
