"""What classifiers have in common: the loss, the accuracy, and the trivial score.

Axes: B batch, C classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lstm_jax.data.dataset import Dataset
from lstm_jax.tasks.task import PerExample

if TYPE_CHECKING:
    import jax


def commonest_class_accuracy(dataset: Dataset) -> float:
    """Returns the accuracy on the test of always answering the commonest class of training."""
    import numpy as np

    commonest = np.bincount(dataset.train["labels"]).argmax()
    return float(np.mean(dataset.test["labels"] == commonest))


def cross_entropy_per_example(
    outputs: jax.Array, labels_B: Any, smoothing: Any = None
) -> PerExample:
    """Scores logits [B,C] by cross-entropy, and by whether the largest is that of the label.

    Of the target a share, `smoothing`, is spread evenly over all classes, if it is given. Labels
    are one-hot: the gradient of an integer-label lookup is a scatter, whose order of additions a
    GPU does not fix.
    """
    import jax
    import jax.numpy as jnp
    import optax

    target_BC = jax.nn.one_hot(labels_B, outputs.shape[-1], dtype=jnp.float32)
    if smoothing is not None:
        target_BC = optax.smooth_labels(target_BC, smoothing)
    loss_B = -jnp.sum(target_BC * jax.nn.log_softmax(outputs), axis=-1)
    right_B = (jnp.argmax(outputs, axis=-1) == labels_B).astype(jnp.float32)
    return PerExample(loss_B, right_B, jnp.ones_like(loss_B))
