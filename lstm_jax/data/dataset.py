"""A data set: named arrays on the host in three splits, with a fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lstm_jax.errors import EnvironmentProblem, UserError, one_line

if TYPE_CHECKING:
    import numpy as np

Say = Callable[[str], None]  # prints one line
Arrays = dict[str, "np.ndarray"]  # by name; the first axis counts examples, see `Split`


class Split(dict[str, Any]):
    """The arrays of a split by name, where some have no entry per example: those in `shared`.

    A split in which every array has an entry per example is a plain dict. JAX flattens a `Split`
    as a dict, and takes `shared` as static (`train/step.py` registers it), so a compiled program
    knows these names too.
    """

    def __init__(self, arrays: Mapping[str, Any], shared: Collection[str]) -> None:
        super().__init__(arrays)
        self.shared = tuple(sorted(shared))


class Dataset(NamedTuple):
    """Three splits with the same arrays, and the metadata that a model needs."""

    name: str
    train: Arrays
    validation: Arrays
    test: Arrays
    metadata: dict[str, Any]  # JSON values: the caller's, and `shapes`, of one example's arrays
    fingerprint: str  # SHA-256 of the caller's metadata and of names, shapes, dtypes and bytes

    def __repr__(self) -> str:
        sizes = ", ".join(f"{num_examples(arrays)}" for arrays in self[1:4])
        return f"Dataset({self.name}: {sizes} examples, {self.fingerprint[:12]})"

    @property
    def num_examples(self) -> int:
        """The number of training examples."""
        return num_examples(self.train)


def shared_arrays(arrays: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the names of the arrays that have no entry per example."""
    return arrays.shared if isinstance(arrays, Split) else ()


def num_examples(arrays: Mapping[str, Any]) -> int:
    """Returns the number of examples, on the host or inside a compiled program.

    It is the length of any array that is not shared: `make_dataset` checks that they agree.
    """
    return len(arrays[min(arrays.keys() - set(shared_arrays(arrays)))])


def gather_examples(arrays: Mapping[str, Any], index: Any) -> dict[str, Any]:
    """Returns the examples at these indices (or in a slice), without the shared arrays."""
    shared = shared_arrays(arrays)
    return {name: array[index] for name, array in arrays.items() if name not in shared}


def make_dataset(
    name: str,
    train: Mapping[str, Any],
    validation: Mapping[str, Any],
    test: Mapping[str, Any],
    *,
    shared: Collection[str] = (),
    **metadata: Any,
) -> Dataset:
    """Returns the data set of these splits, with its fingerprint.

    A split is a dict of arrays by name, or of what NumPy makes arrays of: lists, tensors, columns
    of a table. The first axis of each array counts the examples, as of `images`, uint8
    [N, rows, columns], and `labels`, int32 [N], which the task `Images` reads.
    `shared` names the arrays that have no entry per example, such as a table of class weights:
    `Task.gather` leaves them out of a batch, and a task that needs them overrides it. The arrays of
    the data set are read-only views of those that are given. Raises UserError where a split is no
    such dict, where something in it is no array of numbers, and where the lengths of its arrays
    differ.
    """
    import numpy as np  # a tenth of a second, which the command line need not wait for

    metadata = _json_values(name, metadata)
    digest = hashlib.sha256("".join(f"{k} {v}\n" for k, v in metadata.items()).encode())
    splits: dict[str, Any] = {"train": train, "validation": validation, "test": test}
    if isinstance(shared, str):
        raise UserError(f"{name}: shared is a list of names, [{shared!r}], not {shared!r}")
    for split_name, split in splits.items():
        if not isinstance(split, Mapping):
            raise UserError(
                f"{name}: {split_name} is not a dict of arrays by name, such as images and labels, "
                f"but {type(split).__name__}"
            )
        split = splits[split_name] = {
            array_name: _as_array(value, f"{name}: {array_name} of {split_name}")
            for array_name, value in split.items()
        }
        _check_lengths(name, split_name, split, shared)
        for array_name, array in split.items():
            digest.update(f"{split_name} {array_name} {array.shape} {array.dtype.str}\n".encode())
            digest.update(np.ascontiguousarray(array).data)
            # A callback that changes them would change the scores, under the same fingerprint.
            split[array_name] = array.view()
            split[array_name].flags.writeable = False
            # Shapes alone do not say that an array is shared if it is as long as the examples.
            if array_name in shared and len(array) == num_examples(Split(split, shared)):
                digest.update(f"{split_name} {array_name} shared\n".encode())
    if shared:
        splits = {split_name: Split(split, shared) for split_name, split in splits.items()}
    shapes = {array_name: list(array.shape[1:]) for array_name, array in splits["test"].items()}
    return Dataset(
        name, **splits, metadata={**metadata, "shapes": shapes}, fingerprint=digest.hexdigest()
    )


