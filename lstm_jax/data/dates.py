"""Pairs of dates and numbers, in words and in figures, made by a small grammar.

    the third of march nineteen eighty-four         03.03.1984
    may the twenty-first, two thousand and six      05/21/2006
    four thousand two hundred and seven             4,207

Each side determines the other, so both directions can be translated.
"""

from __future__ import annotations

import calendar

import numpy as np

NUM_PAIRS = 16_000  # in all
HELD_OUT = 1_000  # for validation, and as many for the test
ONES = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
TENS = [
    "zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
]  # fmt: skip
ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth",
    "nine": "ninth", "twelve": "twelfth",
}  # fmt: skip


def number_in_words(number: int) -> str:
    """Returns a number from 0 to 999,999 in words."""
    if number < 20:
        return ONES[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return TENS[tens] + (f"-{ONES[ones]}" if ones else "")
    size, name = (1000, "thousand") if number >= 1000 else (100, "hundred")
    count, rest = divmod(number, size)
    link = " and " if rest < 100 else " "
    return f"{number_in_words(count)} {name}" + (f"{link}{number_in_words(rest)}" if rest else "")


def ordinal_in_words(number: int) -> str:
    """Returns a day of the month in words: `twenty-first`."""
    *before, last = number_in_words(number).split("-")
    ordinal = ORDINALS.get(last) or (f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th")
    return "-".join([*before, ordinal])


def year_in_words(year: int) -> str:
    """Returns a year as it is spoken: `nineteen hundred`, `nineteen oh five`, `two thousand`."""
    century, rest = divmod(year, 100)
    if century % 10 == 0:
        return number_in_words(year)
    if rest == 0:
        return f"{number_in_words(century)} hundred"
    return f"{number_in_words(century)} {'oh ' if rest < 10 else ''}{number_in_words(rest)}"


def _date_pair(random: np.random.RandomState) -> tuple[str, str]:
    year = random.randint(1700, 2100)
    month = random.randint(1, 13)
    day = random.randint(1, calendar.monthrange(year, month)[1] + 1)
    name, nth = calendar.month_name[month].lower(), ordinal_in_words(day)
    if random.randint(2):
        return f"the {nth} of {name} {year_in_words(year)}", f"{day:02}.{month:02}.{year}"
    return f"{name} the {nth}, {year_in_words(year)}", f"{month:02}/{day:02}/{year}"


def _number_pair(random: np.random.RandomState) -> tuple[str, str]:
    number = random.randint(10 ** random.randint(2, 7))
    return number_in_words(number), f"{number:,}"


def make_dates() -> tuple[list[tuple[str, str]], list[tuple[str, str]], list[tuple[str, str]]]:
    """Returns the pairs of training, validation and test: no date or number is in two of them.

    The pairs are always the same: RandomState's streams are frozen.
    """
    random, words_of = np.random.RandomState(0), dict[str, str]()
    while len(words_of) < NUM_PAIRS:
        words, figures = (_date_pair if random.randint(2) else _number_pair)(random)
        words_of.setdefault(figures, words)
    pairs = [(words, figures) for figures, words in words_of.items()]
    first, second = NUM_PAIRS - 2 * HELD_OUT, NUM_PAIRS - HELD_OUT
    return pairs[:first], pairs[first:second], pairs[second:]
