"""Images and their labels: the bundled `digits`, any image-classification set of TFDS by its name,
or a user's own files (`data/image_files.py`).

The arrays decoded from TFDS's files are kept beside them, and a later start reads nothing else.
"""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from lstm_jax.data import tfds_sets
from lstm_jax.data.dataset import (
    Arrays,
    Dataset,
    Say,
    arrays_missing,
    make_dataset,
    say_nothing,
    shared_arrays,
)
from lstm_jax.errors import EnvironmentProblem, UserError, one_line

ARRAYS = "lstm_jax_arrays.npz"
DECODED_AT_A_TIME = 1000  # images, so that the memory stays bounded


def load_images(
    name: str,
    say: Say = say_nothing,
    label_column: str | None = None,
    shape: str | None = None,
) -> Dataset:
    """Returns `images`, uint8 [N, rows, features], and `labels`, int32 [N].

    The channels of a pixel lie side by side in a row: features = columns * channels. `say` prints
    what takes time. `label_column` and `shape` are those of a table. Raises UserError for a name or
    a file that is not an image-classification set, and EnvironmentProblem if the data is damaged,
    or neither on disk nor available.
    """
    if name == "digits":
        return _digits()
    if is_image_file(name):
        from lstm_jax.data import image_files  # imports Pillow, which other sets do not need

        return image_files.load_image_files(name, say, label_column, shape)
    if "@" in name:
        raise arrays_missing(name)
    if not tfds_sets.NAME.fullmatch(name):
        hint = f". A folder is given by its path, ./{name}" if Path(name).is_dir() else ""
        raise UserError(
            f"dataset: expected a name such as mnist or emnist/letters, got {name!r}{hint}"
        )
    root = tfds_sets.tfds_root()
    decoded = root / name / ARRAYS
    if decoded.exists():
        try:
            return _read_arrays(decoded, name)
        except Exception as error:  # whatever is wrong with it, the remedy is the same
            say(f"{decoded} is damaged ({one_line(error)}); decoding {name} again")
    with tfds_sets.quiet_tfds():
        dataset = _from_tfds(name, root, say)
    try:
        _write_arrays(decoded, dataset)
    except OSError as error:
        say(f"{name}: the decoded arrays cannot be kept beside the data set ({one_line(error)})")
    return dataset


def is_image_file(name: str) -> bool:
    """Returns whether a data set's name is that of a file or a folder.

    It begins with `.`, `/` or `~`, or ends in `/` or as a file of arrays or a table does.
    """
    ending = r"\.(npz|csv|tsv|json|jsonl|ndjson|parquet|gz|bz2|xz|zip)"
    return re.search(rf"^[./~]|(/|{ending})$", name.lower()) is not None


def convert_images(dataset: Dataset) -> Dataset:
    """Returns a data set that was made from arrays with its images as uint8 and labels as int32.

    Converts integers from 0 to 255 and labels of any integer type, [N] or [N,1]; leaves all else.
    """

    def convert(name: str, array: np.ndarray) -> np.ndarray:
        is_integer = array.dtype.kind in "biu" and array.size > 0
        if name == "images" and is_integer and array.min() >= 0 and array.max() <= 255:
            return array.astype(np.uint8, copy=False)
        if name == "labels" and is_integer and array.min() >= -(2**31) and array.max() < 2**31:
            column = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
            return column.astype(np.int32, copy=False)
        return array

    splits = dataset.train, dataset.validation, dataset.test
    converted = [{name: convert(name, a) for name, a in split.items()} for split in splits]
    same = all(
        new[name] is old[name] for new, old in zip(converted, splits, strict=True) for name in old
    )
    if same:
        return dataset
    metadata = {key: value for key, value in dataset.metadata.items() if key != "shapes"}
    return make_dataset(dataset.name, *converted, shared=shared_arrays(dataset.test), **metadata)


def check_images(dataset: Dataset) -> None:
    """Raises UserError where a data set that was made from arrays is not one of images."""
    num_classes = dataset.metadata.get("num_classes")
    if num_classes is None:
        raise UserError(f"{dataset.name}: say num_classes, as in make_dataset(..., num_classes=10)")
    if not isinstance(num_classes, int) or isinstance(num_classes, bool) or num_classes < 1:
        raise UserError(f"{dataset.name}: num_classes is {num_classes!r}; give a whole number")
    for split in ("train", "validation", "test"):
        arrays = getattr(dataset, split)
        if not {"images", "labels"} <= arrays.keys():
            raise UserError(f"{dataset.name}: its {split} split needs arrays images and labels")
        if problem := _problem(arrays, num_classes):
            raise UserError(f"{dataset.name}: {problem} in its {split} split{_remedy(arrays)}")
        shape = list(arrays["images"].shape[1:])
        if shape != dataset.metadata["shapes"]["images"]:
            raise UserError(
                f"{dataset.name}: images of {split} are {shape}, and those of test "
                f"{dataset.metadata['shapes']['images']}; give all splits the same size"
            )


