"""What `predict` returns from Python: small values with a short `repr`.

Axes: N inputs, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

MAX_SHOWN = 3  # answers that a `repr` holds
MAX_CHARACTERS = 40  # of a text in a `repr`


@dataclass(frozen=True, eq=False, repr=False)
class Classes:
    """The answers of a classifier to N inputs. NumPy reads them as their `labels`."""

    probabilities: np.ndarray  # float32 [N,C]
    class_names: list[str]  # C names; the numbers of the classes where the data name none

    @property
    def labels(self) -> np.ndarray:
        """The number of the most probable class of each input, int [N]."""
        return np.argmax(self.probabilities, axis=-1)

    @property
    def names(self) -> list[str]:
        """The name of the most probable class of each input."""
        return [self.class_names[label] for label in self.labels]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Returns the labels, so that `answers == labels` compares each of them."""
        return self.labels.astype(dtype)

    def __len__(self) -> int:
        return len(self.probabilities)

    def __repr__(self) -> str:
        highest = self.probabilities.max(axis=-1, initial=0).tolist()
        pairs = zip(self.names, highest, strict=True)
        return _shown("Classes", [f"{name} {share:.1%}" for name, share in pairs])


@dataclass(frozen=True, repr=False)
class Texts:
    """The texts that a language model wrote, each after its beginning."""

    beginnings: list[str]
    texts: list[str]  # what was written, without the beginning

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        pairs = zip(self.beginnings, self.texts, strict=True)
        return _shown("Texts", [f"{_cut(start)} -> {_cut(text)}" for start, text in pairs])


@dataclass(frozen=True, eq=False, repr=False)
class Sentences:
    """The sentences that a decoder wrote for N examples."""

    texts: list[str]
    tokens_NS: np.ndarray  # int32, with the end token, then padding
    certainty_N: np.ndarray  # the geometric mean of the probabilities of a sentence's tokens

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        pairs = zip(self.texts, self.certainty_N.tolist(), strict=True)
        return _shown("Sentences", [f"{_cut(text)} {share:.1%}" for text, share in pairs])


def _shown(name: str, answers: list[str]) -> str:
    more = f", and {len(answers) - MAX_SHOWN:,} more" if len(answers) > MAX_SHOWN else ""
    return f"{name}({', '.join(answers[:MAX_SHOWN])}{more})"


def _cut(text: str) -> str:
    return repr(text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - 3] + "...")
