"""A data set as named arrays on the host, with its fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lstm_jax.errors import EnvironmentProblem, UserError

if TYPE_CHECKING:
    import numpy as np

Say = Callable[[str], None]  # prints one line
Arrays = dict[str, "np.ndarray"]  # by name; of which axis the examples are says `num_examples`


class Dataset(NamedTuple):
    """Three splits of the same arrays, and what a model needs to know of them."""

    name: str
    train: Arrays
    validation: Arrays
    test: Arrays
    metadata: dict[str, Any]  # JSON values: those given, and `shapes`, of one example's arrays
    fingerprint: str  # SHA-256 of the given metadata and of names, shapes, dtypes and bytes

    def __repr__(self) -> str:
        sizes = ", ".join(f"{num_examples(arrays)}" for arrays in self[1:4])
        return f"Dataset({self.name}: {sizes} examples, {self.fingerprint[:12]})"

    @property
    def num_examples(self) -> int:
        """The number of training examples."""
        return num_examples(self.train)


def num_examples(arrays: Arrays) -> int:
    """Returns the number of examples: the length of the array whose name sorts first.

    All arrays have a row for each example, or else that one has. JAX hands a dictionary on in the
    order of its names, so it is the same one on the host and inside of a compiled program.
    """
    return len(arrays[min(arrays)])


def make_dataset(
    name: str, train: Arrays, validation: Arrays, test: Arrays, **metadata: Any
) -> Dataset:
    """Returns the data set of these splits, fingerprinted.

    A split is a dict of arrays by name, the first axis that of its examples: what a task reads,
    such as `images`, uint8 [N, rows, columns], and `labels`, int32 [N], of `Images`. Raises
    UserError where one is something else.
    """
    import numpy as np  # a tenth of a second, which the command line need not wait for

    digest = hashlib.sha256("".join(f"{k} {v}\n" for k, v in metadata.items()).encode())
    splits: Mapping[str, Arrays] = {"train": train, "validation": validation, "test": test}
    for split_name, split in splits.items():
        if not isinstance(split, Mapping):
            raise UserError(
                f"{name}: {split_name} is no dict of arrays by name, such as images and labels, "
                f"but {type(split).__name__}"
            )
        for array_name, array in split.items():
            digest.update(f"{split_name} {array_name} {array.shape} {array.dtype.str}\n".encode())
            digest.update(np.ascontiguousarray(array).data)
    shapes = {array_name: list(array.shape[1:]) for array_name, array in test.items()}
    return Dataset(
        name, train, validation, test, {**metadata, "shapes": shapes}, digest.hexdigest()
    )


def path_of(name: str) -> Path:
    """Returns the path of a user's file, `~` being a home. Raises UserError where there is none."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        raise UserError(f"{name}: there is no such user's home directory") from None


def given_name(dataset: Dataset) -> str:
    """Returns the name on record of a data set that is given as arrays: it says which arrays."""
    return f"{dataset.name}@{dataset.fingerprint[:12]}"


def given_before(name: str) -> EnvironmentProblem:
    """Returns the error where such a data set is estimate_memory again and nobody gave it."""
    return EnvironmentProblem(
        f"the data set {name} was given as arrays, which lie in no run directory: give the same "
        "arrays again, lstm_jax.run(..., data=dataset)"
    )


def say_nothing(remark: str) -> None:
    """Says nothing."""
