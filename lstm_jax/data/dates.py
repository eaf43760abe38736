"""Dates and numbers, written out and in figures: pairs made by a small grammar.

    the third of march nineteen eighty-four         03.03.1984
    may the twenty-first, two thousand and six      05/21/2006
    four thousand two hundred and seven             4,207

Each side decides the other, so that either can be translated into the other.
"""

from __future__ import annotations

import calendar

import numpy as np

PAIRS = 16_000  # in all
HELD_OUT = 1_000  # each for validation and test
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


def written(number: int) -> str:
    """Returns a number from 0 to 999,999 in words."""
    if number < 20:
        return ONES[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return TENS[tens] + (f"-{ONES[ones]}" if ones else "")
    size, name = (1000, "thousand") if number >= 1000 else (100, "hundred")
    many, rest = divmod(number, size)
    link = " and " if rest < 100 else " "
    return f"{written(many)} {name}" + (f"{link}{written(rest)}" if rest else "")


def written_ordinal(number: int) -> str:
    """Returns a day of the month in words: `twenty-first`."""
    *before, last = written(number).split("-")
    ordinal = ORDINALS.get(last) or (f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th")
    return "-".join([*before, ordinal])


def written_year(year: int) -> str:
    """Returns a year as one says it: `nineteen hundred`, `nineteen oh five`, `two thousand six`."""
    century, rest = divmod(year, 100)
    if century % 10 == 0:
        return written(year)
    if rest == 0:
        return f"{written(century)} hundred"
    return f"{written(century)} {'oh ' if rest < 10 else ''}{written(rest)}"


def _date(random: np.random.RandomState) -> tuple[str, str]:
    year = random.randint(1700, 2100)
    month = random.randint(1, 13)
    day = random.randint(1, calendar.monthrange(year, month)[1] + 1)
    name, nth = calendar.month_name[month].lower(), written_ordinal(day)
    if random.randint(2):
        return f"the {nth} of {name} {written_year(year)}", f"{day:02}.{month:02}.{year}"
    return f"{name} the {nth}, {written_year(year)}", f"{month:02}/{day:02}/{year}"


def _number(random: np.random.RandomState) -> tuple[str, str]:
    number = random.randint(10 ** random.randint(2, 7))
    return written(number), f"{number:,}"


def make() -> tuple[list[tuple[str, str]], list[tuple[str, str]], list[tuple[str, str]]]:
    """Returns the pairs of training, validation and test: no date or number is in two of them.

    It is always the same: RandomState's streams are frozen.
    """
    random, found = np.random.RandomState(0), dict[str, str]()
    while len(found) < PAIRS:
        said, figures = (_date if random.randint(2) else _number)(random)
        found.setdefault(figures, said)
    pairs = [(said, figures) for figures, said in found.items()]
    first, second = PAIRS - 2 * HELD_OUT, PAIRS - HELD_OUT
    return pairs[:first], pairs[first:second], pairs[second:]
