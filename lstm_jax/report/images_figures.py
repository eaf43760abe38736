"""What a classifier of images does: its mistakes, its beliefs row by row."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import numpy as np

from lstm_jax.data import Dataset, num_examples
from lstm_jax.report import diagnose, figures, plots
from lstm_jax.report.figures import Figure
from lstm_jax.report.model_figures import look_batch
from lstm_jax.tasks.task import Batch
from lstm_jax.use import forward
from lstm_jax.use.trained import Trained

EXAMPLES, MISTAKES = 5, 8


def picture(image_TI: np.ndarray) -> np.ndarray:
    """Returns an image as one shows it: in colour where its rows hold three channels a pixel."""
    rows, features = image_TI.shape
    return image_TI.reshape(rows, rows, 3) if features == 3 * rows else image_TI


def _class_names(trained: Trained) -> list[str]:
    """Returns the names of the classes: their numbers, where the data has no others."""
    return trained.facts.get("classes") or [str(i) for i in range(trained.ends.num_outputs)]


def of_answers(trained: Trained, dataset: Dataset, who: str) -> Iterator[Figure]:
    """Yields examples, confusion and worst mistakes on validation, and beliefs row by row."""
    images, labels = (dataset.validation[name] for name in ("images", "labels"))
    probabilities = trained.probabilities(images)
    answers = np.argmax(probabilities, axis=1)
    names = _class_names(trained)
    counts = np.zeros((len(names),) * 2, int)
    np.add.at(counts, (labels, answers), 1)
    where = f"{dataset.name}, validation, n = {len(labels):,}; {who}"
    spread = np.unique(np.linspace(0, len(labels) - 1, EXAMPLES).astype(int))
    answered = [
        f"{names[labels[i]]}: {names[answers[i]]} ({probabilities[i, answers[i]]:.0%})"
        for i in spread
    ]
    yield Figure(
        "examples",
        "Five images",
        f"{where}; the label, then the answer and its probability",
        figures.draw(
            plots.pictures,
            [picture(image) for image in images[spread]],
            answered,
            grid=(1, len(spread)),
            size=(1.3, 1.5),
        ),
    )
    if len(names) <= 26:
        legend = ", ".join(f"{i} = {name}" for i, name in enumerate(names) if name != str(i))
        yield Figure(
            "confusion",
            "Confusion matrix",
            "; ".join(filter(None, (where, "rows are labels, the diagonal is right", legend))),
            figures.draw(plots.confusion, counts, size=(4.6, 4.2)),
        )
    wrong = np.flatnonzero(answers != labels)
    wrong = wrong[np.argsort(probabilities[wrong, labels[wrong]])][:MISTAKES]
    if len(wrong):
        titles = [f"{names[labels[i]]}, taken for {names[answers[i]]}" for i in wrong]
        yield Figure(
            "mistakes",
            "The worst mistakes",
            f"{where}; least probability for the label first",
            figures.draw(
                plots.pictures,
                [picture(image) for image in images[wrong]],
                titles,
                grid=(2, MISTAKES // 2),
                size=(1.3, 1.5),
            ),
        )
    if forward.has_one_way(trained.member, trained.ends):
        batch = look_batch(trained, dataset)
        count = num_examples(batch)
        yield from _of_beliefs(trained, batch, f"{dataset.name}, validation, n = {count:,}; {who}")


def _of_beliefs(trained: Trained, batch: Batch, where: str) -> Iterator[Figure]:
    accuracy = jax.jit(diagnose.accuracy_by_row)(trained.ready, trained.folded, batch)
    step = trained.member.task.step_name
    yield Figure(
        "accuracy_by_row",
        f"When it knows: accuracy after each {step}",
        f"{where}; read out as if the {step} were the last",
        figures.draw(
            plots.curves,
            {"": (np.arange(1, len(accuracy) + 1), accuracy)},
            (f"{step}s read", "accuracy"),
        ),
    )
    images, labels = (np.asarray(batch[name]) for name in ("images", "labels"))
    firsts = np.unique(labels, return_index=True)[1]  # one image of each class
    chosen = firsts[:: max(1, len(firsts) // 3)][:3].tolist()
    beliefs, names = trained.beliefs(images[chosen]), _class_names(trained)
    for index, image in enumerate(chosen):
        yield Figure(
            f"belief_{index}",
            f"Belief {step} by {step}: a {names[labels[image]]}",
            f"{where}; probability of each class (columns) after each {step} (downwards)",
            figures.draw(
                plots.belief, picture(images[image]), beliefs[:, index], "",
                grid=(1, 2), size=(2.1, 2.6),
            ),
        )  # fmt: skip