def _remedy(arrays: Arrays) -> str:
    """Returns what to do about arrays that are no images and labels, or an empty string."""
    images, labels = arrays["images"], arrays["labels"]
    if images.ndim == 4:
        return "; channels lie side by side, images.reshape(len(images), rows, columns * channels)"
    if images.ndim == 2:
        return "; give each image its rows, images.reshape(len(images), rows, columns)"
    if images.dtype.kind == "f":
        scale = " * 255" if images.size and images.max() <= 1 else ""
        return f"; of values from 0 to 1 or 255 give numpy.rint(images{scale}).astype('uint8')"
    if images.dtype != np.uint8:
        return "; give integers from 0 to 255"
    if labels.ndim == 2 and len(labels) == len(images):
        return "; of one-hot labels give labels.argmax(axis=1)"
    if labels.dtype.kind == "f":
        return "; give integers, labels.astype('int32')"
    return ""


def _digits() -> Dataset:
    """Returns 1,797 scans of 8 by 8 pixels from 0 to 16; the last 360 of them are the test."""
    # The file of scikit-learn's `load_digits`, whose import alone takes a second.
    spec = find_spec("sklearn")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
    table = np.loadtxt(path, delimiter=",")
    images = np.rint(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    labels = table[:, -1].astype(np.int32)
    train: Arrays = {"images": images[:-360], "labels": labels[:-360]}
    test: Arrays = {"images": images[-360:], "labels": labels[-360:]}
    return _dataset("digits", train, test, 10)


def _dataset(name: str, train: Arrays, test: Arrays, num_classes: int) -> Dataset:
    """Returns the checked data set; the first twelfth of `train` is held out for validation."""
    held_out = len(train["labels"]) // 12
    validation = {key: array[:held_out] for key, array in train.items()}
    train = {key: array[held_out:] for key, array in train.items()}
    for split, arrays in (("train", train), ("validation", validation), ("test", test)):
        if problem := _problem(arrays, num_classes):
            raise EnvironmentProblem(f"{name}: {problem} in its {split} split")
    return make_dataset(name, train, validation, test, num_classes=num_classes)


def _problem(arrays: Arrays, num_classes: int) -> str:
    """Returns what is wrong with the arrays, or an empty string."""
    images, labels = arrays["images"], arrays["labels"]
    if images.dtype != np.uint8 or images.ndim != 3:
        return f"images are {images.dtype}{list(images.shape)}, not uint8[N, rows, features]"
    if labels.dtype != np.int32 or labels.shape != images.shape[:1]:
        return f"labels are {labels.dtype}{list(labels.shape)}, not int32[{len(images)}]"
    if images.size == 0:
        return "no images"
    if labels.min() < 0 or labels.max() >= num_classes:
        return f"labels from {labels.min()} to {labels.max()}, not 0 to {num_classes - 1},"
    return ""


def _read_arrays(path: Path, name: str) -> Dataset:
    """Returns the data set that `_write_arrays` wrote. Raises if any bit of it has changed."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        train = {"images": arrays["train_images"], "labels": arrays["train_labels"]}
        test = {"images": arrays["test_images"], "labels": arrays["test_labels"]}
        dataset = _dataset(name, train, test, int(arrays["num_classes"]))
        if dataset.fingerprint != str(arrays["fingerprint"]):
            raise ValueError("its fingerprint does not match")
    return dataset


def _write_arrays(path: Path, dataset: Dataset) -> None:
    """Writes the arrays whole or not at all: under another name first, then moved."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    validation, train, test = dataset.validation, dataset.train, dataset.test
    try:
        with partial.open("wb") as file:
            np.savez(
                file,
                train_images=np.concatenate([validation["images"], train["images"]]),
                train_labels=np.concatenate([validation["labels"], train["labels"]]),
                test_images=test["images"],
                test_labels=test["labels"],
                num_classes=dataset.metadata["num_classes"],
                fingerprint=dataset.fingerprint,
            )
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _from_tfds(name: str, root: Path, say: Say) -> Dataset:
    """Returns a set of TFDS, decoded, and prepared first if need be."""
    builder = tfds_sets.prepared_builder(name, root, say, tfds_sets.find_image_builder)
    if missing := {"train", "test"} - set(builder.info.splits):
        raise UserError(f"dataset: {name} has no {' and no '.join(sorted(missing))} split")
    say(f"decoding {name}")
    try:
        train, test = _decode(builder, "train"), _decode(builder, "test")
    except Exception as error:
        raise tfds_sets.damaged(name, builder, error) from error
    return _dataset(name, train, test, builder.info.features["label"].num_classes)


def _decode(builder: Any, split: str) -> Arrays:
    """Returns one split in TFDS's order; channels [h, w, c] lie side by side, [h, w * c]."""
    source = builder.as_data_source(split)
    height, width, channels = builder.info.features["image"].shape
    images = np.empty((len(source), height, width * channels), np.uint8)
    labels = np.empty(len(source), np.int32)
    for start in range(0, len(source), DECODED_AT_A_TIME):
        indices = range(start, min(start + DECODED_AT_A_TIME, len(source)))
        for index, example in zip(indices, source.__getitems__(indices), strict=True):
            images[index] = example["image"].reshape(height, -1)
            labels[index] = example["label"]
    return {"images": images, "labels": labels}
