"""What a trained model does: its mistakes, its beliefs row by row, its gates."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.data import Dataset, num_examples
from lstm_jax.report import diagnose, figures
from lstm_jax.report.figures import Figure
from lstm_jax.tasks.images import Images
from lstm_jax.tasks.task import Batch, Task
from lstm_jax.use.trained import Trained

ROWS_LOOKED_AT = 14_000  # of validation, by the diagnostics: 500 images of 28 rows
MISTAKES = 8


def step_name(task: Task) -> str:
    """Returns what a step reads: a row, a column, a pixel."""
    return task.step_name if isinstance(task, Images) else "row"


def first_examples(trained: Trained, dataset: Dataset, count: int) -> Batch:
    """Returns the first examples of validation: the test set is for one number only."""
    size = min(count, num_examples(dataset.validation))
    index_B = jnp.arange(size, dtype=jnp.int32)
    return trained.member.task.gather(dataset.validation, index_B)


def picture(image_TI: np.ndarray) -> np.ndarray:
    """Returns an image as one shows it: in colour where its rows hold three channels a pixel."""
    rows, features = image_TI.shape
    return image_TI.reshape(rows, rows, 3) if features == 3 * rows else image_TI


def of_answers(trained: Trained, dataset: Dataset, who: str) -> Iterator[Figure]:
    """Yields confusion and worst mistakes on validation, of images."""
    if not isinstance(trained.member.task, Images):
        return
    images, labels = (dataset.validation[name] for name in ("images", "labels"))
    probabilities = trained.probabilities(images)
    answers = np.argmax(probabilities, axis=1)
    classes = trained.ends.num_outputs
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (labels, answers), 1)
    where = f"{dataset.name}, validation, n = {len(labels):,}; {who}"
    if classes <= 26:
        yield Figure(
            "confusion",
            "What is taken for what",
            f"{where}; rows are labels, the diagonal is right",
            figures.draw(figures.confusion, counts, size=(4.6, 4.2)),
        )
    wrong = np.flatnonzero(answers != labels)
    wrong = wrong[np.argsort(probabilities[wrong, labels[wrong]])][:MISTAKES]
    if len(wrong):
        titles = [f"{labels[i]}, taken for {answers[i]}" for i in wrong]
        yield Figure(
            "mistakes",
            "The worst mistakes",
            f"{where}; least probability for the label first",
            figures.draw(
                figures.pictures,
                [picture(image) for image in images[wrong]],
                titles,
                grid=(2, MISTAKES // 2),
                size=(1.3, 1.5),
            ),
        )


def of_insides(trained: Trained, dataset: Dataset, who: str) -> Iterator[Figure]:
    """Yields, by row, the accuracy and belief about images, and the gates of any model."""
    one = first_examples(trained, dataset, 1)
    rows = jax.eval_shape(trained.ready.task.inputs, one).x_TBI.shape[0]
    batch = first_examples(trained, dataset, max(50, ROWS_LOOKED_AT // rows))
    where = f"{dataset.name}, validation, n = {num_examples(batch):,}; {who}"
    if isinstance(trained.member.task, Images):
        yield from _of_beliefs(trained, batch, where)
    yield from _of_looks(trained, batch, where)


def _of_beliefs(trained: Trained, batch: Batch, where: str) -> Iterator[Figure]:
    accuracy = jax.jit(diagnose.accuracy_by_row)(trained.ready, trained.folded, batch)
    step = step_name(trained.member.task)
    yield Figure(
        "accuracy_by_row",
        f"When it knows: accuracy after each {step}",
        f"{where}; read out as if the {step} were the last",
        figures.draw(
            figures.curves,
            {"": (np.arange(1, len(accuracy) + 1), accuracy)},
            (f"{step}s read", "accuracy"),
        ),
    )
    images, labels = (np.asarray(batch[name]) for name in ("images", "labels"))
    firsts = np.unique(labels, return_index=True)[1]  # one image of each class
    chosen = firsts[:: max(1, len(firsts) // 3)][:3].tolist()
    beliefs = trained.beliefs(images[chosen])
    for index, image in enumerate(chosen):
        yield Figure(
            f"belief_{index}",
            f"Belief {step} by {step}: a {labels[image]}",
            f"{where}; probability of each class (columns) after each {step} (downwards)",
            figures.draw(
                figures.belief, picture(images[image]), beliefs[:, index], "",
                grid=(1, 2), size=(2.1, 2.6),
            ),
        )  # fmt: skip


def _of_looks(trained: Trained, batch: Batch, where: str) -> Iterator[Figure]:
    """Gates and their saturation, in cells that have any; the cell, or else the output."""
    found = jax.jit(diagnose.looks)(trained.ready, trained.folded, batch)
    step, last = step_name(trained.member.task), trained.member.layers
    layer = f"{where}; layer {last} of {last}" if last > 1 else where
    steps = np.arange(1, len(found["h"].mean_T) + 1)
    gates = {name: look for name, look in found.items() if diagnose.is_gate(name)}
    means = f"{layer}; mean over examples and units, band of one standard deviation"
    if gates:
        lines = {name: (look.mean_T, look.sd_T) for name, look in gates.items()}
        yield Figure(
            "gates", "The gates", means, figures.draw(figures.bands, lines, (step, "gate"))
        )
        full = {
            f"{name}, {way}": (steps, share)
            for name, look in gates.items()
            for way, share in (("shut", look.low_T), ("open", look.high_T))
        }
        yield Figure(
            "saturation",
            "Saturated gates",
            f"{layer}; share of units below {diagnose.SATURATED} (shut) and above "
            f"{1 - diagnose.SATURATED} (open)",
            figures.draw(figures.curves, full, (step, "share")),
        )
    name, title, symbol = ("cell", "cell", "c") if "cell" in found else ("output", "h", "h")
    look = found["cell" if name == "cell" else "h"]
    drawing = figures.draw(figures.bands, {title: (look.mean_T, look.sd_T)}, (step, symbol))
    yield Figure(name, f"The {name}", means, drawing)
