"""The data card: what was read of a data set, so that a wrong reading is seen before training.

A card is a JSON value: the record of a run holds one for each data set, and `record.CARD` is its
schema. The command `data` prints it whole, `run` prints a few lines of it, and the report's page
shows it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

import jax.numpy as jnp
import numpy as np
from rich.table import Table

from lstm_jax.data.dataset import Dataset, num_examples, shared_arrays
from lstm_jax.fields import field_specs
from lstm_jax.runs.progress import text_table
from lstm_jax.tasks.task import Task

NUM_SHOWN = 3  # examples of training
MAX_CLASSES = 50  # in the table and in a card
MAX_SHORT_CLASSES = 6  # in a line of `run`
MAX_LINES = 50  # warnings, or notes, in a card
MAX_LETTERS = 500  # of an example in a card
SPLITS = "training", "validation", "test"


def data_card(task: Task, dataset: Dataset) -> dict[str, Any]:
    """Returns the data card of a data set that a task reads."""
    counts = class_counts(dataset)
    sizes = [num_examples(split) for split in dataset[1:4]]
    warnings = [
        f"{split} has no example of the class {class_name}"
        for class_name, in_splits in counts.items()
        for split, count in zip(SPLITS, in_splits, strict=True)
        if not count
    ]
    return {
        "name": dataset.name,
        "source": _source(task),
        "examples": [None if task.online else sizes[0], *sizes[1:]],
        "classes": dict(islice(counts.items(), MAX_CLASSES)),
        "num_classes": len(counts),
        "arrays": dict(_arrays(dataset)),
        "metric": task.metric,
        "trivial": trivial_scores(task, dataset),
        "facts": task.describe_data(dataset)[:MAX_LINES],
        "shown": list(_examples(task, dataset)),
        "notes": dataset.metadata.get("notes", [])[:MAX_LINES],
        "warnings": [*warnings, *task.doubts(dataset)][:MAX_LINES],
    }


def count_table(card: dict[str, Any]) -> Table:
    """Returns a table of the examples, and of those of each class, in each split."""
    return text_table(["", *SPLITS], count_rows(card))


def count_rows(card: dict[str, Any]) -> list[list[str]]:
    """Returns the rows of a table of the examples, and of those of each class, in each split."""
    sizes = ["new in each step" if size is None else f"{size:,}" for size in card["examples"]]
    rows = [["examples", *sizes]]
    for class_name, counts in card["classes"].items():
        rows.append([f"class {class_name}", *(f"{count:,}" for count in counts)])
    if more := card["num_classes"] - len(card["classes"]):
        rows.append([f"{more:,} more classes", "", "", ""])
    return rows


def class_counts(dataset: Dataset) -> dict[str, list[int]]:
    """Returns how many examples training, validation and test have of each class, by its name.

    It is empty for data without classes.
    """
    names = dataset.metadata.get("classes")
    size = len(names) if names else dataset.metadata.get("num_classes", 0)
    if not size or "labels" not in dataset.train:
        return {}
    counts = [np.bincount(split["labels"], minlength=size) for split in dataset[1:4]]
    return {str(names[i] if names else i): [int(count[i]) for count in counts] for i in range(size)}


def trivial_scores(task: Task, dataset: Dataset) -> dict[str, float | None]:
    """Returns the test metrics of answers that need no model, by the answer in words.

    The first one is the task's trivial score. A score that is not finite is None. It is empty where
    the task defines none.
    """
    try:
        scores = task.trivial_scores(dataset)
    except NotImplementedError:
        return {}
    return {n: float(score) if math.isfinite(score) else None for n, score in scores.items()}


def best_trivial_score(task: Task, scores: dict[str, float | None]) -> float | None:
    """Returns the best of the scores of `trivial_scores`; None where there is none.

    A model is worth something only where it beats all answers that need no model: of a series, the
    last value is often far better than the mean.
    """
    finite = [score for score in scores.values() if score is not None]
    return (max if task.higher_is_better else min)(finite, default=None)


def describe(card: dict[str, Any]) -> Iterator[str]:
    """Yields the lines of a data card below its table; those that begin with `warning` last."""
    yield from (f"{name}: {form}" for name, form in card["arrays"].items())
    yield from _trivial_lines(card)
    yield from card["facts"]
    yield from (f"training example {i}: {text}" for i, text in enumerate(card["shown"], 1))
    yield from (f"warning: {warning}" for warning in card["warnings"])


def describe_briefly(card: dict[str, Any]) -> Iterator[str]:
    """Yields two to four lines of a data card, and its warnings."""
    sizes = [
        f"new {split} in each step" if size is None else f"{size:,} {split}"
        for size, split in zip(card["examples"], SPLITS, strict=True)
    ]
    arrays = ", ".join(f"{name} {form}" for name, form in card["arrays"].items())
    source = f" ({card['source']})" if card["source"] else ""
    yield f"data {card['name']}{source}: {', '.join(sizes)} examples; {arrays}"
    if card["num_classes"]:
        counts = [
            f"{name} {'/'.join(map(str, in_splits))}"
            for name, in_splits in islice(card["classes"].items(), MAX_SHORT_CLASSES)
        ]
        more = card["num_classes"] - len(counts)
        ending = f", and {more:,} more" if more else ""
        yield f"{card['num_classes']} classes: {', '.join(counts)}{ending}"
    if facts := card["facts"]:
        yield "; ".join(facts)
    yield from _trivial_lines(card)
    yield from (f"warning: {warning}" for warning in card["warnings"])


def _trivial_lines(card: dict[str, Any]) -> Iterator[str]:
    scores = [
        f"{answer} {'not finite' if score is None else f'{score:.4g}'}"
        for answer, score in card["trivial"].items()
    ]
    if scores:
        yield f"trivial {card['metric'].replace('_', ' ')} on the test: {', '.join(scores)}"


def _source(task: Task) -> str:
    """Returns the fields that decide what is loaded: the first one, and those not at a default."""
    specs = {name: spec for name, spec in field_specs(task).items() if spec.data}
    first = next(iter(specs), "")
    defaults = {field.name: field.default for field in dataclasses.fields(task)}
    return ", ".join(
        f"{name.replace('_', ' ')} {getattr(task, name)}"
        for name in specs
        if name == first or getattr(task, name) != defaults[name]
    )


def _arrays(dataset: Dataset) -> Iterator[tuple[str, str]]:
    for name, array in dataset.train.items():
        shape = array.shape if name in shared_arrays(dataset.train) else array.shape[1:]
        yield name, f"{array.dtype} {list(shape)}"


def _examples(task: Task, dataset: Dataset) -> Iterator[str]:
    for index in range(min(NUM_SHOWN, dataset.num_examples)):
        batch = task.gather(dataset.train, jnp.array([index]))
        example = {name: np.asarray(array)[0] for name, array in batch.items()}
        if text := task.describe_example(example, dataset.metadata):
            yield text if len(text) <= MAX_LETTERS else f"{text[:MAX_LETTERS]} ..."
