"""Sentences as numbers: split into symbols, numbered by a vocabulary, padded to one width.

Axes: N sentences, W symbols of the widest one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

SPECIAL = ("<padding>", "<begin>", "<end>", "<unknown>")  # the first symbols of every vocabulary
PADDING, BEGIN, END, UNKNOWN = range(len(SPECIAL))

# A word, a digit or a mark, each with the space before it: so joining them gives the text back.
WORD = re.compile(r" ?(?:[^\W\d_]+(?:['\u2019][^\W\d_]+)*|\d|[^\w\s]|_)")
SHARES = (0.5, 0.8, 1.0)  # of the sentences, which each of the widths of batches holds


def split_up(text: str, units: str) -> list[str]:
    """Returns the symbols of a text: its `characters`, or its `words`, digits and marks.

    Spaces side by side count as one.
    """
    text = " ".join(text.split())
    return list(text) if units == "characters" else WORD.findall(f" {text}")


def joined(symbols: Iterable[str]) -> str:
    """Returns the text of symbols."""
    return "".join(symbols).strip()


def vocabularies(
    splits: Mapping[str, Iterable[Sequence[str]]], most: int
) -> tuple[list[str], list[str]]:
    """Returns the special symbols and the `most` commonest others of training, the commonest first;
    and all other symbols that are in any split, which the model does not know: they are kept to
    show a sentence as it was.
    """
    counts = Counter(symbol for sentence in splits["train"] for symbol in sentence)
    ranked = sorted(counts, key=lambda symbol: (-counts[symbol], symbol))
    known = [*SPECIAL, *ranked[:most]]
    every = {symbol for split in splits.values() for sentence in split for symbol in sentence}
    return known, sorted(every.difference(known))


def numbered(
    sentences: Sequence[Sequence[str]],
    known: Sequence[str],
    others: Sequence[str],
    width: int,
    *,
    end: bool,
) -> np.ndarray:
    """Returns sentences as int32 [N,W]: the place of each symbol in the vocabulary, or -1, -2, ...
    for the first, second, ... of the others; then the end, if wanted, and padding. What is in
    neither is unknown.
    """
    place = {symbol: number for number, symbol in enumerate(known)}
    place |= {symbol: -1 - number for number, symbol in enumerate(others)}
    found = np.full((len(sentences), width), PADDING, np.int32)
    for row, sentence in zip(found, sentences, strict=True):
        row[: len(sentence)] = [place.get(symbol, UNKNOWN) for symbol in sentence]
        if end:
            row[len(sentence)] = END
    return found


def read_back(numbers: Iterable[int], known: Sequence[str], others: Sequence[str]) -> list[str]:
    """Returns the symbols up to the end or to padding."""
    symbols = []
    for number in numbers:
        if number in (PADDING, END):
            break
        symbols.append(known[number] if number >= 0 else others[-1 - number])
    return symbols


def bucket_lengths(lengths_N: np.ndarray) -> list[int]:
    """Returns the widths that batches are cut to: few, as each is compiled, and none for little."""
    wanted = [int(np.quantile(lengths_N, share, method="higher")) for share in SHARES]
    kept = wanted[-1:]
    for width in reversed(wanted[:-1]):
        if width <= 0.85 * kept[0]:
            kept.insert(0, width)
    return kept
