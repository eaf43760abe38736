"""Pairs of sentences to translate: dates (made), a table of two columns, or a set of TFDS.

Axes: N pairs, W symbols of the longest sentence.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from lstm_jax.data import tokens
from lstm_jax.data.columns import choose_columns, read_rows
from lstm_jax.data.dataset import Arrays, Dataset, Say, make_dataset, path_of
from lstm_jax.data.files import bare_name, is_text_file
from lstm_jax.data.labelled_splits import SPLITS
from lstm_jax.data.readers import read_table
from lstm_jax.data.table import Table, TableOptions
from lstm_jax.data.tfds_sets import load_text_set
from lstm_jax.errors import UserError

BY_RULE = "by-rule"
NUM_STRETCHES = 40  # of a file: of ten, the fifth is for validation, the tenth for the test
LANGUAGES = re.compile(r"/(\w+?)(?:_to_|-)(\w+)$")  # how the name of a set of TFDS ends
# Names of the columns as a first line has them, in small letters.
COLUMN_NAMES = {
    "source", "target", "src", "tgt", "trg", "input", "output", "source_text", "target_text",
    "source_sentence", "target_sentence", "input_text", "target_language", "source_language",
    "translation", "sentence", "text",
}  # fmt: skip
LANGUAGE_NAMES = {
    "english", "german", "french", "spanish", "italian", "portuguese", "dutch", "swedish",
    "danish", "norwegian", "finnish", "polish", "czech", "slovak", "russian", "ukrainian",
    "bulgarian", "serbian", "croatian", "hungarian", "romanian", "greek", "turkish", "arabic",
    "hebrew", "persian", "hindi", "bengali", "urdu", "tamil", "chinese", "japanese", "korean",
    "vietnamese", "thai", "indonesian", "malay", "latin", "irish", "welsh", "basque", "catalan",
}  # fmt: skip
LANGUAGE_CODES = {
    "en", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "no", "nb", "fi", "pl", "cs", "sk",
    "ru", "uk", "bg", "sr", "hr", "hu", "ro", "el", "tr", "ar", "he", "fa", "hi", "bn", "ur",
    "ta", "zh", "ja", "ko", "vi", "th", "id", "ms", "la", "ga", "cy", "eu", "ca",
}  # fmt: skip

Pairs = list[tuple[str, str]]
Splits = dict[str, Pairs]


class PairOptions(NamedTuple):
    """How pairs become numbers: fields of the task `translation`."""

    units: str
    lowercase: bool
    swapped: bool
    max_words: int
    max_vocabulary: int
    validation: str
    test: str
    source_column: str | None
    target_column: str | None
    encoding: str | None


def load_pairs(name: str, options: PairOptions, say: Say) -> Dataset:
    """Returns `source` and `target`, int32 [N,W], and the number of symbols of each, int32 [N].

    The vocabularies are those of the training pairs alone. Raises UserError for an unknown name, a
    wrong file or value, EnvironmentProblem if the data is damaged or cannot be obtained.
    """
    if name == "dates":
        from lstm_jax.data.dates import make_dates

        splits = dict(zip(SPLITS, make_dates(), strict=True))
        rule = "made; no date or number is in two splits"
    elif is_text_file(name):
        splits, rule = _from_file(name, options, say)
    else:
        splits, rule = _from_tfds(name, say), "as TFDS has them"
    splits = {split: _short_pairs(pairs, options) for split, pairs in splits.items()}
    known = {source for source, _ in splits["train"]}
    for split in ("validation", "test"):
        kept = [pair for pair in splits[split] if pair[0] not in known]
        if removed := len(splits[split]) - len(kept):
            say(f"{removed:,} pairs are taken out of {split}: training has their sources")
        splits[split] = kept
    if empty := [split for split, pairs in splits.items() if not pairs]:
        raise UserError(
            f"task.max_words: no pair of {name} for {' and '.join(empty)} has at most "
            f"{options.max_words} words on each side"
        )
    say(f"{name}: " + ", ".join(f"{len(pairs):,} {split}" for split, pairs in splits.items()))
    return _encoded(bare_name(name), splits, options, rule, say)


def _from_tfds(name: str, say: Say) -> Splits:
    """Returns the pairs of a translation set of TFDS, whose features are named by two languages."""
    languages = LANGUAGES.search(name)
    if path_of(name).is_file():
        raise UserError(
            f"task.dataset: {name} is a file of another kind: a file of pairs is a .tsv, .csv, "
            f".jsonl or .parquet; one of tabs with another name is given as ./{name}"
        )
    if languages is None:
        raise UserError(
            "task.dataset: expected dates, a file such as FILE.tsv, or a TFDS translation set that "
            f"names two languages, such as ted_hrlr_translate/pt_to_en, got {name!r}"
        )
    wanted = tuple((language,) for language in languages.groups())
    texts = load_text_set(name, wanted, say)
    if missing := [split for split in SPLITS if split not in texts]:
        raise UserError(f"task.dataset: {name} has no {missing[0]} split; name another set")
    return {split: [(first, second) for first, second in texts[split]] for split in SPLITS}


def _from_file(path: str, options: PairOptions, say: Say) -> tuple[Splits, str]:
    """Returns the pairs of a file, split by their positions, and the rule of the split, in words.

    Pairs next to a held-out one are left out of training: neighbours in a text are alike. The rule
    is part of the data's fingerprint: other words make another data set.
    """
    table = read_table(path_of(path), TableOptions(options.encoding, raw_tabs=True), say)
    fields = {name: getattr(options, name) for name in ("source_column", "target_column")}
    table, names = choose_columns(table, fields, named_columns, say, further=True)
    pairs = [(source, target) for source, target in read_rows(table, names, say)]
    held_out = {
        split: _parse_positions(f"task.{split}", ranges, len(pairs))
        for split, ranges in (("validation", options.validation), ("test", options.test))
    }
    rule = f"pairs {options.validation} for validation, {options.test} for test"
    if not any(held_out.values()):
        bounds = [len(pairs) * k // NUM_STRETCHES for k in range(NUM_STRETCHES + 1)]
        stretches = [range(a, b) for a, b in pairwise(bounds)]
        held_out = {
            "validation": set().union(*stretches[4::10]),
            "test": set().union(*stretches[9::10]),
        }
        rule = f"of {NUM_STRETCHES} stretches every tenth from the 5th and from the 10th"
    if not all(held_out.values()) or held_out["validation"] & held_out["test"]:
        raise UserError("task.validation, task.test: give both, of different pairs, or neither")
    near = {i + step for positions in held_out.values() for i in positions for step in (-1, 0, 1)}
    splits = {split: [pairs[i] for i in sorted(positions)] for split, positions in held_out.items()}
    train = [pair for i, pair in enumerate(pairs) if i not in near]
    return {"train": train, **splits}, f"by place: {rule}; pairs next to them are left out"


def named_columns(table: Table) -> tuple[int, int] | None:
    """Returns the positions of source and target where the columns are named; None where not.

    Two codes of languages, such as `it` and `es`, may be words; beside `en` they are none.
    """
    names = [name.strip("\"' ").casefold().split(".")[-1] for name in table.first_row()]
    for known in (COLUMN_NAMES, LANGUAGE_NAMES, LANGUAGE_CODES):
        named = [i for i, name in enumerate(names) if name in known]
        if len(named) != 2 or names[named[0]] == names[named[1]]:
            continue
        if known is LANGUAGE_CODES and "en" not in names and not table.has_header:
            continue
        is_swapped = re.match("target|tgt|trg|output", names[named[0]])
        return (named[1], named[0]) if is_swapped else (named[0], named[1])
    return None


def _parse_positions(path: str, ranges: str, count: int) -> set[int]:
    """Returns the positions, from 0, that ranges such as `1-400, 2001-2400` name, from 1."""
    positions: set[int] = set()
    if ranges == BY_RULE:
        return positions
    for text in filter(None, re.split(r"[,\s]+", ranges)):
        bounds = re.fullmatch(r"(\d+)-(\d+)", text)
        if bounds is None or not 1 <= int(bounds[1]) <= int(bounds[2]) <= count:
            raise UserError(
                f"{path}: {text!r} is not a range of positions from 1 to {count:,}, such as 1-400"
            )
        positions |= set(range(int(bounds[1]) - 1, int(bounds[2])))
    return positions


def _short_pairs(pairs: Pairs, options: PairOptions) -> Pairs:
    """Returns the pairs in the wanted direction that are short enough on both sides."""
    short = [p for p in pairs if all(len(text.split()) <= options.max_words for text in p)]
    # Two sentences are the same if they are so in Unicode's form NFC.
    short = [(tokens.normalize(source), tokens.normalize(target)) for source, target in short]
    if options.lowercase:
        short = [(tokens.lower(source), tokens.lower(target)) for source, target in short]
    return [(target, source) for source, target in short] if options.swapped else short


def _encoded(name: str, splits: Splits, options: PairOptions, rule: str, say: Say) -> Dataset:
    """Returns the pairs encoded with the vocabularies of training, padded to the longest sentence.

    A target ends with the end symbol.
    """
    sides = ("source", "target")
    symbols = {
        side: {
            split: [tokens.tokenize_sentence(pair[i], options.units) for pair in pairs]
            for split, pairs in splits.items()
        }
        for i, side in enumerate(sides)
    }
    for i, side in enumerate(sides):
        tokens.say_unspaced(f"{name}, side {i + 1}", symbols[side]["train"], options.units, say)
    vocabularies = {
        side: tokens.sentence_vocabulary(symbols[side], options.max_vocabulary) for side in sides
    }
    lengths = {
        side: {
            split: np.array([len(s) + (side == "target") for s in sentences], np.int32)
            for split, sentences in symbols[side].items()
        }
        for side in sides
    }
    longest = {s: np.maximum(lengths["source"][s], lengths["target"][s]) for s in splits}
    width = max(int(lengths_N.max()) for lengths_N in longest.values())
    arrays: dict[str, Arrays] = {split: {} for split in splits}
    for split, side in ((split, side) for split in splits for side in sides):
        arrays[split][side] = tokens.encode_sentences(
            symbols[side][split], *vocabularies[side], width, end=side == "target"
        )
        arrays[split][f"{side}_lengths"] = lengths[side][split]
    metadata: dict[str, Any] = {}
    for side, (vocabulary, others) in vocabularies.items():
        metadata |= {f"{side}_vocabulary": vocabulary, f"{side}_others": others}
    buckets = [*tokens.sentence_bucket_lengths(longest["train"])[:-1], width]
    # The fingerprint holds the name `widths`.
    return make_dataset(name, *arrays.values(), **metadata, widths=buckets, split=rule)
