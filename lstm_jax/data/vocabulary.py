"""Words or characters as numbers, by a vocabulary that training text alone decides.

Axes: N texts, L symbols of the longest.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

PADDING, UNKNOWN = 0, 1  # the first two symbols of every vocabulary
RESERVED = ["<padding>", "<unknown>"]  # no text is cut into these

UNITS = ("words", "characters")
WORD = re.compile(r"\w+(?:['\u2019]\w+)*|[^\w\s]")  # letters and digits together, other signs alone


def cut(text: str, unit: str) -> list[str]:
    """Returns a text's words and signs, in small letters; or its characters, white space as one."""
    if unit == "words":
        return WORD.findall(text.lower())
    return list(" ".join(text.split()))


def build(texts: Iterable[Sequence[str]], most: int, least_count: int) -> list[str]:
    """Returns the symbols: the reserved ones, then those that occur at least so often, the
    commonest first, in all at most so many.
    """
    counts = Counter(piece for text in texts for piece in text)
    kept = [(-count, piece) for piece, count in counts.items() if count >= least_count]
    return [*RESERVED, *(piece for _, piece in sorted(kept)[: max(0, most - len(RESERVED))])]


def encode(texts: Sequence[Sequence[str]], vocabulary: Sequence[str], longest: int) -> np.ndarray:
    """Returns the last `longest` symbols of each text, uint16 or int32 [N,L], padding behind."""
    number = {piece: i for i, piece in enumerate(vocabulary)}
    kind = np.uint16 if len(vocabulary) <= 2**16 else np.int32
    symbols = np.full((len(texts), longest), PADDING, kind)
    for row, text in zip(symbols, texts, strict=True):
        last = [number.get(piece, UNKNOWN) for piece in text[-longest:]]
        row[: len(last)] = last
    return symbols


def bucket_lengths(lengths: Sequence[int], longest: int) -> list[int]:
    """Returns the few widths that batches of texts of such lengths are cut to: enough for half of
    them, for four fifths, for 19 of 20, and for all, in whole fours.
    """
    quantiles = np.quantile(np.minimum(lengths, longest), (0.5, 0.8, 0.95, 1), method="higher")
    fours = {min(longest, -(-int(length) // 4) * 4) for length in quantiles}
    return sorted({*fours, longest})
