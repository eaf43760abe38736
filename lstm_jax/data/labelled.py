"""Labelled texts: a file of lines `label<TAB>text`, or a TFDS text-classification set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lstm_jax.data import Arrays, Dataset, make_dataset, vocabulary
from lstm_jax.data.text_sets import SPLITS, Texts, is_path, load_set
from lstm_jax.data.texts import read_columns
from lstm_jax.errors import UserError

MOST_CLASSES = 1000
WANTED = (("label",), ("text", "sentence", "description"))
TENTHS = "every tenth is test, the fifth of every ten validation"


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
    set of labelled texts, and `SurroundingsError` for one that is not to be had.
    """
    splits, classes, rule = read(name, say)
    cuts = {split: [vocabulary.cut(t, unit) for _, t in texts] for split, texts in splits.items()}
    symbols = vocabulary.build(cuts["train"], most, least_count)
    lengths = [len(text) for text in cuts["train"]]
    longest = min(longest, max(1, *lengths))
    number = {label: i for i, label in enumerate(classes)}

    def arrays(split: str) -> Arrays:
        kept = [min(len(text), longest) for text in cuts[split]]
        return {
            "symbols": vocabulary.encode(cuts[split], symbols, longest),
            "lengths": np.array(kept, np.int32),
            "labels": np.array([number[label] for label, _ in splits[split]], np.int32),
        }

    return make_dataset(
        Path(name).name if is_path(name) else name,
        *map(arrays, SPLITS),
        vocabulary=symbols,
        widths=vocabulary.widths_of(lengths, longest),
        classes=classes,
        split=rule,
    )


def read(name: str, say: Callable[[str], None]) -> Labelled:
    """Returns the texts. One that is in training and, letter case and white space aside, also in
    validation or test is taken out of there, which `say` hears.
    """
    if is_path(name):
        lines = read_columns(Path(name).expanduser(), 2, say)
        found = _tenths(lines)
        rule = f"of the lines, {TENTHS}"
    else:
        found, _ = load_set(name, WANTED, say, "or give a file, `--task.dataset FILE.tsv`")
        if "train" not in found:
            raise UserError(f"dataset: {name} has no train split")
        if "test" not in found:
            found, rule = _tenths(found["train"]), f"of TFDS's train split {TENTHS}"
        elif "validation" not in found:
            train = found["train"]
            found["validation"] = train[4::10]
            found["train"] = [line for i, line in enumerate(train) if i % 10 != 4]
            rule = "TFDS's test; of its train split the fifth of every ten is validation"
        else:
            rule = "TFDS's"
    splits = _apart({split: found[split] for split in SPLITS}, say)
    classes = sorted({label for label, _ in splits["train"]}, key=_by_number)
    _check(name, splits, classes)
    return Labelled(splits, classes, rule)


def _tenths(lines: Texts) -> dict[str, Texts]:
    train = [line for i, line in enumerate(lines) if i % 10 not in (4, 9)]
    return {"train": train, "validation": lines[4::10], "test": lines[9::10]}


def _apart(splits: dict[str, Texts], say: Callable[[str], None]) -> dict[str, Texts]:
    """The splits without what an earlier one has: no scored text was learnt or chosen by."""
    seen: set[str] = set()
    kept: dict[str, Texts] = {}
    for split, lines in splits.items():
        plain = [" ".join(text.split()).casefold() for _, text in lines]
        pairs = zip(plain, lines, strict=True)
        kept[split] = [line for text, line in pairs if text not in seen]
        if removed := len(lines) - len(kept[split]):
            say(f"{removed:,} texts of {split} are in the splits before it: left out")
        seen.update(plain)
    return kept


def _by_number(label: str) -> tuple[int, float, str]:
    """Numbers by their value, then words by the alphabet."""
    try:
        return 0, float(label), label
    except ValueError:
        return 1, 0.0, label


def _check(name: str, splits: dict[str, Texts], classes: list[str]) -> None:
    if short := [split for split, lines in splits.items() if not lines]:
        raise UserError(f"dataset: {name} has no text for {' and '.join(short)}; it is too short")
    if not 2 <= len(classes) <= MOST_CLASSES:
        raise UserError(
            f"dataset: {name} has {len(classes):,} different labels, not 2 to {MOST_CLASSES:,}; "
            "the first column is the label"
        )
    for split in ("validation", "test"):
        if strange := sorted({label for label, _ in splits[split]} - set(classes)):
            raise UserError(
                f"dataset: {name} has the label {strange[0]!r} in {split} and not in training"
            )
