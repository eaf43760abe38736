"""Texts as numbers: tokenised, and encoded with a vocabulary that training alone decides.

There are two rules. Texts to classify are only input: their words are converted to lower case, and
rare words become the unknown symbol. Sentences to translate must also be printed again: joining
their symbols gives the sentence, and symbols outside the vocabulary are stored for this.

Axes: N texts or sentences, L symbols of the longest one.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

import numpy as np

from lstm_jax.data.dataset import Say

PADDING = 0  # the first symbol of every vocabulary

# Marks and case, as Unicode has them.


def normalize(text: str) -> str:
    """Returns a text in Unicode's form NFC: one code point for a letter with its accent, where
    there is one.
    """
    return unicodedata.normalize("NFC", text)


def lower(text: str) -> str:
    """Returns a text in small letters; that of Turkish capital i with a dot is a plain i."""
    return text.replace("\u0130", "i").lower()


@cache
def _marks() -> frozenset[str]:
    """Returns the combining marks and the two joiners."""
    codes = (*range(0x300, 0x20000), *range(0xE0100, 0xE01F0))  # no mark lies outside
    return frozenset("\u200c\u200d").union(
        char for char in map(chr, codes) if unicodedata.category(char).startswith("M")
    )


@cache
def _pattern(words: str, *, with_marks: bool) -> re.Pattern[str]:
    """Returns the pattern of words in which M stands for the marks behind a character."""
    marks = f"[{''.join(sorted(_marks()))}]*" if with_marks else ""
    return re.compile(words.replace("M", marks))


def _find_words(words: str, text: str) -> list[str]:
    """Returns the words of a text. One without marks is read faster without looking for them."""
    has_marks = not text.isascii() and not _marks().isdisjoint(text)
    return _pattern(words, with_marks=has_marks).findall(text)


# Scripts that put no spaces between words, and the letters that a word has on average at most: of
# Chinese and Japanese, and of Thai, Lao, Burmese and Khmer. Cut into words, they have half of them.
UNSPACED = {
    re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"): 3,
    re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]"): 6,
}


def say_unspaced(name: str, texts: Iterable[Sequence[str]], unit: str, say: Say) -> None:
    """Prints that tokenised texts are in a script without spaces, where that makes long `words`."""
    if unit != "words":
        return
    words = [word for text in texts for word in text if any(map(str.isalpha, word))]
    for script, max_letters in UNSPACED.items():
        unspaced = [word for word in words if script.search(word)]
        num_letters = sum(map(len, unspaced))
        if 2 * len(unspaced) > len(words) and num_letters > max_letters * len(unspaced):
            say(
                f"{name}: its script puts no spaces between words, so {unspaced[0][:20]!r} is read "
                "as one word; `--task.units characters` reads each character"
            )


# Texts to classify.

TEXT_UNKNOWN = 1
TEXT_SPECIAL = ["<padding>", "<unknown>"]  # the first symbols of the vocabulary
# Letters and digits together, signs alone; M stands for the marks behind a character.
TEXT_WORD = r"(?:\wM)+(?:['\u2019](?:\wM)+)*|[^\w\s]M"


def tokenize_text(text: str, unit: str) -> list[str]:
    """Returns the `words` and signs of a text in small letters, or its `characters`.

    White space separates words; among characters, each stretch of it counts as one space. The text
    is brought to Unicode's form NFC, and combining marks belong to the word that they stand in.
    """
    text = normalize(text)
    if unit == "words":
        return _find_words(TEXT_WORD, lower(text))
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
SENTENCE_WORD = r" ?(?:(?:[^\W\d_]M)+(?:['\u2019](?:[^\W\d_]M)+)*|\dM|[^\w\s]M|_M)"


def tokenize_sentence(sentence: str, units: str) -> list[str]:
    """Returns the symbols of a sentence: its `characters`, or its `words`, digits and marks.

    Each stretch of white space counts as one space. The sentence is brought to Unicode's form NFC,
    and combining marks belong to the letter, digit or sign before them.
    """
    sentence = " ".join(normalize(sentence).split())
    if units == "characters":
        return list(sentence)
    return _find_words(SENTENCE_WORD, f" {sentence}")


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