def _as_array(value: Any, label: str) -> np.ndarray:
    """Returns a value as an array of numbers in the byte order of the machine.

    Raises UserError, which begins with `label`, where NumPy makes no array of numbers of it.
    """
    import numpy as np

    if isinstance(value, np.ma.MaskedArray) and (count := np.ma.count_masked(value)):
        raise UserError(f"{label} has {count:,} masked values; fill them in first: .filled(value)")
    if hasattr(value, "detach"):  # a tensor of PyTorch, wherever it lies
        value = value.detach().cpu()
    try:
        array = np.asarray(value)
        if array.dtype == object:  # as of a table whose column may have gaps
            array = np.array(array.tolist())
    except ValueError:
        raise UserError(
            f"{label} has entries of different lengths; pad them to one length, and give the "
            "lengths as an array of their own"
        ) from None
    except (TypeError, RuntimeError) as error:
        raise UserError(f"{label} is no array ({one_line(error)}); give a NumPy array") from None
    if array.dtype.kind in "OSUMm":
        kinds = {"O": "objects", "M": "dates", "m": "durations"}
        kind = kinds.get(array.dtype.kind, "strings")
        remedy = "give numbers"
        if kind == "strings":
            remedy = (
                "give numbers: of classes numpy.unique(labels, return_inverse=True)[1]; texts are "
                "read from a file of lines label<TAB>text, task.dataset FILE.tsv"
            )
        if kind == "objects":
            odd = (x for x in array.ravel().tolist() if not isinstance(x, (int, float, np.number)))
            first = next(odd, "")
            kind += f" such as {first!r}"[:60]
        raise UserError(f"{label} holds {kind}; {remedy}")
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _json_values(name: str, metadata: dict[str, Any]) -> dict[str, Any]:
    """Returns the metadata with the numbers and lists that NumPy's scalars and arrays stand for.

    Values that JSON can hold are returned as they are. Raises UserError for any other value.
    """

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(each) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(each) for each in value]
        return value.tolist() if hasattr(value, "tolist") else value

    values = {}
    for key, value in metadata.items():
        values[key] = value
        if not _is_json(value):
            values[key] = plain(value)
        if not _is_json(values[key]):
            raise UserError(
                f"{name}: {key} is a {type(value).__name__}, which a record cannot hold; give "
                "numbers, strings, lists or dicts of them"
            )
    return values


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


def _check_lengths(name: str, split_name: str, split: Arrays, shared: Collection[str]) -> None:
    """Raises UserError where the arrays that are not shared differ in length."""
    if missing := [array_name for array_name in shared if array_name not in split]:
        raise UserError(f"{name}: shared names {missing[0]}, and {split_name} has no such array")
    if scalar := [array_name for array_name, array in split.items() if not array.ndim]:
        raise UserError(
            f"{name}: the array {scalar[0]} of {split_name} is a single number; give it an axis"
        )
    lengths = {n: len(array) for n, array in split.items() if n not in shared}
    if split and not lengths:
        raise UserError(f"{name}: shared names all arrays of {split_name}; leave out at least one")
    if len(set(lengths.values())) > 1:
        commonest, _ = Counter(lengths.values()).most_common(1)[0]
        listed = ", ".join(f"{n} {length:,}" for n, length in lengths.items())
        others = [*shared, *(n for n, length in lengths.items() if length != commonest)]
        raise UserError(
            f"{name}: the arrays of {split_name} differ in length ({listed}); each needs one entry "
            "per example, or its name in `shared`, as in "
            f"make_dataset(..., shared={others})"
        )


def check_finite(dataset: Dataset) -> None:
    """Raises UserError where an array of a user's data set holds a number that is not finite.

    One such number makes the loss not finite, at a step at which nothing names the data.
    """
    import numpy as np

    splits = zip(("train", "validation", "test"), dataset[1:4], strict=True)
    for split_name, name, array in ((s, n, a) for s, split in splits for n, a in split.items()):
        if array.dtype.kind not in "fc" or (is_finite := np.isfinite(array)).all():
            continue
        first, count = int(np.argwhere(~is_finite)[0][0]), int(np.sum(~is_finite))
        values = "1 value that is" if count == 1 else f"{count:,} values that are"
        raise UserError(
            f"{dataset.name}: {name} of {split_name} has {values} not finite, first in example "
            f"{first} (counted from 0); leave such examples out, or fill the values in"
        )


def path_of(name: str) -> Path:
    """Returns the path of a user's file, `~` expanded. Raises UserError for an unknown user."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        raise UserError(f"{name}: there is no such user's home directory") from None


def arrays_name(dataset: Dataset) -> str:
    """Returns the name on record of a data set that a user passed as arrays: it tells which."""
    return f"{dataset.name}@{dataset.fingerprint[:12]}"


def arrays_missing(name: str) -> EnvironmentProblem:
    """Returns the error for a data set on record whose arrays were not passed again."""
    return EnvironmentProblem(
        f"the data set {name} was given as arrays, which no run directory holds: give the same "
        "arrays again, lstm_jax.run(..., data=dataset)"
    )


def say_nothing(message: str) -> None:
    """Prints nothing."""
