"""Labelled examples in training, validation and test: split by rule, never at random."""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Set
from typing import Any, TypeVar

from lstm_jax.data.dataset import Say
from lstm_jax.errors import UserError

SPLITS = ("train", "validation", "test")
# The rules in words are part of the data's fingerprint: other words make another data set.
TENTHS = "every tenth is test, the fifth of every ten validation"
# Names of a column of labels, in small letters.
LABEL_NAMES = {
    "label", "labels", "class", "category", "sentiment", "target", "rating", "score", "stars",
    "polarity", "topic", "tag", "intent", "emotion", "y", "label_text", "class_name",
    "class_label",
}  # fmt: skip
MAX_CLASSES = 1000
MAX_SHOWN = 6  # labels in a message

Example = TypeVar("Example", bound=tuple[Any, ...])  # its label first


def complete_splits(
    splits: dict[str, list[Example]],
    source: str,
    owner: str,
    positions: Sequence[int] | None = None,
) -> tuple[dict[str, list[Example]], str]:
    """Returns three splits, and the rule by which they were made, in words.

    `train` must be given. A missing split is taken from it: of ten examples the fifth is for
    validation, the tenth for the test, counted by `positions` (default: the order of the list).
    The rule names the `source` that was split, and the `owner` of a split that was given.
    """
    tenths_taken = {"validation": 4, "test": 9}
    missing = tenths_taken.keys() - splits.keys()
    if not missing:
        return {split: splits[split] for split in SPLITS}, owner
    train = splits["train"]
    tenths = [position % 10 for position in (positions or range(len(train)))]

    def take(wanted: Set[int]) -> list[Example]:
        return [example for example, tenth in zip(train, tenths, strict=True) if tenth in wanted]

    completed = {"train": take(set(range(10)) - {tenths_taken[split] for split in missing})}
    for split, tenth in tenths_taken.items():
        completed[split] = splits[split] if split in splits else take({tenth})
    if len(missing) == 2:
        return completed, f"of {source} {TENTHS}"
    if "test" in missing:
        return completed, f"{owner} validation; of its train split every tenth is test"
    return completed, f"{owner} test; of its train split the fifth of every ten is validation"


def positions_by_hash(labels: Sequence[str], contents: Sequence[str]) -> list[int]:
    """Returns a position for each example by which `complete_splits` takes tenths of each class.

    The classes follow each other, each in the order of a hash of its contents, which no pattern in
    a file can hit. So a class of ten examples or more is in every split. An example that is alone
    in its class is for training.
    """

    def order(index: int) -> tuple[str, str, int]:
        return labels[index], hashlib.sha256(contents[index].encode()).hexdigest(), index

    counts = Counter(labels)
    positions = [0] * len(labels)
    several = [index for index in range(len(labels)) if counts[labels[index]] > 1]
    for position, index in enumerate(sorted(several, key=order)):
        positions[index] = position
    return positions


def say_doubtful_labels(name: str, labels: Iterable[str], noun: str, say: Say) -> None:
    """Prints which labels have one example, and which differ in their spelling alone."""
    counts = Counter(labels)
    single = sorted(label for label, count in counts.items() if count == 1)
    for label in single[:MAX_SHOWN]:
        say(f"{name}: the class `{label}` has one {noun}: is it a header, or a slip?")
    if len(single) > MAX_SHOWN:
        say(f"{name}: {len(single) - MAX_SHOWN:,} more classes have one {noun}")
    alike: dict[tuple[float, str], list[str]] = {}
    for label in counts:
        is_word, value, _ = _class_order(label)
        folded = unicodedata.normalize("NFC", label).casefold() if is_word else ""
        alike.setdefault((value, folded), []).append(label)
    for spellings in [sorted(each) for each in alike.values() if len(each) > 1][:MAX_SHOWN]:
        say(
            f"{name}: the labels {' and '.join(f'`{label}`' for label in spellings)} are classes "
            "of their own; if they mean the same, write them alike"
        )


def say_absent_classes(name: str, splits: dict[str, list[Example]], noun: str, say: Say) -> None:
    """Prints which classes of training are too small to be in validation or the test."""
    counts = Counter(label for label, *_ in splits["train"])
    present = {split: {label for label, *_ in splits[split]} for split in SPLITS}
    absent = [
        f"`{label}` ({count} for training)"
        for label, count in sorted(counts.items())
        if count > 1 and not (label in present["validation"] and label in present["test"])
    ]
    if absent:
        more = f" and {len(absent) - MAX_SHOWN:,} more" if len(absent) > MAX_SHOWN else ""
        say(
            f"{name}: validation or the test has no {noun} of the class "
            f"{', '.join(absent[:MAX_SHOWN])}{more}; give more"
        )


def remove_repeats(
    splits: dict[str, list[Example]], content: Callable[[Example], Any], noun: str, say: Say
) -> dict[str, list[Example]]:
    """Returns the splits without the examples that an earlier split has too.

    So no example that is scored was used for training or selection. Two examples are the same if
    their `content` is. `say` prints how many were left out.
    """
    seen: set[Any] = set()
    kept = {}
    for split, examples in splits.items():
        contents = [content(example) for example in examples]
        pairs = zip(contents, examples, strict=True)
        kept[split] = [example for key, example in pairs if key not in seen]
        if removed := len(examples) - len(kept[split]):
            say(
                f"{split}: left out {removed:,} of {len(examples):,} {noun}, duplicates of "
                f"{noun} in the splits before it"
            )
        seen.update(contents)
    return kept


def sorted_classes(name: str, splits: dict[str, list[Example]], noun: str, hint: str) -> list[str]:
    """Returns the labels of training in order, numbers before words: a class is an index.

    Raises UserError if a split is empty, if there is one label or more than `MAX_CLASSES`, and for
    a label that training lacks. `hint` tells the user where the label is read.
    """
    if empty := [split for split, examples in splits.items() if not examples]:
        raise UserError(f"dataset: {name} has no {noun} for {' and '.join(empty)}; give more")
    classes = sorted({label for label, *_ in splits["train"]}, key=_class_order)
    if not 2 <= len(classes) <= MAX_CLASSES:
        raise UserError(
            f"dataset: {name} has {len(classes):,} different labels, not 2 to {MAX_CLASSES:,}; "
            f"{hint}"
        )
    for split in ("validation", "test"):
        if unknown := sorted({label for label, *_ in splits[split]} - set(classes)):
            raise UserError(
                f"dataset: {name} has the label {unknown[0]!r} in {split} and not in training"
            )
    return classes


def _class_order(label: str) -> tuple[int, float, str]:
    """Returns a sort key: numbers by value, then words by the alphabet; `nan` is a word."""
    try:
        number = float(label)
    except ValueError:
        number = math.nan
    return (0, number, label) if math.isfinite(number) else (1, 0.0, label)
