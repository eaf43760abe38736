"""What a trained model does: its mistakes, its beliefs row by row, its gates."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.data.load import Dataset
from lstm_jax.experiment import Experiment
from lstm_jax.report import diagnose, figures
from lstm_jax.report.figures import Figure
from lstm_jax.use.trained import Trained

STEPS_LOOKED_AT = 14_000  # of validation images, by the diagnostics: 500 images of 28 rows
MISTAKES = 8


def step_name(experiment: Experiment) -> str:
    """What a step reads: row, column or pixel."""
    return {"permuted": "pixel"}.get(experiment.reading, experiment.reading.rstrip("s"))


def picture(image_TI: np.ndarray) -> np.ndarray:
    """As one shows it: in colour where three channels lie side by side in its rows."""
    rows, features = image_TI.shape
    return image_TI.reshape(rows, rows, 3) if features == 3 * rows else image_TI


def of_answers(trained: Trained, dataset: Dataset, images: np.ndarray) -> Iterator[Figure]:
    """Confusion and worst mistakes on validation: the test set is for one number only."""
    labels = dataset.validation.labels
    probabilities = trained.probabilities(images)
    answers = np.argmax(probabilities, axis=1)
    counts = np.zeros((dataset.num_classes, dataset.num_classes), int)
    np.add.at(counts, (labels, answers), 1)
    who = f"{dataset.name}, validation, n = {len(labels):,}; {trained.member}"
    if dataset.num_classes <= 26:
        yield Figure(
            "confusion",
            "What is taken for what",
            f"{who}; rows are labels, the diagonal is right",
            figures.draw(figures.confusion, counts, size=(4.6, 4.2)),
        )
    wrong = np.flatnonzero(answers != labels)
    wrong = wrong[np.argsort(probabilities[wrong, labels[wrong]])][:MISTAKES]
    if len(wrong):
        titles = [f"{labels[i]}, taken for {answers[i]}" for i in wrong]
        yield Figure(
            "mistakes",
            "The worst mistakes",
            f"{who}; least probability for the label first",
            figures.draw(
                figures.pictures,
                [picture(image) for image in images[wrong]],
                titles,
                grid=(2, MISTAKES // 2),
                size=(1.3, 1.5),
            ),
        )


def of_insides(
    experiment: Experiment, trained: Trained, dataset: Dataset, whole: np.ndarray
) -> Iterator[Figure]:
    """Accuracy, belief and gates by row; `whole` images are as before reading."""
    looked_at = max(50, STEPS_LOOKED_AT // dataset.validation.images.shape[1])
    images, labels = (jnp.asarray(array[:looked_at]) for array in dataset.validation)
    who = f"{dataset.name}, validation, n = {len(labels):,}; {trained.member}"
    accuracy = jax.jit(diagnose.accuracy_by_row)(trained.folded, images, labels)
    steps = np.arange(1, len(accuracy) + 1)
    step = step_name(experiment)
    yield Figure(
        "accuracy_by_row",
        f"When it knows: accuracy after each {step}",
        f"{who}; read out as if the {step} were the last",
        figures.draw(figures.curves, {"": (steps, accuracy)}, (f"{step}s read", "accuracy")),
    )
    firsts = np.unique(np.asarray(labels), return_index=True)[1]  # one image of each class
    chosen = firsts[:: max(1, len(firsts) // 3)][:3].tolist()
    beliefs = trained.beliefs(whole[chosen])
    for index, image in enumerate(chosen):
        yield Figure(
            f"belief_{index}",
            f"Belief {step} by {step}: a {labels[image]}",
            f"{who}; probability of each class (columns) after each {step} (downwards)",
            figures.draw(
                figures.belief, picture(whole[image]), beliefs[:, index], "",
                grid=(1, 2), size=(2.1, 2.6),
            ),
        )  # fmt: skip
    yield from _of_gates(trained, images, who, step)


def _of_gates(trained: Trained, images: jax.Array, who: str, step: str) -> Iterator[Figure]:
    """Gates, their saturation, and the cell."""
    found = jax.jit(diagnose.gates)(trained.folded, images)
    steps = np.arange(1, len(found["cell"].mean_T) + 1)
    gates = {name: (g.mean_T, g.sd_T) for name, g in found.items() if name != "cell"}
    yield Figure(
        "gates",
        "The gates",
        f"{who}; mean over images and units, band of one standard deviation",
        figures.draw(figures.bands, gates, (step, "gate")),
    )
    full = {f"{n}, {w}": (steps, v) for n, g in found.items() if n != "cell"
            for w, v in (("shut", g.low_T), ("open", g.high_T))}  # fmt: skip
    yield Figure(
        "saturation",
        "Saturated gates",
        f"{who}; share of units below {diagnose.SATURATED} (shut) and above "
        f"{1 - diagnose.SATURATED} (open)",
        figures.draw(figures.curves, full, (step, "share")),
    )
    yield Figure(
        "cell",
        "The cell",
        f"{who}; mean over images and units, band of one standard deviation",
        figures.draw(
            figures.bands, {"cell": (found["cell"].mean_T, found["cell"].sd_T)}, (step, "c")
        ),
    )
