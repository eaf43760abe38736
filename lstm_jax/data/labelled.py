"""Labelled texts: a file of lines `label<TAB>text`, or a TFDS text-classification set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lstm_jax.data import tokens
from lstm_jax.data.dataset import Arrays, Dataset, make_dataset, path_of
from lstm_jax.data.splits import SPLITS, apart, classes_of, in_three
from lstm_jax.data.text_sets import Texts, is_path, load_set
from lstm_jax.data.texts import read_columns
from lstm_jax.errors import UserError

WANTED = (("label",), ("text", "sentence", "description"))


class Labelled(NamedTuple):
    """Labels and texts of each split, and how they came there."""

    splits: dict[str, Texts]
    classes: list[str]  # the labels; their places are the classes
    rule: str  # by which the splits were made


def load(
    name: str, unit: str, most: int, least_count: int, longest: int, say: Callable[[str], None]
) -> Dataset:
    """Returns `symbols` [N,L], `lengths`, int32 [N], and `labels`, int32 [N].

    A text longer than `longest` keeps its end. Raises `UserError` for a name or a file that is no
    set of labelled texts, and `EnvironmentProblem` for one that is not to be had.
    """
    splits, classes, rule = read(name, say)
    cuts = {
        split: [tokens.tokenize_text(t, unit) for _, t in texts] for split, texts in splits.items()
    }
    symbols = tokens.text_vocabulary(cuts["train"], most, least_count)
    lengths = [len(text) for text in cuts["train"]]
    longest = min(longest, max(1, *lengths))
    number = {label: i for i, label in enumerate(classes)}

    def arrays(split: str) -> Arrays:
        kept = [min(len(text), longest) for text in cuts[split]]
        return {
            "symbols": tokens.encode_texts(cuts[split], symbols, longest),
            "lengths": np.array(kept, np.int32),
            "labels": np.array([number[label] for label, _ in splits[split]], np.int32),
        }

    return make_dataset(
        Path(name).name if is_path(name) else name,
        *map(arrays, SPLITS),
        vocabulary=symbols,
        widths=tokens.text_bucket_lengths(lengths, longest),  # the fingerprint holds this name
        classes=classes,
        split=rule,
    )


def read(name: str, say: Callable[[str], None]) -> Labelled:
    """Returns the texts. One that is in training and, letter case and white space aside, also in
    validation or test is taken out of there, which `say` hears.
    """
    if is_path(name):
        given: dict[str, Texts] = {"train": read_columns(path_of(name), 2, say)}
        splits, rule = in_three(given, "the lines,", "the file's")
    else:
        given, _ = load_set(name, WANTED, say, "or give a file, `--task.dataset FILE.tsv`")
        if "train" not in given:
            raise UserError(f"dataset: {name} has no train split")
        splits, rule = in_three(given, "TFDS's train split", "TFDS's")
    splits = apart(splits, _plain, "texts", say)
    classes = classes_of(name, splits, "text", "the first column is the label")
    return Labelled(splits, classes, rule)


def _plain(example: tuple[str, ...]) -> str:
    """A text without its letter case and white space."""
    return " ".join(example[1].split()).casefold()
