"""Labelled texts: a table with a label and a text in each row, a folder of texts by class, or a set
of TFDS.

Axes: N texts, L symbols of the longest one.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from lstm_jax.data import tokens
from lstm_jax.data.columns import choose_columns, read_rows
from lstm_jax.data.dataset import Arrays, Dataset, Say, make_dataset, path_of
from lstm_jax.data.files import decode, is_text_file, read_bytes
from lstm_jax.data.folders import FolderWalk
from lstm_jax.data.labelled_splits import (
    LABEL_NAMES,
    SPLITS,
    complete_splits,
    positions_by_hash,
    remove_repeats,
    say_absent_classes,
    say_doubtful_labels,
    sorted_classes,
)
from lstm_jax.data.readers import read_table
from lstm_jax.data.table import Table, TableOptions, counted
from lstm_jax.data.tfds_sets import Texts, load_text_set
from lstm_jax.errors import UserError

FEATURES = (("label",), ("text", "sentence", "description"))  # as sets of TFDS name them
# Names of a column of texts, in small letters.
TEXT_NAMES = {
    "text", "texts", "sentence", "review", "reviews", "content", "message", "comment", "tweet",
    "document", "description", "title", "headline", "phrase", "body", "post", "query",
    "question", "utterance", "email", "sms", "news", "article", "abstract", "review_text",
    "text_a", "x",
}  # fmt: skip


class TextColumns(NamedTuple):
    """Where the labels and texts of a file are: fields of the task `text`."""

    label_column: str | None = None
    text_column: str | None = None
    encoding: str | None = None


BY_NAME = TextColumns()


class LabelledTexts(NamedTuple):
    """The labels and texts of each split, and how they were split."""

    splits: dict[str, Texts]
    classes: list[str]  # the labels; a class is an index into them
    rule: str


def load_texts(
    name: str,
    unit: str,
    max_vocabulary: int,
    min_count: int,
    max_length: int,
    say: Say,
    columns: TextColumns = BY_NAME,
    vocabulary: list[str] | None = None,
) -> Dataset:
    """Returns `symbols` [N,L], `lengths`, int32 [N], and `labels`, int32 [N].

    A text longer than `max_length` keeps its end. Without a `vocabulary` it is that of the training
    texts. Raises UserError for an unknown name or a file
    that is not a set of labelled texts, and EnvironmentProblem for a set that cannot be obtained.
    """
    splits, classes, rule = read_texts(name, say, columns)
    tokenized = {
        split: [tokens.tokenize_text(text, unit) for _, text in texts]
        for split, texts in splits.items()
    }
    tokens.say_unspaced(name, tokenized["train"], unit, say)
    if vocabulary is None:
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


def check_texts(dataset: Dataset) -> None:
    """Raises UserError where a data set that was made from arrays is not one of texts."""
    wanted = {"symbols": "int32 [N,L]", "lengths": "int32 [N]", "labels": "int32 [N]"}
    listed = ", ".join(f"{name} {shape}" for name, shape in wanted.items())
    lists = {
        name: value
        for name in ("vocabulary", "classes", "widths")
        if isinstance(value := dataset.metadata.get(name), list) and value
    }
    if len(lists) < 3 or any(not wanted.keys() <= split.keys() for split in dataset[1:4]):
        raise UserError(
            f"{dataset.name}: the task text reads a file of lines label<TAB>text, task.dataset "
            f"FILE.tsv; of arrays it needs {listed} in each split, and make_dataset(..., "
            "vocabulary=[...], classes=[...], widths=[L])"
        )
    for split_name in SPLITS:
        arrays = getattr(dataset, split_name)
        longest = arrays["symbols"].shape[1] if arrays["symbols"].ndim == 2 else 0
        bounds = {
            "symbols": (0, len(lists["vocabulary"]) - 1),
            "lengths": (0, min(longest, max(lists["widths"]))),
            "labels": (0, len(lists["classes"]) - 1),
        }
        for name, (low, high) in bounds.items():
            array, ndim = arrays[name], 2 if name == "symbols" else 1
            if array.dtype.kind not in "iu" or array.ndim != ndim or not array.size:
                raise UserError(
                    f"{dataset.name}: {name} of {split_name} are {array.dtype}"
                    f"{list(array.shape)}, not {wanted[name]}"
                )
            if array.min() < low or array.max() > high:
                raise UserError(
                    f"{dataset.name}: {name} of {split_name} are from {array.min()} to "
                    f"{array.max()}, not from {low} to {high}"
                )


def read_texts(name: str, say: Say, columns: TextColumns = BY_NAME) -> LabelledTexts:
    """Returns the texts of each split.

    A text of validation or test that an earlier split has too is left out, and `say` prints how
    many. Letter case and white space do not count.
    """
    if is_text_file(name) and path_of(name).is_dir():
        splits = _read_folder(path_of(name), columns.encoding, say)
        labels = [label for label, _ in splits["train"]]
        say_doubtful_labels(name, labels, "text", say)
        positions = positions_by_hash(labels, [_content(text) for _, text in splits["train"]])
        source = "each class of the texts, by a hash of the text,"
        splits, rule = complete_splits(splits, source, "the user's", positions)
    elif is_text_file(name):
        options = TableOptions(columns.encoding, raw_tabs=True)
        table = read_table(path_of(name), options, say)
        fields = {name: getattr(columns, name) for name in ("label_column", "text_column")}
        table, names = choose_columns(table, fields, named_columns, say)
        lines = read_rows(table, names, say)
        labels = [label for label, _ in lines]
        say_doubtful_labels(name, labels, "text", say)
        positions = positions_by_hash(labels, [_content(text) for _, text in lines])
        source = "each class of the lines, by a hash of the text,"
        splits, rule = complete_splits({"train": lines}, source, "the file's", positions)
    else:
        needed = "a file of texts is a .tsv, .csv, .jsonl or .parquet of a label and a text a row"
        instead = "or give a file, `--task.dataset FILE.tsv`"
        splits = load_text_set(name, FEATURES, say, instead, needed)
        if "train" not in splits:
            raise UserError(f"dataset: {name} has no train split")
        splits, rule = complete_splits(splits, "TFDS's train split", "TFDS's")
    splits = remove_repeats(splits, lambda example: _content(example[1]), "texts", say)
    hint = "the first column is the label, unless --task.label-column names another"
    say_absent_classes(name, splits, "text", say)
    classes = sorted_classes(name, splits, "text", hint)
    return LabelledTexts(splits, classes, rule)


def _read_folder(path: Path, encoding: str | None, say: Say) -> dict[str, Texts]:
    """Returns the labels and texts of each split, of a folder of .txt files for each class.

    Files are read in the order of their paths. Raises UserError where training has none.
    """
    splits: dict[str, Texts] = {}
    walk = FolderWalk(path)
    for split, folder in walk.split_folders(say).items():
        splits[split], num_empty = [], 0
        for class_folder in walk.subfolders(folder):
            files = [f for f in walk.files(class_folder) if f.suffix.lower() == ".txt"]
            for file in files:
                text = decode(read_bytes(file)[0], file, encoding).strip()
                splits[split] += [(class_folder.name, text)] if text else []
                num_empty += not text
        if num_empty:
            say(f"{folder}: left out an empty file {counted(num_empty, 'time')}")
    walk.say_left_out(say)
    if not splits["train"]:
        raise UserError(
            f"dataset: no .txt files lie in folders of {path}; a class is a folder, as in "
            f"{path / 'train' / 'good' / '1.txt'} or {path / 'good' / '1.txt'}"
        )
    return splits


def named_columns(table: Table) -> tuple[int, int] | None:
    """Returns the positions of label and text where the columns are named; None where not.

    A name of a column that a later row has too is a class.
    """
    names = [name.strip("\"' ").casefold() for name in table.first_row()]
    positions = []
    for known, plain in ((LABEL_NAMES, "label"), (TEXT_NAMES, "text")):
        fitting = [i for i, name in enumerate(names) if name in known]
        exact = [i for i in fitting if names[i] == plain]
        if len(exact or fitting) != 1:
            return None
        positions += exact or fitting
    if not table.has_header:
        labels = table.words(list(table.columns)[positions[0]])
        if labels[0] in labels[1:]:
            return None
    return positions[0], positions[1]


def _content(text: str) -> str:
    """Returns what makes two texts the same: letter case and white space do not count."""
    return " ".join(tokens.normalize(text).split()).casefold()
