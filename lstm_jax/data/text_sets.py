"""Texts of TensorFlow Datasets: sets of labelled texts, and long texts, by their names."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lstm_jax.data.download import FALLBACK, find_builder, have, one_line, quiet
from lstm_jax.data.splits import SPLITS
from lstm_jax.errors import EnvironmentProblem, UserError

Texts = list[tuple[str, ...]]  # the wanted features of each example
Wanted = tuple[tuple[str, ...], ...]  # features, each by the names that it has in some set


def is_path(name: str) -> bool:
    """Returns whether a data set's name is that of a file: it begins with `.`, `/` or `~`, ends as
    files of text do, or is a pattern of files.
    """
    return re.search(r"^[./~]|[*]|\.(txt|tsv|gz|csv|md|py)$", name) is not None


def load_set(
    name: str, wanted: Wanted, say: Callable[[str], None], instead: str = FALLBACK
) -> tuple[dict[str, Texts], int | None]:
    """Returns the examples of the splits train, validation and test, where they are, in TFDS's
    order, as the texts of the wanted features (of a class its number), and how many classes
    `label` has, if the set has one.

    Raises `UserError` for a name that is none or a set without these features, and
    `EnvironmentProblem` when it is damaged, or neither on disk nor to be had; its line ends in what
    one can do `instead`.
    """
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name):
        raise UserError(f"dataset: expected a file, or a name such as imdb_reviews, got {name!r}")
    root = Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser().absolute()
    try:
        with quiet():
            builder = have(name, root, say, find_builder)
            chosen = _chosen(name, builder.info.features or {}, wanted)
            say(f"reading {name}")
            splits = {s: _read(builder, s, chosen) for s in SPLITS if s in builder.info.splits}
    except EnvironmentProblem as error:
        raise EnvironmentProblem(str(error).replace(FALLBACK, instead)) from error
    features = builder.info.features
    has_label = "label" in features
    return splits, getattr(features["label"], "num_classes", None) if has_label else None


def _chosen(name: str, features: Any, wanted: Wanted) -> list[str]:
    """The names that the wanted features have in this set."""
    chosen = []
    for names in wanted:
        there = [feature for feature in names if feature in features]
        if not there:
            raise UserError(f"dataset: {name} has no feature {' or '.join(names)}")
        chosen.append(there[0])
        feature = features[there[0]]
        if there[0] == "label" and not getattr(feature, "num_classes", None):
            raise UserError(f"dataset: the labels of {name} are no classes: {feature}")
        if feature.shape != ():
            raise UserError(f"dataset: {there[0]!r} of {name} is no text: {feature}")
    return chosen


def _read(builder: Any, split: str, chosen: list[str]) -> Texts:
    try:
        return [
            tuple(_text(example[feature]) for feature in chosen)
            for example in builder.as_data_source(split)
        ]
    except Exception as error:
        raise EnvironmentProblem(
            f"{builder.name}: {builder.data_path} is damaged, remove it to have it prepared "
            f"again: {one_line(error)}"
        ) from error


def _text(value: Any) -> str:
    """A text, which TFDS hands out as bytes, on one line; or a number."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
