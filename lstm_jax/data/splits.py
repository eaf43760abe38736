"""Labelled examples in training, validation and test: by rule, never by chance."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence, Set
from typing import Any, TypeVar

from lstm_jax.errors import UserError

SPLITS = ("train", "validation", "test")
TENTHS = "every tenth is test, the fifth of every ten validation"
MOST_CLASSES = 1000

Example = TypeVar("Example", bound=tuple[Any, ...])  # its label first


def in_three(
    given: dict[str, list[Example]],
    whole: str,
    whose: str,
    places: Sequence[int] | None = None,
) -> tuple[dict[str, list[Example]], str]:
    """Returns three splits of what is given, `train` at least, and the rule by which they came.

    What is not given is taken from training, by the examples' `places` there, by default those in
    the list. `whole` and `whose` name in the rule what is taken from, and who gave what is kept.
    """
    taken = {"validation": 4, "test": 9}
    missing = taken.keys() - given.keys()
    if not missing:
        return {split: given[split] for split in SPLITS}, whose
    train = given["train"]
    tenths = [place % 10 for place in (range(len(train)) if places is None else places)]

    def of(wanted: Set[int]) -> list[Example]:
        return [each for each, tenth in zip(train, tenths, strict=True) if tenth in wanted]

    splits = {"train": of(set(range(10)) - {taken[split] for split in missing})}
    for split, tenth in taken.items():
        splits[split] = given[split] if split in given else of({tenth})
    if len(missing) == 2:
        return splits, f"of {whole} {TENTHS}"
    if "test" in missing:
        return splits, f"{whose} validation; of its train split every tenth is test"
    return splits, f"{whose} test; of its train split the fifth of every ten is validation"


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
            say(
                f"{split}: left out {removed:,} of {len(examples):,} {what}, which are in the "
                "splits before it"
            )
        seen.update(contents)
    return kept


def classes_of(name: str, splits: dict[str, list[Example]], what: str, where: str) -> list[str]:
    """Returns the labels of training, in order: their places are the classes.

    Raises UserError where a split is empty, where there is one label or more than `MOST_CLASSES`,
    and for a label that training lacks; `where` tells the user where the label is read.
    """
    if short := [split for split, examples in splits.items() if not examples]:
        raise UserError(f"dataset: {name} has no {what} for {' and '.join(short)}; give more")
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
    """Numbers by their value, then words by the alphabet; `nan` is a word."""
    try:
        number = float(label)
    except ValueError:
        number = math.nan
    return (0, number, label) if math.isfinite(number) else (1, 0.0, label)
