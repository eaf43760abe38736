"""Answers of an image classifier: examples, mistakes, and its belief after each time step.

Axes: N examples, T time steps, I numbers read at a time, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.config.experiment import Experiment
from lstm_jax.data.dataset import Dataset, num_examples
from lstm_jax.model import forward
from lstm_jax.model.fused_params import FusedParams
from lstm_jax.predict import inference
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.report import drawing, plots
from lstm_jax.report.drawing import Figure
from lstm_jax.report.figures import activation_batch, confusion_figure, worst_mistakes
from lstm_jax.tasks.images import num_channels
from lstm_jax.tasks.task import Batch

NUM_EXAMPLES, MAX_MISTAKES = 5, 8


def answer_figures(trained: TrainedModel, dataset: Dataset, member_label: str) -> Iterator[Figure]:
    """Yields examples, confusion matrix and worst mistakes on validation, then the accuracy and the
    belief after each time step, where the model's layers all run forwards.
    """
    channels, names = num_channels(trained.metadata), trained.class_names
    class_names = ", ".join(f"{i} = {name}" for i, name in enumerate(names) if name != str(i))
    legend = f"; {class_names}" if class_names else ""  # where a name is more than its number

    def picture(image_TI: np.ndarray) -> np.ndarray:
        return image_TI if channels == 1 else image_TI.reshape(len(image_TI), -1, channels)

    images, labels = (dataset.validation[name] for name in ("images", "labels"))
    probabilities_NC = trained.probabilities(images)
    answers = np.argmax(probabilities_NC, axis=1)
    source = f"{dataset.name}, validation, n = {len(labels):,}; {member_label}"
    examples = np.unique(np.linspace(0, len(labels) - 1, NUM_EXAMPLES).astype(int))
    titles = [
        f"{names[labels[i]]}: {names[answers[i]]} ({probabilities_NC[i, answers[i]]:.0%})"
        for i in examples
    ]
    pictures = [picture(image) for image in images[examples]]
    yield Figure(
        "examples",
        "Examples",
        f"{source}; over each image its label, then the answer with its probability",
        drawing.draw(plots.pictures, pictures, titles, grid=(1, len(examples)), size=(1.3, 1.5)),
    )
    yield from confusion_figure(source, legend, labels, answers, len(names))
    wrong = worst_mistakes(labels, answers, probabilities_NC, MAX_MISTAKES)
    if len(wrong):
        titles = [f"{names[labels[i]]}, taken for {names[answers[i]]}" for i in wrong]
        pictures, grid = [picture(image) for image in images[wrong]], (2, MAX_MISTAKES // 2)
        yield Figure(
            "mistakes",
            "The worst mistakes",
            f"{source}; sorted by the probability of the label, lowest first",
            drawing.draw(plots.pictures, pictures, titles, grid=grid, size=(1.3, 1.5)),
        )
    if not forward.can_trace(trained.member, trained.spec):
        return
    batch = activation_batch(trained, dataset)
    source = f"{dataset.name}, validation, n = {num_examples(batch):,}; {member_label}"
    time_step = trained.member.task.time_step_name
    accuracy_T = jax.jit(accuracy_by_time_step)(trained.ready, trained.fused, batch)
    curve = np.arange(1, len(accuracy_T) + 1), accuracy_T
    yield Figure(
        "accuracy_by_time_step",
        f"Accuracy after each {time_step}",
        f"{source}; the head is applied to the output after each {time_step}, as if it were the "
        "last one",
        drawing.draw(plots.curves, {"": curve}, (f"{time_step}s read", "accuracy")),
    )
    images, labels = (np.asarray(batch[name]) for name in ("images", "labels"))
    first_of_class = np.unique(labels, return_index=True)[1]
    chosen = first_of_class[:: max(1, len(first_of_class) // 3)][:3].tolist()
    beliefs_TNC = trained.beliefs(images[chosen])
    for index, example in enumerate(chosen):
        yield Figure(
            f"belief_{index}",
            f"Belief after each {time_step}, label {names[labels[example]]}",
            f"{source}; right: the probability of each class (columns) after each {time_step} "
            f"(downwards){legend}",
            drawing.draw(
                plots.belief, picture(images[example]), beliefs_TNC[:, index],
                grid=(1, 2), size=(2.1, 2.6),
            ),
        )  # fmt: skip


def accuracy_by_time_step(member: Experiment, fused: FusedParams, batch: Batch) -> jax.Array:
    """Returns the fraction of examples whose most probable class after each time step is right:
    float32 [T]. `member` is as `predict.inference.ready` returns it.
    """
    classes_TB = jnp.argmax(inference.beliefs(member, fused, batch), axis=-1)
    return jnp.mean((classes_TB == batch["labels"][None]).astype(jnp.float32), axis=1)
