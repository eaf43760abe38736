"""Texts of TensorFlow Datasets: sets of labelled texts, and long texts, by their names."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from lstm_jax.data.tfds import FALLBACK, find_builder, have, one_line, quiet
from lstm_jax.errors import SurroundingsError, UserError

Texts = list[tuple[str, ...]]  # the wanted features of each example


def is_path(name: str) -> bool:
    """Returns whether a data set's name is that of a file: it begins with `.`, `/` or `~`, ends as
    files of text do, or is a pattern of files.
    """
    return re.search(r"^[./~]|[*]|\.(txt|tsv|gz|csv|md|py)$", name) is not None


def load_set(
    name: str, wanted: tuple[str, ...], say: Callable[[str], None], instead: str = FALLBACK
) -> tuple[dict[str, Texts], int | None]:
    """Returns the examples of each split in TFDS's order, as the texts of the features `wanted`
    (of a class the number, as text), and how many classes `label` has, if that is one of them.

    Raises `UserError` for a name that is none or a set without these features, and
    `SurroundingsError` when it is damaged, or neither on disk nor to be had; its line ends in what
    one can do `instead`.
    """
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name):
        raise UserError(f"dataset: expected a file, or a name such as imdb_reviews, got {name!r}")
    root = Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser().absolute()
    try:
        with quiet():
            builder = have(name, root, say, partial(_opened, wanted))
            say(f"reading {name}")
            splits = {split: _read(builder, split, wanted) for split in builder.info.splits}
    except SurroundingsError as error:
        raise SurroundingsError(str(error).replace(FALLBACK, instead)) from error
    return splits, getattr(builder.info.features.get("label"), "num_classes", None)


def _opened(wanted: tuple[str, ...], name: str, root: Path) -> Any:
    """TFDS's builder of a set that has these features: texts, or a class named `label`."""
    builder = find_builder(name, root)
    features = builder.info.features
    for feature in wanted:
        if feature not in (features or {}):
            raise UserError(f"dataset: {name} has no {feature!r}; {' and '.join(wanted)} are read")
        if feature == "label" and not getattr(features[feature], "num_classes", None):
            raise UserError(f"dataset: the labels of {name} are no classes: {features[feature]}")
        if feature != "label" and features[feature].shape != ():
            raise UserError(f"dataset: {feature!r} of {name} is no text: {features[feature]}")
    return builder


def _read(builder: Any, split: str, wanted: tuple[str, ...]) -> Texts:
    try:
        return [
            tuple(_text(example[feature]) for feature in wanted)
            for example in builder.as_data_source(split)
        ]
    except Exception as error:
        raise SurroundingsError(
            f"{builder.name}: {builder.data_path} is damaged, remove it to have it prepared "
            f"again: {one_line(error)}"
        ) from error


def _text(value: Any) -> str:
    """A text, which TFDS hands out as bytes, on one line; or a number."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
