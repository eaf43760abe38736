"""Images of a user's own: an .npz of arrays, or a folder of pictures that lie in folders by class.

    pictures.npz    train_images and train_labels, test_...; or Keras's x_train and y_train, x_test
                    and y_test; a validation split likewise (`val`, as MedMNIST has it, will do); or
                    images and labels alone. Images are uint8 [N, rows, columns], a last axis of
                    channels is welcome; labels are numbers or words [N].
    pictures/       train/cat/1.png, train/dog/2.jpg, test/cat/3.png, ...; or cat/1.png alone.

What is not split is split by rule (`data/splits.py`). Pictures are kept as they are, grey if all of
them are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from lstm_jax.data import Arrays, Dataset, make_dataset
from lstm_jax.data.pictures import files_in, read_colours
from lstm_jax.data.splits import SPLITS, apart, classes_of, in_three
from lstm_jax.errors import SurroundingsError, UserError

SPELLINGS = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}

Labelled = tuple[str, np.ndarray]  # a label, and an image, uint8 [rows, columns * channels]


def load(name: str, say: Callable[[str], None]) -> Dataset:
    """Returns `images`, uint8 [N, rows, columns * channels], and `labels`, int32 [N].

    An image that is in training and also in validation or test is taken out of there, which `say`
    hears. Raises UserError for what is no such set, SurroundingsError where it cannot be read.
    """
    path = Path(name).expanduser()
    try:
        given, channels = _read_folder(path) if path.is_dir() else _read_npz(path)
    except OSError as error:
        raise SurroundingsError(f"dataset: {path} cannot be read: {error.strerror}") from error
    splits, rule = in_three(given, "the images,", "the user's")
    splits = apart(splits, lambda example: example[1].tobytes(), "images", say)
    classes = classes_of(name, splits, "images", "a class has a folder, or a number in labels")
    number = {label: i for i, label in enumerate(classes)}

    def arrays(split: str) -> Arrays:
        labels = [number[label] for label, _ in splits[split]]
        images = np.stack([image for _, image in splits[split]])
        return {"images": images, "labels": np.array(labels, np.int32)}

    return make_dataset(
        path.name,
        *map(arrays, SPLITS),
        num_classes=len(classes),
        classes=classes,
        channels=channels,
        split=rule,
    )


def _read_npz(path: Path) -> tuple[dict[str, list[Labelled]], int]:
    """The images of each split that is there, and the channels of one."""
    if not path.exists():
        raise UserError(f"dataset: {path} is not there")
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            names = _names(file.files)
            found = {split: (file[x], file[y]) for split, (x, y) in names.items()}
            there = ", ".join(file.files[:12])
    except OSError:
        raise
    except Exception as error:  # a damaged archive raises whatever its part raises
        raise UserError(f"dataset: {path} is no whole .npz of plain arrays ({error})") from error
    if "train" not in found:
        raise UserError(
            f"dataset: {path} needs arrays train_images, train_labels, test_images and "
            f"test_labels, or x_train, y_train, x_test and y_test, or images and labels; it has "
            f"{there or 'none'}"
        )
    shape = found["train"][0].shape[1:]
    splits = {}
    for split, (images, labels) in found.items():
        if images.dtype != np.uint8 or images.ndim not in (3, 4) or not images.size:
            raise UserError(
                f"dataset: the images of {split} in {path} are {images.dtype}{list(images.shape)}, "
                "not uint8[N, rows, columns] or uint8[N, rows, columns, channels]"
            )
        if images.shape[1:] != shape:
            raise UserError(
                f"dataset: the images of {split} in {path} are {_sized(images.shape[1:])}, those "
                f"of train {_sized(shape)}"
            )
        labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
        if labels.shape != images.shape[:1] or labels.dtype.kind not in "iuUb":
            raise UserError(
                f"dataset: the labels of {split} in {path} are {labels.dtype}{list(labels.shape)}, "
                f"not {len(images)} whole numbers or words"
            )
        flat = images.reshape(*images.shape[:2], -1)
        splits[split] = list(zip(map(str, labels.tolist()), flat, strict=True))
    return splits, shape[2] if len(shape) == 3 else 1


def _names(there: list[str]) -> dict[str, tuple[str, str]]:
    """The names of images and labels of each split that the archive has."""
    found = {}
    for split, spellings in SPELLINGS.items():
        for word in spellings:
            for images, labels in (
                (f"{word}_images", f"{word}_labels"),
                (f"x_{word}", f"y_{word}"),
            ):
                if images in there and labels in there:
                    found[split] = images, labels
    if not found and {"images", "labels"} <= set(there):
        found["train"] = "images", "labels"
    return found


def _read_folder(path: Path) -> tuple[dict[str, list[Labelled]], int]:
    """The pictures of each split that has a folder, and the channels of one."""
    folders = {
        split: path / word
        for split, spellings in SPELLINGS.items()
        for word in spellings
        if (path / word).is_dir()
    }
    if "train" not in folders:
        folders = {"train": path}
    files = {split: list(_files_by_class(folder)) for split, folder in folders.items()}
    if not files["train"]:
        raise UserError(
            f"dataset: no pictures lie in folders of {folders['train']}; a class is a folder, as "
            f"in {path / 'train' / 'cat' / '1.png'} or {path / 'cat' / '1.png'}"
        )
    first = files["train"][0][1]
    size = read_colours(first).shape
    splits: dict[str, list[Labelled]] = {}
    for split, labelled in files.items():
        splits[split] = []
        for label, file in labelled:
            image = read_colours(file)
            if image.shape != size:
                raise UserError(
                    f"dataset: {file} has {_sized(image.shape[:2])} pixels, {first} has "
                    f"{_sized(size[:2])}; bring all pictures to one size"
                )
            splits[split].append((label, image))
    grey = not any(np.ptp(image, axis=2).any() for images in splits.values() for _, image in images)
    kept = np.s_[:, :, 0] if grey else np.s_[:]
    flat = {
        split: [(label, image[kept].reshape(size[0], -1)) for label, image in images]
        for split, images in splits.items()
    }
    return flat, 1 if grey else 3


def _files_by_class(folder: Path) -> Iterator[tuple[str, str]]:
    """Yields the class and the path of each picture, in the order of their names."""
    for kind in sorted(folder.iterdir()):
        if kind.is_dir() and not kind.name.startswith("."):
            yield from ((kind.name, file) for file in files_in(kind))


def _sized(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
