"""A data set as arrays on the host, with its fingerprint, and the order of its batches.

`digits` comes with scikit-learn. Every other name is a TFDS image-classification set, looked for
where TFDS's users expect it: in TFDS_DATA_DIR, by default ~/tensorflow_datasets. TFDS prepares it
there once, in a process of its own (the only place that needs TensorFlow); the decoded arrays are
kept beside it, and a later start reads nothing else.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.data.tfds import one_line, open_builder, prepare, quiet
from lstm_jax.errors import SurroundingsError, UserError

ARRAYS = "lstm_jax_arrays.npz"


class Split(NamedTuple):
    """Images uint8 [N, rows, features] and their labels int32 [N]."""

    images: np.ndarray
    labels: np.ndarray


class Dataset(NamedTuple):
    """Three splits; the fingerprint is the SHA-256 of their names, shapes, dtypes and bytes."""

    name: str
    train: Split
    validation: Split
    test: Split
    num_classes: int
    fingerprint: str
    image_shape: tuple[int, int]  # [rows, features] as they were before they were arranged


def ignore(remark: str) -> None:
    """Says nothing."""


def epoch_order(key: jax.Array, epoch: jax.typing.ArrayLike, num_examples: int) -> jax.Array:
    """The order of one epoch's examples, int32 [num_examples]: a pure function of key and epoch."""
    return jax.random.permutation(
        jax.random.fold_in(key, epoch), jnp.arange(num_examples, dtype=jnp.int32)
    )


def load(name: str, say: Callable[[str], None] = ignore, reading: str = "rows") -> Dataset:
    """The data set of this name; `say` hears what takes time, a line at a time.

    Raises `UserError` for a name that is no image-classification set, and `SurroundingsError`
    when the data is damaged, or neither on disk nor to be had. The fingerprint is that of the
    images as they are, however they are read.
    """
    dataset = _load(name, say)
    splits = {
        split: getattr(dataset, split)._replace(
            images=arranged(getattr(dataset, split).images, reading)
        )
        for split in ("train", "validation", "test")
    }
    return dataset._replace(**splits)


def arranged(images_NTI: Any, reading: str) -> Any:
    """Images [N,T,I], of NumPy or JAX, as they are read: `rows` as they are, `columns` [N,I,T],
    `pixels` [N,T*I,1] or `permuted`, these in an order shuffled once for all.
    """
    if reading == "rows":
        return images_NTI
    if reading == "columns":
        return images_NTI.swapaxes(1, 2)
    count, rows, features = images_NTI.shape
    pixels = images_NTI.reshape(count, rows * features, 1)
    if reading == "pixels":
        return pixels
    # RandomState's streams are frozen; those of numpy's newer generators may change.
    return pixels[:, np.random.RandomState(0).permutation(pixels.shape[1])]


def _load(name: str, say: Callable[[str], None]) -> Dataset:
    if name == "digits":
        return _digits()
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name):
        raise UserError(f"dataset: expected a name such as mnist or emnist/letters, got {name!r}")
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


def _digits() -> Dataset:
    """1,797 scans of 8 by 8 pixels, 0 to 16; the last 360 of them are the test."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = np.rint(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    labels = labels.astype(np.int32)
    return _dataset(
        "digits", Split(images[:-360], labels[:-360]), Split(images[-360:], labels[-360:]), 10
    )


def _dataset(name: str, train: Split, test: Split, num_classes: int) -> Dataset:
    """Checked and fingerprinted, with the first twelfth of `train` held out for validation."""
    held_out = len(train.images) // 12
    splits = {
        "train": Split(train.images[held_out:], train.labels[held_out:]),
        "validation": Split(train.images[:held_out], train.labels[:held_out]),
        "test": test,
    }
    digest = hashlib.sha256(f"num_classes {num_classes}\n".encode())
    for split_name, split in splits.items():
        if problem := _problem(split, num_classes):
            raise SurroundingsError(f"{name}: {problem} in its {split_name} split")
        for array_name, array in split._asdict().items():
            digest.update(f"{split_name} {array_name} {array.shape} {array.dtype.str}\n".encode())
            digest.update(np.ascontiguousarray(array).data)
    return Dataset(
        name,
        **splits,
        num_classes=num_classes,
        fingerprint=digest.hexdigest(),
        image_shape=test.images.shape[1:],
    )


def _problem(split: Split, num_classes: int) -> str:
    """What is off, or an empty string."""
    images, labels = split
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
        train = Split(arrays["train_images"], arrays["train_labels"])
        test = Split(arrays["test_images"], arrays["test_labels"])
        dataset = _dataset(name, train, test, int(arrays["num_classes"]))
        if dataset.fingerprint != str(arrays["fingerprint"]):
            raise ValueError("its fingerprint does not match")
    return dataset


def _write_arrays(path: Path, dataset: Dataset) -> None:
    """Whole or not at all: under another name first, then moved."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    train = Split(*map(np.concatenate, zip(dataset.validation, dataset.train, strict=True)))
    try:
        with partial.open("wb") as file:
            np.savez(
                file,
                train_images=train.images,
                train_labels=train.labels,
                test_images=dataset.test.images,
                test_labels=dataset.test.labels,
                num_classes=dataset.num_classes,
                fingerprint=dataset.fingerprint,
            )
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _from_tfds(name: str, root: Path, say: Callable[[str], None]) -> Dataset:
    """Decodes a prepared data set; prepares it if need be."""
    builder = open_builder(name, root)
    if Path(builder.data_path).exists() and builder.info.file_format.value != "array_record":
        builder = open_builder(name, root / "array_record")  # the other formats need TensorFlow
    folder = Path(builder.data_path)
    if not folder.exists():
        prepare(name, builder, root, say)
        builder = open_builder(name, Path(builder.data_dir_root))
    if missing := {"train", "test"} - set(builder.info.splits):
        raise UserError(f"dataset: {name} has no {' and no '.join(sorted(missing))} split")
    say(f"decoding {name}")
    try:
        train, test = _decode(builder, "train"), _decode(builder, "test")
    except Exception as error:
        raise SurroundingsError(
            f"{name}: {folder} is damaged, remove it to have it prepared again: {one_line(error)}"
        ) from error
    return _dataset(name, train, test, builder.info.features["label"].num_classes)


def _decode(builder: Any, split: str) -> Split:
    """One split in TFDS's order; the channels [h, w, c] lie side by side in a row, [h, w * c]."""
    source = builder.as_data_source(split)
    height, width, channels = builder.info.features["image"].shape
    images = np.empty((len(source), height, width * channels), np.uint8)
    labels = np.empty(len(source), np.int32)
    for start in range(0, len(source), 1000):  # in parts, so that the memory stays bounded
        rows = range(start, min(start + 1000, len(source)))
        for row, example in zip(rows, source.__getitems__(rows), strict=True):
            images[row] = example["image"].reshape(height, -1)
            labels[row] = example["label"]
    return Split(images, labels)
