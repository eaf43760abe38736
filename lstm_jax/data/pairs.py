"""Pairs of sentences to translate: made, from a file of two columns, or a TFDS set by its name."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lstm_jax.data import tokens
from lstm_jax.data.dataset import Arrays, Dataset, Say, make_dataset
from lstm_jax.data.splits import SPLITS
from lstm_jax.data.text_sets import load_set
from lstm_jax.errors import UserError

BY_RULE = "by-rule"
STRETCHES = 40  # of a file: of ten of them the fifth is for validation, the tenth for the test
Pairs = list[tuple[str, str]]
Splits = dict[str, Pairs]
LANGUAGES = re.compile(r"/(\w+?)(?:_to_|-)(\w+)$")  # how a TFDS name ends


class Reading(NamedTuple):
    """How pairs become numbers: the fields of the task."""

    units: str
    lowercase: bool
    swapped: bool
    max_words: int
    max_vocabulary: int
    validation: str
    test: str


def load(name: str, reading: Reading, say: Say) -> Dataset:
    """Returns `source` and `target`, int32 [N,W], and how many symbols of each count, int32 [N].

    The vocabularies are of the training pairs alone. Raises UserError for a name, file or value
    that is none, EnvironmentProblem when the data is damaged or not to be had.
    """
    if name == "dates":
        from lstm_jax.data import dates

        splits = dict(zip(("train", "validation", "test"), dates.make(), strict=True))
        rule = "made; no date or number is in two splits"
    elif name.endswith((".tsv", ".tsv.gz")):
        splits, rule = _from_file(name, reading, say)
    else:
        splits, rule = _from_tfds(name, say), "as TFDS has them"
    splits = {split: _fitting(pairs, reading) for split, pairs in splits.items()}
    splits = _without_known(splits, say)
    if empty := [split for split, pairs in splits.items() if not pairs]:
        raise UserError(
            f"task.max_words: no pair of {name} for {' and '.join(empty)} has at most "
            f"{reading.max_words} words on each side"
        )
    say(f"{name}: " + ", ".join(f"{len(pairs):,} {split}" for split, pairs in splits.items()))
    return _dataset(Path(name).name.removesuffix(".gz"), splits, reading, rule)


def _from_tfds(name: str, say: Say) -> Splits:
    """The pairs of a TFDS translation set, whose features are two languages by their names."""
    languages = LANGUAGES.search(name)
    if languages is None:
        raise UserError(
            f"task.dataset: expected dates, a file .tsv or .tsv.gz, or a TFDS translation set that "
            f"names two languages, such as ted_hrlr_translate/pt_to_en, got {name!r}"
        )
    found, _ = load_set(name, tuple((language,) for language in languages.groups()), say)
    if missing := [split for split in SPLITS if split not in found]:
        raise UserError(f"task.dataset: {name} has no {missing[0]} split; name another set")
    return {split: [(one, other) for one, other in found[split]] for split in SPLITS}


def _fitting(pairs: Pairs, reading: Reading) -> Pairs:
    """The pairs in the wanted direction that are short enough on both sides."""
    most = reading.max_words
    short = [pair for pair in pairs if all(len(text.split()) <= most for text in pair)]
    if reading.lowercase:
        short = [(source.lower(), target.lower()) for source, target in short]
    return [(target, source) for source, target in short] if reading.swapped else short


def _without_known(splits: Splits, say: Say) -> Splits:
    """The splits without held-out pairs of which training has the source as well."""
    known, kept = {source for source, _ in splits["train"]}, {"train": splits["train"]}
    for split in ("validation", "test"):
        kept[split] = [pair for pair in splits[split] if pair[0] not in known]
        if taken := len(splits[split]) - len(kept[split]):
            say(f"{taken:,} pairs are taken out of {split}: training has their sources")
    return kept


def _from_file(path: str, reading: Reading, say: Say) -> tuple[Splits, str]:
    """The pairs of a file, split by their place in it."""
    from lstm_jax.data.texts import read_columns

    pairs = [(source, target) for source, target in read_columns(path, 2, say)]
    held = {name: _places(f"task.{name}", getattr(reading, name), len(pairs))
            for name in ("validation", "test")}  # fmt: skip
    rule = f"pairs {reading.validation} for validation, {reading.test} for test"
    if not any(held.values()):
        bounds = [len(pairs) * k // STRETCHES for k in range(STRETCHES + 1)]
        stretches = [range(a, b) for a, b in pairwise(bounds)]
        held = {"validation": _joined(stretches[4::10]), "test": _joined(stretches[9::10])}
        rule = f"of {STRETCHES} stretches every tenth from the 5th and from the 10th"
    if not all(held.values()) or held["validation"] & held["test"]:
        raise UserError("task.validation, task.test: give both, of different pairs, or neither")
    beside = {place + step for places in held.values() for place in places for step in (-1, 0, 1)}
    splits = {name: [pairs[place] for place in sorted(places)] for name, places in held.items()}
    train = [pair for place, pair in enumerate(pairs) if place not in beside]
    return {"train": train, **splits}, f"by place: {rule}; pairs next to them are left out"


def _joined(stretches: list[range]) -> set[int]:
    return {place for stretch in stretches for place in stretch}


def _places(path: str, ranges: str, count: int) -> set[int]:
    """The places, from 0 on, that ranges such as `1-400, 2001-2400` name, from 1 on."""
    found: set[int] = set()
    if ranges == BY_RULE:
        return found
    for part in filter(None, re.split(r"[,\s]+", ranges)):
        ends = re.fullmatch(r"(\d+)-(\d+)", part)
        if ends is None or not 1 <= int(ends[1]) <= int(ends[2]) <= count:
            raise UserError(f"{path}: {part!r} is no range of places from 1 to {count:,}: 1-400")
        found |= set(range(int(ends[1]) - 1, int(ends[2])))
    return found


def _dataset(name: str, splits: Splits, reading: Reading, rule: str) -> Dataset:
    """Numbers with vocabularies of the training pairs, padded to the longest pair of all."""
    symbols = {
        split: [[tokens.tokenize_sentence(text, reading.units) for text in pair] for pair in pairs]
        for split, pairs in splits.items()
    }
    sides = {
        side: tokens.sentence_vocabulary(
            {split: [pair[i] for pair in found] for split, found in symbols.items()},
            reading.max_vocabulary,
        )
        for i, side in enumerate(("source", "target"))
    }
    # The target ends with a symbol of its own.
    estimate_memory = {s: np.array([max(len(p[0]), len(p[1]) + 1) for p in found])
              for s, found in symbols.items()}  # fmt: skip
    width = max(int(lengths.max()) for lengths in estimate_memory.values())
    arrays = {split: _arrays(found, sides, width) for split, found in symbols.items()}
    widths = tokens.sentence_bucket_lengths(estimate_memory["train"])
    metadata: dict[str, Any] = {
        f"{side}_{part}": symbols
        for side, both in sides.items()
        for part, symbols in zip(("vocabulary", "others"), both, strict=True)
    }
    return make_dataset(
        name, *arrays.values(), **metadata, widths=[*widths[:-1], width], split=rule
    )


def _arrays(
    pairs: list[list[list[str]]], sides: dict[str, tuple[list[str], list[str]]], width: int
) -> Arrays:
    sources, targets = ([pair[side] for pair in pairs] for side in (0, 1))
    return {
        "source": tokens.encode_sentences(sources, *sides["source"], width, end=False),
        "source_lengths": np.array([len(source) for source in sources], np.int32),
        "target": tokens.encode_sentences(targets, *sides["target"], width, end=True),
        "target_lengths": np.array([len(target) + 1 for target in targets], np.int32),
    }
