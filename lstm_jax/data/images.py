"""Images and their labels: the bundled `digits`, any TFDS image-classification set by its name, or
files of a user's own (`data/image_files.py`).

TFDS's sets are looked for where its users expect them: in TFDS_DATA_DIR, by default
~/tensorflow_datasets. TFDS prepares one there once, in a process of its own (the only place that
needs TensorFlow); the decoded arrays are kept beside it, and a later start reads nothing else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lstm_jax.data.dataset import Arrays, Dataset, given_before, make_dataset, say_nothing
from lstm_jax.data.download import have, one_line, open_builder, quiet
from lstm_jax.errors import EnvironmentProblem, UserError

ARRAYS = "lstm_jax_arrays.npz"


def load(name: str, say: Callable[[str], None] = say_nothing) -> Dataset:
    """Returns images, uint8 [N, rows, features], and labels, int32 [N]; `say` hears what takes
    time, a line at a time.

    A pixel's channels lie side by side in a row: features = columns * channels. Raises
    `UserError` for a name or a file that is no image-classification set, and `EnvironmentProblem`
    when the data is damaged, or neither on disk nor to be had.
    """
    if name == "digits":
        return _digits()
    if is_own_file(name):
        from lstm_jax.data import image_files  # Pillow, which others need not wait for

        return image_files.load(name, say)
    if "@" in name:
        raise given_before(name)
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name):
        there = f". A folder is given by its path, ./{name}" if Path(name).is_dir() else ""
        raise UserError(
            f"dataset: expected a name such as mnist or emnist/letters, got {name!r}{there}"
        )
    root = Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser().absolute()
    kept = root / name / ARRAYS
    if kept.exists():
        try:
            return _read_arrays(kept, name)
        except Exception as error:  # whatever is wrong with it, the remedy is the same
            say(f"{kept} is damaged ({one_line(error)}); decoding {name} again")
    with quiet():
        dataset = _from_tfds(name, root, say)
    try:
        _write_arrays(kept, dataset)
    except OSError as error:
        say(f"{name}: the decoded arrays cannot be kept beside the data set ({one_line(error)})")
    return dataset


def is_own_file(name: str) -> bool:
    """Returns whether a data set's name is that of a file or a folder: it begins with `.`, `/` or
    `~`, or ends in `/` or `.npz`.
    """
    return re.search(r"^[./~]|(/|\.npz)$", name.lower()) is not None


def _digits() -> Dataset:
    """1,797 scans of 8 by 8 pixels, 0 to 16; the last 360 of them are the test."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = np.rint(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    labels = labels.astype(np.int32)
    train = {"images": images[:-360], "labels": labels[:-360]}
    return _dataset("digits", train, {"images": images[-360:], "labels": labels[-360:]}, 10)


def _dataset(name: str, train: Arrays, test: Arrays, num_classes: int) -> Dataset:
    """Returns the set, checked, with the first twelfth of `train` held out for validation."""
    held_out = len(train["labels"]) // 12
    validation = {key: array[:held_out] for key, array in train.items()}
    train = {key: array[held_out:] for key, array in train.items()}
    for split, arrays in (("train", train), ("validation", validation), ("test", test)):
        if problem := _problem(arrays, num_classes):
            raise EnvironmentProblem(f"{name}: {problem} in its {split} split")
    return make_dataset(name, train, validation, test, num_classes=num_classes)


def check(dataset: Dataset) -> None:
    """Raises UserError where a data set that was made of arrays is none of images."""
    num_classes = dataset.metadata.get("num_classes")
    if not isinstance(num_classes, int):
        raise UserError(f"{dataset.name}: say num_classes, as in make_dataset(..., num_classes=10)")
    for split in ("train", "validation", "test"):
        arrays = getattr(dataset, split)
        if not {"images", "labels"} <= arrays.keys():
            raise UserError(f"{dataset.name}: its {split} split needs arrays images and labels")
        if problem := _problem(arrays, num_classes):
            raise UserError(f"{dataset.name}: {problem} in its {split} split")


def _problem(arrays: Arrays, num_classes: int) -> str:
    """Returns what is off, or an empty string."""
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
    """What `_write_arrays` wrote. Raises when a bit of it changed since."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        train = {"images": arrays["train_images"], "labels": arrays["train_labels"]}
        test = {"images": arrays["test_images"], "labels": arrays["test_labels"]}
        dataset = _dataset(name, train, test, int(arrays["num_classes"]))
        if dataset.fingerprint != str(arrays["fingerprint"]):
            raise ValueError("its fingerprint does not match")
    return dataset


def _write_arrays(path: Path, dataset: Dataset) -> None:
    """Whole or not at all: under another name first, then moved."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    held_out, rest, test = dataset.validation, dataset.train, dataset.test
    try:
        with partial.open("wb") as file:
            np.savez(
                file,
                train_images=np.concatenate([held_out["images"], rest["images"]]),
                train_labels=np.concatenate([held_out["labels"], rest["labels"]]),
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


def _from_tfds(name: str, root: Path, say: Callable[[str], None]) -> Dataset:
    """Decodes a prepared data set; prepares it if need be."""
    builder = have(name, root, say, open_builder)
    if missing := {"train", "test"} - set(builder.info.splits):
        raise UserError(f"dataset: {name} has no {' and no '.join(sorted(missing))} split")
    say(f"decoding {name}")
    try:
        train, test = _decode(builder, "train"), _decode(builder, "test")
    except Exception as error:
        raise EnvironmentProblem(
            f"{name}: {builder.data_path} is damaged, remove it to have it prepared again: "
            f"{one_line(error)}"
        ) from error
    return _dataset(name, train, test, builder.info.features["label"].num_classes)


def _decode(builder: Any, split: str) -> Arrays:
    """Returns one split in TFDS's order; channels [h, w, c] lie side by side, [h, w * c]."""
    source = builder.as_data_source(split)
    height, width, channels = builder.info.features["image"].shape
    images = np.empty((len(source), height, width * channels), np.uint8)
    labels = np.empty(len(source), np.int32)
    for start in range(0, len(source), 1000):  # in parts, so that the memory stays bounded
        rows = range(start, min(start + 1000, len(source)))
        for row, example in zip(rows, source.__getitems__(rows), strict=True):
            images[row] = example["image"].reshape(height, -1)
            labels[row] = example["label"]
    return {"images": images, "labels": labels}
