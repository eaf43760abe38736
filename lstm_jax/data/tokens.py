"""Texts as numbers: tokenised, and encoded with a vocabulary that training alone decides.

There are two rules. Texts to classify are only input: their words are converted to lower case, and
rare words become the unknown symbol. Sentences to translate must also be printed again: joining
their symbols gives the sentence, and symbols outside the vocabulary are stored for this.

Axes: N texts or sentences, L symbols of the longest one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

PADDING = 0  # the first symbol of every vocabulary

# Texts to classify.

TEXT_UNKNOWN = 1
TEXT_SPECIAL = ["<padding>", "<unknown>"]  # the first symbols of the vocabulary
TEXT_WORD = re.compile(r"\w+(?:['\u2019]\w+)*|[^\w\s]")  # letters and digits together, signs alone


def tokenize_text(text: str, unit: str) -> list[str]:
    """Returns the `words` and signs of a text in small letters, or its `characters`.

    White space separates words; among characters, each stretch of it counts as one space.
    """
    if unit == "words":
        return TEXT_WORD.findall(text.lower())
    return list(" ".join(text.split()))


def text_vocabulary(texts: Iterable[Sequence[str]], max_size: int, min_count: int) -> list[str]:
    """Returns the special symbols, then the commonest symbols of the texts, commonest first.

    It has at most `max_size` symbols; each but the special ones occurs `min_count` times or more.
    """
    counts = Counter(symbol for text in texts for symbol in text)
    kept = [(-count, symbol) for symbol, count in counts.items() if count >= min_count]
    return [*TEXT_SPECIAL, *(symbol for _, symbol in sorted(kept)[: max(0, max_size - 2)])]


def encode_texts(
    texts: Sequence[Sequence[str]], vocabulary: Sequence[str], max_length: int
) -> np.ndarray:
    """Returns the last `max_length` symbols of each text, uint16 or int32 [N,L], padded behind."""
    number = {symbol: i for i, symbol in enumerate(vocabulary)}
    dtype = np.uint16 if len(vocabulary) <= 2**16 else np.int32
    encoded_NL = np.full((len(texts), max_length), PADDING, dtype)
    for row, text in zip(encoded_NL, texts, strict=True):
        last = [number.get(symbol, TEXT_UNKNOWN) for symbol in text[-max_length:]]
        row[: len(last)] = last
    return encoded_NL


def text_bucket_lengths(lengths: Sequence[int], max_length: int) -> list[int]:
    """Returns the lengths that batches of texts are truncated to, few and rising.

    They hold half, four fifths, 19 of 20, and all of the texts, and are multiples of four.
    """
    quantiles = np.quantile(np.minimum(lengths, max_length), (0.5, 0.8, 0.95, 1), method="higher")
    fours = {min(max_length, -(-int(length) // 4) * 4) for length in quantiles}
    return sorted({*fours, max_length})


# Sentences to translate, and captions.

SENTENCE_SPECIAL = ("<padding>", "<begin>", "<end>", "<unknown>")  # first in the vocabulary
BEGIN, END, UNKNOWN = 1, 2, 3

# A word, a digit or a mark, each with the space before it: joining them gives the sentence back.
SENTENCE_WORD = re.compile(r" ?(?:[^\W\d_]+(?:['\u2019][^\W\d_]+)*|\d|[^\w\s]|_)")


def tokenize_sentence(sentence: str, units: str) -> list[str]:
    """Returns the symbols of a sentence: its `characters`, or its `words`, digits and marks.

    Each stretch of white space counts as one space.
    """
    sentence = " ".join(sentence.split())
    return list(sentence) if units == "characters" else SENTENCE_WORD.findall(f" {sentence}")


def join_sentence(symbols: Iterable[str]) -> str:
    """Returns the sentence that these symbols make up."""
    return "".join(symbols).strip()


def sentence_vocabulary(
    splits: Mapping[str, Iterable[Sequence[str]]], max_size: int
) -> tuple[list[str], list[str]]:
    """Returns the vocabulary and the other symbols of all splits.

    The vocabulary is the special symbols and the `max_size` commonest others of training, commonest
    first. The model does not know the other symbols; they are kept to show a sentence as it was.
    """
    counts = Counter(symbol for sentence in splits["train"] for symbol in sentence)
    ranked = sorted(counts, key=lambda symbol: (-counts[symbol], symbol))
    known = [*SENTENCE_SPECIAL, *ranked[:max_size]]
    every = {symbol for split in splits.values() for sentence in split for symbol in sentence}
    return known, sorted(every.difference(known))


def encode_sentences(
    sentences: Sequence[Sequence[str]],
    known: Sequence[str],
    others: Sequence[str],
    length: int,
    *,
    end: bool,
) -> np.ndarray:
    """Returns sentences as int32 [N,L], where L is `length`.

    A symbol is its index in the vocabulary, or -1, -2, ... for the first, second, ... of the other
    symbols, or else the unknown one. The end symbol, if wanted, and padding follow.
    """
    number = {symbol: i for i, symbol in enumerate(known)}
    number |= {symbol: -1 - i for i, symbol in enumerate(others)}
    encoded_NL = np.full((len(sentences), length), PADDING, np.int32)
    for row, sentence in zip(encoded_NL, sentences, strict=True):
        row[: len(sentence)] = [number.get(symbol, UNKNOWN) for symbol in sentence]
        if end:
            row[len(sentence)] = END
    return encoded_NL


def decode_sentence(
    numbers: Iterable[int], known: Sequence[str], others: Sequence[str]
) -> list[str]:
    """Returns the symbols of an encoded sentence, up to its end or to padding."""
    symbols = []
    for number in numbers:
        if number in (PADDING, END):
            break
        symbols.append(known[number] if number >= 0 else others[-1 - number])
    return symbols


def sentence_bucket_lengths(lengths_N: np.ndarray) -> list[int]:
    """Returns the lengths that batches of sentences are truncated to, few and rising.

    They hold half, four fifths and all of the sentences. Each is compiled, so a length is dropped
    if it is more than 85 % of the next one.
    """
    quantiles = [int(np.quantile(lengths_N, q, method="higher")) for q in (0.5, 0.8, 1.0)]
    kept = quantiles[-1:]
    for length in reversed(quantiles[:-1]):
        if length <= 0.85 * kept[0]:
            kept.insert(0, length)
    return kept
