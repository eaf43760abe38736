"""Labelled texts: a file of lines `label<TAB>text`, or a text-classification set of TFDS.

Axes: N texts, L symbols of the longest one.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from lstm_jax.data import tokens
from lstm_jax.data.dataset import Arrays, Dataset, Say, make_dataset, path_of
from lstm_jax.data.labelled_splits import SPLITS, complete_splits, remove_repeats, sorted_classes
from lstm_jax.data.readers import is_text_file, read_columns
from lstm_jax.data.tfds_sets import Texts, load_text_set
from lstm_jax.errors import UserError

FEATURES = (("label",), ("text", "sentence", "description"))  # as sets of TFDS name them


class LabelledTexts(NamedTuple):
    """The labels and texts of each split, and how they were split."""

    splits: dict[str, Texts]
    classes: list[str]  # the labels; a class is an index into them
    rule: str


def load_texts(
    name: str, unit: str, max_vocabulary: int, min_count: int, max_length: int, say: Say
) -> Dataset:
    """Returns `symbols` [N,L], `lengths`, int32 [N], and `labels`, int32 [N].

    A text longer than `max_length` keeps its end. Raises UserError for an unknown name or a file
    that is not a set of labelled texts, and EnvironmentProblem for a set that cannot be obtained.
    """
    splits, classes, rule = read_texts(name, say)
    tokenized = {
        split: [tokens.tokenize_text(text, unit) for _, text in texts]
        for split, texts in splits.items()
    }
    vocabulary = tokens.text_vocabulary(tokenized["train"], max_vocabulary, min_count)
    lengths = [len(text) for text in tokenized["train"]]
    max_length = min(max_length, max(1, *lengths))
    number = {label: i for i, label in enumerate(classes)}

    def arrays(split: str) -> Arrays:
        kept = [min(len(text), max_length) for text in tokenized[split]]
        return {
            "symbols": tokens.encode_texts(tokenized[split], vocabulary, max_length),
            "lengths": np.array(kept, np.int32),
            "labels": np.array([number[label] for label, _ in splits[split]], np.int32),
        }

    return make_dataset(
        Path(name).name if is_text_file(name) else name,
        *map(arrays, SPLITS),
        vocabulary=vocabulary,
        widths=tokens.text_bucket_lengths(lengths, max_length),  # a name in the fingerprint
        classes=classes,
        split=rule,
    )


def read_texts(name: str, say: Say) -> LabelledTexts:
    """Returns the texts of each split.

    A text of validation or test that an earlier split has too is left out, and `say` prints how
    many. Letter case and white space do not count.
    """
    if is_text_file(name):
        splits: dict[str, Texts] = {"train": read_columns(path_of(name), 2, say)}
        splits, rule = complete_splits(splits, "the lines,", "the file's")
    else:
        splits = load_text_set(name, FEATURES, say, "or give a file, `--task.dataset FILE.tsv`")
        if "train" not in splits:
            raise UserError(f"dataset: {name} has no train split")
        splits, rule = complete_splits(splits, "TFDS's train split", "TFDS's")
    splits = remove_repeats(splits, lambda e: " ".join(e[1].split()).casefold(), "texts", say)
    classes = sorted_classes(name, splits, "text", "the first column is the label")
    return LabelledTexts(splits, classes, rule)
