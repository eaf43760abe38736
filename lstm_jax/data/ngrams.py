"""How well a text is foretold by counting: the floors that a model of language has to beat."""

from __future__ import annotations

import numpy as np

BYTES = 256


def bits_per_byte(train: bytes, test: bytes, orders: int = 5) -> list[float]:
    """Returns the mean bits that each byte of `test` costs under models of `train` of the orders 1,
    2, ...: an order n foretells a byte from the n - 1 before it.

    Counts of an order are interpolated with the order below, the more the more different bytes
    followed: p_n(c) = (count(c) + kinds * p_n-1(c)) / (count + kinds), from 1/256 upwards (Witten
    and Bell, "The zero-frequency problem", 1991, their method C).
    """
    learnt, asked = (np.frombuffer(text, np.uint8).astype(np.uint64) for text in (train, test))
    p_N = np.full(len(asked), 1 / BYTES)
    found = []
    for order in range(1, orders + 1):
        grams, counts = np.unique(_grams(learnt, order), return_counts=True)
        contexts, first = np.unique(grams // BYTES, return_index=True)
        totals = np.add.reduceat(counts, first)
        kinds = np.diff(np.append(first, len(grams)))
        wanted = _grams(asked, order)
        known, at = _places(contexts, wanted // BYTES)
        seen, which = _places(grams, wanted)
        count = np.where(seen, counts[which], 0)
        below = p_N[order - 1 :]  # the first bytes have no so long a past: theirs stays
        mixed = (count + kinds[at] * below) / (totals[at] + kinds[at])
        p_N = np.concatenate([p_N[: order - 1], np.where(known, mixed, below)])
        found.append(float(-np.mean(np.log2(p_N))))
    return found


def _grams(symbols_N: np.ndarray, order: int) -> np.ndarray:
    """All runs of so many bytes as numbers, at most 8 bytes long."""
    count = len(symbols_N) - order + 1
    grams = np.zeros(max(count, 0), np.uint64)
    for place in range(order):
        grams = grams * np.uint64(BYTES) + symbols_N[place : place + count]
    return grams


def _places(sorted_values: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether each wanted value is there, and where, or anywhere."""
    at = np.minimum(np.searchsorted(sorted_values, wanted), len(sorted_values) - 1)
    return sorted_values[at] == wanted, at
