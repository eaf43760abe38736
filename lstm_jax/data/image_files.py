"""Images of a user's own: an .npz of arrays, or a folder of pictures that lie in folders by class.

    pictures.npz    train_images and train_labels, test_...; or Keras's x_train and y_train, x_test
                    and y_test; a validation split likewise (`val` and `valid` will do); or images
                    and labels alone. Images are uint8 [N, rows, columns], or with a last axis of 3
                    channels; labels are whole numbers or words, [N] or [N,1].
    pictures/       train/cat/1.png, train/dog/2.jpg, test/cat/3.png, ...; or cat/1.png alone.

What is not split is split by rule, in tenths of each class. Pictures are kept as they are, grey if
all of them are.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np

from lstm_jax.data.dataset import Arrays, Dataset, Say, make_dataset, path_of
from lstm_jax.data.picture_files import files_below, read_colours
from lstm_jax.data.splits import SPLITS, apart, classes_of, in_three
from lstm_jax.errors import EnvironmentProblem, UserError

SPELLINGS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid"),
    "test": ("test", "testing"),
}
ZIP = b"PK"  # how every .npz begins
WANTED = (
    "it needs arrays train_images, train_labels, test_images and test_labels, or x_train, y_train, "
    "x_test and y_test, or images and labels"
)

Example = tuple[str, np.ndarray]  # a label, and an image, uint8 [rows, columns * channels]


def load(name: str, say: Say) -> Dataset:
    """Returns `images`, uint8 [N, rows, columns * channels], and `labels`, int32 [N].

    An image that is in training and also in validation or test is taken out of there, which `say`
    hears. Raises UserError for a file or a folder that holds no such images, EnvironmentProblem for
    one that cannot be read.
    """
    path = path_of(name)
    try:
        given, channels = _read_folder(path, say) if path.is_dir() else _read_npz(path)
    except OSError as error:
        raise EnvironmentProblem(f"dataset: {path} cannot be read: {error.strerror}") from error
    places = _places([label for label, _ in given["train"]])
    splits, rule = in_three(given, "each class of the images,", "the user's", places)
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


def _places(labels: list[str]) -> list[int]:
    """The place of each among those of its label."""
    seen: Counter[str] = Counter()
    places = []
    for label in labels:
        places.append(seen[label])
        seen[label] += 1
    return places


def _read_npz(path: Path) -> tuple[dict[str, list[Example]], int]:
    """The images of each split that is there, and the channels of one. Raises UserError."""
    if not path.exists():
        raise UserError(f"dataset: {path} is not there")
    with path.open("rb") as opened:
        if opened.read(len(ZIP)) != ZIP:
            raise UserError(f"dataset: {path} is no .npz: write it with numpy.savez")
        opened.seek(0)
        try:
            with np.load(opened, allow_pickle=False) as file:
                names = _names(path, file.files)
                found = {split: (file[x], file[y]) for split, (x, y) in names.items()}
            if not all(isinstance(array, np.ndarray) for pair in found.values() for array in pair):
                raise ValueError("a zip of other files")
        except (OSError, UserError):
            raise
        except Exception as error:  # a damaged archive raises whatever its part raises
            raise UserError(
                f"dataset: {path} is damaged, or holds more than plain arrays of numbers and words"
            ) from error
    first = found["train"][0]
    splits = {split: _examples(f"{split} in {path}", *pair, first) for split, pair in found.items()}
    return splits, first.shape[3] if first.ndim == 4 else 1


def _names(path: Path, there: list[str]) -> dict[str, tuple[str, str]]:
    """The names of images and labels of each split that the archive has."""
    found = {}
    for split, spellings in SPELLINGS.items():
        for word in spellings:
            for pair in ((f"{word}_images", f"{word}_labels"), (f"x_{word}", f"y_{word}")):
                if present := [name for name in pair if name in there]:
                    if len(present) == 1:
                        other = pair[1 - pair.index(present[0])]
                        raise UserError(f"dataset: {path} has {present[0]} and no {other}")
                    found[split] = pair
    if not found and {"images", "labels"} <= set(there):
        found["train"] = "images", "labels"
    if "train" not in found:
        shown = ", ".join(there[:12]) or "none"
        raise UserError(f"dataset: {path} has no images for training: {WANTED}; it has {shown}")
    return found


def _examples(
    where: str, images: np.ndarray, labels: np.ndarray, first: np.ndarray
) -> list[Example]:
    """A split's arrays, checked, image by image; `first` are the images of training."""
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise UserError(
            f"dataset: the images of {where} are {_kind(images)}, not uint8[N, rows, columns] or "
            "uint8[N, rows, columns, 3]"
        )
    if images.ndim == 4 and images.shape[3] not in (1, 3):
        raise UserError(
            f"dataset: the images of {where} are {_kind(images)}: the last axis is that of the "
            "channels, 1 or 3"
        )
    if images.shape[1:] != first.shape[1:]:
        raise UserError(
            f"dataset: the images of {where} are {_sized(images.shape[1:])}, those of train "
            f"{_sized(first.shape[1:])}"
        )
    column = labels[:, 0] if labels.shape == (len(images), 1) else labels
    if labels.dtype.kind not in "iubU" or column.shape != images.shape[:1]:
        raise UserError(
            f"dataset: the labels of {where} are {_kind(labels)}, not {len(images)} whole numbers "
            "or words"
        )
    flat = images.reshape(*images.shape[:2], math.prod(images.shape[2:]))
    return list(zip(map(_clean, map(str, column.tolist())), flat, strict=True))


