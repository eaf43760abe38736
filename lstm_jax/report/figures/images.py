"""What a classifier of images does: its mistakes, its beliefs row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import jax
import numpy as np

from lstm_jax.data.dataset import Dataset, num_examples
from lstm_jax.predict import inference
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.report import diagnostics, drawing, plots
from lstm_jax.report.drawing import Figure
from lstm_jax.report.figures.model import activation_batch
from lstm_jax.tasks.images import num_channels
from lstm_jax.tasks.task import Batch

EXAMPLES, MISTAKES = 5, 8


def picture(image_TI: np.ndarray, channels: int) -> np.ndarray:
    """Returns an image as one shows it: [rows, columns], or in colour [rows, columns, 3]."""
    return image_TI if channels == 1 else image_TI.reshape(len(image_TI), -1, channels)


def of_answers(trained: TrainedModel, dataset: Dataset, who: str) -> Iterator[Figure]:
    """Yields examples, confusion and worst mistakes on validation, and beliefs row by row."""
    images, labels = (dataset.validation[name] for name in ("images", "labels"))
    probabilities = trained.probabilities(images)
    answers = np.argmax(probabilities, axis=1)
    names = trained.class_names
    counts = np.zeros((len(names),) * 2, int)
    np.add.at(counts, (labels, answers), 1)
    where = f"{dataset.name}, validation, n = {len(labels):,}; {who}"
    channels = num_channels(trained.metadata)
    spread = np.unique(np.linspace(0, len(labels) - 1, EXAMPLES).astype(int))
    answered = [
        f"{names[labels[i]]}: {names[answers[i]]} ({probabilities[i, answers[i]]:.0%})"
        for i in spread
    ]
    yield Figure(
        "examples",
        "Examples",
        f"{where}; the label, then the answer and its probability",
        drawing.draw(
            plots.pictures,
            [picture(image, channels) for image in images[spread]],
            answered,
            grid=(1, len(spread)),
            size=(1.3, 1.5),
        ),
    )
    if len(names) <= 26:
        yield Figure(
            "confusion",
            "Confusion matrix",
            f"{where}; rows are labels, the diagonal is right{_legend(names)}",
            drawing.draw(plots.confusion, counts, size=(4.6, 4.2)),
        )
    wrong = np.flatnonzero(answers != labels)
    wrong = wrong[np.argsort(probabilities[wrong, labels[wrong]])][:MISTAKES]
    if len(wrong):
        titles = [f"{names[labels[i]]}, taken for {names[answers[i]]}" for i in wrong]
        yield Figure(
            "mistakes",
            "The worst mistakes",
            f"{where}; least probability for the label first",
            drawing.draw(
                plots.pictures,
                [picture(image, channels) for image in images[wrong]],
                titles,
                grid=(2, MISTAKES // 2),
                size=(1.3, 1.5),
            ),
        )
    if inference.has_one_way(trained.member, trained.spec):
        batch = activation_batch(trained, dataset)
        count = num_examples(batch)
        yield from _of_beliefs(trained, batch, f"{dataset.name}, validation, n = {count:,}; {who}")


def _of_beliefs(trained: TrainedModel, batch: Batch, where: str) -> Iterator[Figure]:
    accuracy = jax.jit(diagnostics.accuracy_by_row)(trained.ready, trained.fused, batch)
    step = trained.member.task.time_step_name
    yield Figure(
        "accuracy_by_row",
        f"When it knows: accuracy after each {step}",
        f"{where}; read out as if the {step} were the last",
        drawing.draw(
            plots.curves,
            {"": (np.arange(1, len(accuracy) + 1), accuracy)},
            (f"{step}s read", "accuracy"),
        ),
    )
    images, labels = (np.asarray(batch[name]) for name in ("images", "labels"))
    firsts = np.unique(labels, return_index=True)[1]  # one image of each class
    chosen = firsts[:: max(1, len(firsts) // 3)][:3].tolist()
    beliefs, names = trained.beliefs(images[chosen]), trained.class_names
    channels = num_channels(trained.metadata)
    for index, image in enumerate(chosen):
        yield Figure(
            f"belief_{index}",
            f"Belief {step} by {step}: a {names[labels[image]]}",
            f"{where}; probability of each class (columns) after each {step} (downwards)"
            f"{_legend(names)}",
            drawing.draw(
                plots.belief, picture(images[image], channels), beliefs[:, index], "",
                grid=(1, 2), size=(2.1, 2.6),
            ),
        )  # fmt: skip


def _legend(names: Sequence[str]) -> str:
    """What the numbers of classes stand for, where that is something else."""
    named = ", ".join(f"{i} = {name}" for i, name in enumerate(names) if name != str(i))
    return f"; {named}" if named else ""
