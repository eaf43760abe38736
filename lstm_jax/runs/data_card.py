"""Says what was read of the data of a study, so that a wrong reading is seen before training."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import jax.numpy as jnp
import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from lstm_jax.config.search import Study
from lstm_jax.data.dataset import Dataset, num_examples, shared_arrays
from lstm_jax.runs.code import user_errors
from lstm_jax.runs.datasets import load_data, trivial_score
from lstm_jax.runs.files import printable
from lstm_jax.runs.progress import say
from lstm_jax.tasks.task import Task

NUM_SHOWN = 3  # examples of training
MAX_CLASSES = 50  # in the table


def show_data(name: str, study: Study, console: Console, *, fallback: bool = False) -> None:
    """Prints a data card of each data set of a study. Trains nothing.

    A card shows the number of examples and of each class in each split, the arrays, the score of
    the best answer that ignores the input, three examples as they were read, and warnings.
    """
    name, study, datasets = load_data(name, study, fallback, console)
    for key, task in study.experiment.data_tasks().items():
        dataset = datasets[key]
        say(console, f"{dataset.name} ({key}), fingerprint {dataset.fingerprint[:12]}")
        console.print(count_table(task, dataset), highlight=False)
        with user_errors(study.experiment):
            for line in describe(task, dataset):
                say(console, line)


def count_table(task: Task, dataset: Dataset) -> Table:
    """Returns a table of the examples, and of those of each class, in each split."""
    counts = [f"{num_examples(split):,}" for split in dataset[1:4]]
    if task.online:  # the data hold a template alone
        counts[0] = "new in each step"
    table = Table("", "training", "validation", "test", box=SIMPLE)
    table.add_row("examples", *counts)
    for class_name, in_splits in islice(class_counts(dataset).items(), MAX_CLASSES):
        table.add_row(printable(f"class {class_name}"), *(f"{count:,}" for count in in_splits))
    return table


def class_counts(dataset: Dataset) -> dict[str, tuple[int, ...]]:
    """Returns how many examples training, validation and test have of each class, by its name.

    It is empty for data without classes.
    """
    names = dataset.metadata.get("classes")
    size = len(names) if names else dataset.metadata.get("num_classes", 0)
    if not size or "labels" not in dataset.train:
        return {}
    counts = [np.bincount(split["labels"], minlength=size) for split in dataset[1:4]]
    return {
        str(names[i] if names else i): tuple(int(count[i]) for count in counts) for i in range(size)
    }


def describe(task: Task, dataset: Dataset) -> Iterator[str]:
    """Yields the lines of a data card below its table; those that begin with `warning` last."""
    for name, array in dataset.train.items():
        shape = array.shape if name in shared_arrays(dataset.train) else array.shape[1:]
        yield f"{name}: {array.dtype} {list(shape)}"
    if (score := trivial_score(task, dataset)) is not None:
        metric = task.metric.replace("_", " ")
        yield f"trivial {metric}, of the best answer that ignores the input: {score:.4f}"
    for index in range(min(NUM_SHOWN, dataset.num_examples)):
        batch = task.gather(dataset.train, jnp.array([index]))
        example = {name: np.asarray(array)[0] for name, array in batch.items()}
        if text := task.describe_example(example, dataset.metadata):
            yield f"training example {index + 1}: {text}"
    for class_name, counts in class_counts(dataset).items():
        for split, count in zip(("training", "validation", "test"), counts, strict=True):
            if not count:
                yield f"warning: {split} has no example of the class {class_name}"
    for warning in task.doubts(dataset):
        yield f"warning: {warning}"