def _read_folder(path: Path, say: Say) -> tuple[dict[str, list[Example]], int]:
    """The pictures of each split that has a folder, and the channels of one. Raises UserError."""
    words = {word: split for split, spellings in SPELLINGS.items() for word in spellings}
    folders = {words[f.name.lower()]: f for f in _folders(path) if f.name.lower() in words}
    if "train" not in folders:
        folders = {"train": path}
    files = {split: _files_by_class(folder, say) for split, folder in folders.items()}
    if not files["train"]:
        raise UserError(
            f"dataset: no pictures lie in folders of {folders['train']}; a class is a folder, as "
            f"in {path / 'train' / 'cat' / '1.png'} or {path / 'cat' / '1.png'}"
        )
    first = files["train"][0][1]
    size = read_colours(first).shape
    splits: dict[str, list[Example]] = {}
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


def _files_by_class(folder: Path, say: Say) -> list[tuple[str, str]]:
    """The class and the path of each picture, however deep in the folder of its class: in the order
    of their names, the classes in turn, so that the first of them are of all classes.
    """
    classes = {kind.name: files_below(kind) for kind in _folders(folder)}
    if empty := [name for name, files in classes.items() if not files]:
        say(f"{folder}: no pictures lie in {', '.join(map(_clean, empty[:6]))}")
    if loose := len(files_below(folder)) - sum(map(len, classes.values())):
        say(f"{folder}: left out {loose:,} pictures that lie in no folder of a class")
    found = [(name, file) for name, files in classes.items() for file in files]
    places = _places([name for name, _ in found])
    order = sorted(range(len(found)), key=places.__getitem__)
    return [(_clean(found[i][0]), found[i][1]) for i in order]


def _folders(path: Path) -> list[Path]:
    """The folders in a folder that are not hidden, in the order of their names."""
    return sorted(f for f in path.iterdir() if f.is_dir() and not f.name.startswith("."))


def _clean(label: str) -> str:
    """A label that can be written anywhere: no bytes that are no text, no control characters."""
    text = label.encode("utf-8", "replace").decode()
    return "".join(c if c.isprintable() else "?" for c in text)


def _kind(array: np.ndarray) -> str:
    return f"{array.dtype}{list(array.shape)}"


def _sized(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
