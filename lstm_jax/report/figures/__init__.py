"""The figures and tables of a report. This file holds what several of them share.

A task names the function that yields the figures of its answers (`Task.figures`). It takes a
trained model, its data set and the member's label, which stands in the captions.
"""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.config.experiment import Experiment
from lstm_jax.data.dataset import Dataset, num_examples
from lstm_jax.model.block import make_blocks
from lstm_jax.model.fused_params import FusedParams
from lstm_jax.predict import inference
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.report import drawing, plots
from lstm_jax.report.drawing import Figure
from lstm_jax.tasks.task import Batch, Inputs

MAX_TIME_STEPS = 14_000  # of all examples together: 500 images of 28 rows
MIN_EXAMPLES = 50


def first_examples(trained: TrainedModel, dataset: Dataset, count: int) -> Batch:
    """Returns the first examples of validation: the test set is for the final score only."""
    size = min(count, num_examples(dataset.validation))
    index_B = jnp.arange(size, dtype=jnp.int32)
    return trained.member.task.gather(dataset.validation, index_B)


def activation_batch(trained: TrainedModel, dataset: Dataset) -> Batch:
    """Returns the first examples of validation, as many as MAX_TIME_STEPS allows."""
    example = first_examples(trained, dataset, 1)
    time_steps = jax.eval_shape(trained.ready.task.inputs, example).x_TBI.shape[0]
    return first_examples(trained, dataset, max(MIN_EXAMPLES, MAX_TIME_STEPS // time_steps))


def layer_titles(member: Experiment) -> list[str]:
    """Returns a name for each of the layers that `forward.driven_layers` returns."""
    return [
        (f"layer {index}" if member.layers > 1 else "layer") + ", backwards" * layer.reverse
        for index, block in enumerate(make_blocks(member), 1)
        for layer in block.layers
    ]


def stages(trained: TrainedModel) -> dict[str, FusedParams]:
    """Returns a model's parameters before training and after, by the name of the stage.

    A model that begins with the parameters of another one has no initial ones.
    """
    trained_stage = {f"after {trained.steps:,} steps": trained.fused}
    if trained.member.begin_with is not None:
        return trained_stage
    first = inference.initial_params(trained.member, trained.spec)
    return {"at initialisation": inference.fuse_kernels(trained.member, first)} | trained_stage


def inside(inputs: Inputs) -> jax.Array:
    """Returns 1 at each time step of a sequence and 0 at its padding, float32 [T,B]."""
    num_steps, batch = inputs.x_TBI.shape[:2]
    if inputs.lengths_B is None:
        return jnp.ones((num_steps, batch), jnp.float32)
    t_T1 = jnp.arange(num_steps, dtype=jnp.int32)[:, None]
    return (t_T1 < inputs.lengths_B[None]).astype(jnp.float32)


def confusion_figure(
    source: str, legend: str, labels_N: np.ndarray, answers_N: np.ndarray, num_classes: int
) -> Iterator[Figure]:
    """Yields the confusion matrix; nothing for more classes than it has room for."""
    if num_classes <= 26:
        counts_CC = np.zeros((num_classes, num_classes), int)
        np.add.at(counts_CC, (labels_N, answers_N), 1)
        yield Figure(
            "confusion",
            "Confusion matrix",
            f"{source}; rows: labels, columns: answers; on the diagonal the answer is correct"
            f"{legend}",
            drawing.draw(plots.confusion, counts_CC, size=(4.6, 4.2)),
        )


def worst_mistakes(
    labels_N: np.ndarray, answers_N: np.ndarray, probabilities_NC: np.ndarray, count: int
) -> np.ndarray:
    """Returns the indices of at most `count` wrong answers, the least probable label first."""
    wrong = np.flatnonzero(answers_N != labels_N)
    return wrong[np.argsort(probabilities_NC[wrong, labels_N[wrong]])][:count]


def model_row(trained: TrainedModel) -> list[list[str]]:
    """Returns the row of this model in a table of models: its metric on validation and on the test
    set. Returns no row while the model is unfinished.
    """
    if trained.result is None:
        return []
    scores = trained.result.validation_metric, trained.result.test_metric
    return [["this model", *(f"{score:.3f}" for score in scores)]]
