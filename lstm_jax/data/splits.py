"""Labelled examples in training, validation and test: by rule, never by chance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from lstm_jax.errors import UserError

SPLITS = ("train", "validation", "test")
TENTHS = "every tenth is test, the fifth of every ten validation"
MOST_CLASSES = 1000

Example = TypeVar("Example", bound=tuple[Any, ...])  # its label first


def in_three(
    given: dict[str, list[Example]], whole: str, whose: str
) -> tuple[dict[str, list[Example]], str]:
    """Returns three splits of what is given, `train` at least, and the rule by which they came.

    `whole` and `whose` name in the rule what is taken from, and who gave the splits that are kept.
    """
    train = given["train"]
    if "test" not in given:
        rest = [example for i, example in enumerate(train) if i % 10 not in (4, 9)]
        splits = {"train": rest, "validation": train[4::10], "test": train[9::10]}
        return splits, f"of {whole} {TENTHS}"
    if "validation" not in given:
        rest = [example for i, example in enumerate(train) if i % 10 != 4]
        splits = {"train": rest, "validation": train[4::10], "test": given["test"]}
        return splits, f"{whose} test; of its train split the fifth of every ten is validation"
    return {split: given[split] for split in SPLITS}, whose


def apart(
    splits: dict[str, list[Example]],
    content: Callable[[Example], Any],
    what: str,
    say: Callable[[str], None],
) -> dict[str, list[Example]]:
    """Returns the splits without what an earlier one has: nothing scored was learnt or chosen by.

    Two examples are the same where their `content` is. `say` hears how many were left out.
    """
    seen: set[Any] = set()
    kept = {}
    for split, examples in splits.items():
        contents = [content(example) for example in examples]
        pairs = zip(contents, examples, strict=True)
        kept[split] = [example for found, example in pairs if found not in seen]
        if removed := len(examples) - len(kept[split]):
            say(f"{removed:,} {what} of {split} are in the splits before it: left out")
        seen.update(contents)
    return kept


def classes_of(name: str, splits: dict[str, list[Example]], what: str, where: str) -> list[str]:
    """Returns the labels of training, in order: their places are the classes.

    Raises UserError where a split is empty, for a number of labels that is none of classes, and for
    a label that training lacks; `where` tells the user where the label is read.
    """
    if short := [split for split, examples in splits.items() if not examples]:
        raise UserError(f"dataset: {name} has no {what} for {' and '.join(short)}; it is too short")
    classes = sorted({label for label, *_ in splits["train"]}, key=_by_number)
    if not 2 <= len(classes) <= MOST_CLASSES:
        raise UserError(
            f"dataset: {name} has {len(classes):,} different labels, not 2 to {MOST_CLASSES:,}; "
            f"{where}"
        )
    for split in ("validation", "test"):
        if strange := sorted({label for label, *_ in splits[split]} - set(classes)):
            raise UserError(
                f"dataset: {name} has the label {strange[0]!r} in {split} and not in training"
            )
    return classes


def _by_number(label: str) -> tuple[int, float, str]:
    """Numbers by their value, then words by the alphabet."""
    try:
        return 0, float(label), label
    except ValueError:
        return 1, 0.0, label
