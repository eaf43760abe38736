"""A user's own images: an .npz of arrays, a table, or a folder of pictures in folders by class.

    pictures.npz    train_images and train_labels, test_...; or Keras's x_train and y_train, x_test
                    and y_test; a validation split likewise (`val` and `valid` will do); or images
                    and labels alone. Images are uint8 [N, rows, columns], or with a last axis of 3
                    channels; labels are whole numbers or words, [N] or [N,1].
    pictures.csv    a label and the values of all pixels in each row: see `image_tables`. A Parquet
                    file may hold a label and the bytes of a picture file instead.
    pictures/       train/cat/1.png, train/dog/2.jpg, test/cat/3.png, ...; or cat/1.png alone.

A missing split is taken from training by rule, in tenths of each class, in the order of a hash of
the images. Pictures keep their size and colours, unless a shape is named to which they are
scaled; they are grey if all of them are. No link is followed that leads out of the folder.
"""

from __future__ import annotations

import hashlib
import io
import math
import warnings
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from lstm_jax.data.dataset import Arrays, Dataset, Say, make_dataset, path_of
from lstm_jax.data.files import refuse_irregular
from lstm_jax.data.folders import SPELLINGS, FolderWalk
from lstm_jax.data.image_tables import image_labels, read_image_table
from lstm_jax.data.labelled_splits import (
    SPLITS,
    complete_splits,
    positions_by_hash,
    remove_repeats,
    say_absent_classes,
    say_doubtful_labels,
    sorted_classes,
)
from lstm_jax.data.picture_shapes import picture_shape
from lstm_jax.data.readers import open_npz, read_table
from lstm_jax.data.table import Table
from lstm_jax.errors import UserError

ARRAYS_NEEDED = (
    "it needs arrays train_images, train_labels, test_images and test_labels, or x_train, y_train, "
    "x_test and y_test, or images and labels"
)
MAX_NAMES = 12  # in a message
# Pillow knows many more, and has some of them unpacked by other programs.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "ICO")
MAX_PIXELS = 50_000_000

Example = tuple[str, np.ndarray]  # a label, and an image, uint8 [rows, columns * channels]


def load_image_files(
    name: str, say: Say, label_column: str | None = None, shape: str | None = None
) -> Dataset:
    """Returns `images`, uint8 [N, rows, columns * channels], and `labels`, int32 [N].

    An image of validation or test that an earlier split has too is left out, and `say` prints how
    many. `label_column` is that of a table. `shape` is that of the images in a table, or that to
    which pictures are scaled. Raises UserError for a file or a folder without such images,
    EnvironmentProblem for one that cannot be read.
    """
    path = path_of(name)
    splits: dict[str, list[Example]]
    if not path.exists():
        raise UserError(f"dataset: {path} is not there")
    if path.is_dir():
        splits, channels = _read_folder(path, shape, say)
    elif path.suffix.lower() == ".npz":
        splits, channels = _read_npz(path)
    else:
        table = read_table(path, say=say)
        if (column := table.bytes_column()) is not None:
            splits, channels = _read_pictures(table, column, label_column, shape, say)
        else:
            names, images, channels = read_image_table(table, label_column, shape, say)
            splits = {"train": list(zip(map(_printable, names), images, strict=True))}
    labels = [label for examples in splits.values() for label, _ in examples]
    say_doubtful_labels(name, labels, "image", say)
    hashes = [hashlib.sha256(image.tobytes()).hexdigest() for _, image in splits["train"]]
    positions = positions_by_hash([label for label, _ in splits["train"]], hashes)
    source = "each class of the images, by a hash of the image,"
    splits, rule = complete_splits(splits, source, "the user's", positions)
    splits = remove_repeats(splits, lambda example: example[1].tobytes(), "images", say)
    say_absent_classes(name, splits, "image", say)
    classes = sorted_classes(name, splits, "images", "a class has a folder, or a number in labels")
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


# An .npz of arrays.


def _read_npz(path: Path) -> tuple[dict[str, list[Example]], int]:
    """Returns the examples of each split, and the channels of an image. Raises UserError."""
    with open_npz(path) as file:
        names = _array_names(path, file.files)
        arrays = {split: (file[x], file[y]) for split, (x, y) in names.items()}
    first = arrays["train"][0]
    splits = {
        split: _examples(f"{split} in {path}", *pair, first) for split, pair in arrays.items()
    }
    return splits, first.shape[3] if first.ndim == 4 else 1


def _array_names(path: Path, names: list[str]) -> dict[str, tuple[str, str]]:
    """Returns the names of images and labels of each split in the archive."""
    pairs = {}
    for split, spellings in SPELLINGS.items():
        for word in spellings:
            for pair in ((f"{word}_images", f"{word}_labels"), (f"x_{word}", f"y_{word}")):
                present = [name for name in pair if name in names]
                if len(present) == 1:
                    other = pair[1 - pair.index(present[0])]
                    raise UserError(f"dataset: {path} has {present[0]} and no {other}")
                if present:
                    pairs[split] = pair
    if not pairs and {"images", "labels"} <= set(names):
        pairs["train"] = "images", "labels"
    if "train" not in pairs:
        shown = ", ".join(names[:MAX_NAMES]) or "none"
        raise UserError(
            f"dataset: {path} has no images for training: {ARRAYS_NEEDED}; it has {shown}"
        )
    return pairs


def _examples(
    where: str, images: np.ndarray, labels: np.ndarray, first: np.ndarray
) -> list[Example]:
    """Returns the checked examples of a split; `first` are the images of training."""
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise UserError(
            f"dataset: the images of {where} are {_array_type(images)}, not uint8[N, rows, columns]"
            " or uint8[N, rows, columns, 3]"
        )
    if images.ndim == 4 and images.shape[3] not in (1, 3):
        raise UserError(
            f"dataset: the images of {where} are {_array_type(images)}: the last axis is that of "
            "the channels, 1 or 3"
        )
    if images.shape[1:] != first.shape[1:]:
        raise UserError(
            f"dataset: the images of {where} are {_size(images.shape[1:])}, those of train "
            f"{_size(first.shape[1:])}"
        )
    column = labels[:, 0] if labels.shape == (len(images), 1) else labels
    if labels.dtype.kind not in "iubU" or column.shape != images.shape[:1]:
        raise UserError(
            f"dataset: the labels of {where} are {_array_type(labels)}, not {len(images)} whole "
            "numbers or words"
        )
    flat = images.reshape(*images.shape[:2], math.prod(images.shape[2:]))
    return list(zip(map(_printable, map(str, column.tolist())), flat, strict=True))


def _array_type(array: np.ndarray) -> str:
    return f"{array.dtype}{list(array.shape)}"


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _printable(label: str) -> str:
    """Returns a label without invalid characters and control characters: `?` stands for each."""
    text = label.encode("utf-8", "replace").decode()
    return "".join(c if c.isprintable() else "?" for c in text)


# A folder of pictures.


def _read_folder(path: Path, shape: str | None, say: Say) -> tuple[dict[str, list[Example]], int]:
    """Returns the examples of each split that has a folder, and the channels of an image.

    Raises UserError where no pictures are found, or where they differ in size and `shape` is None.
    """
    walk = FolderWalk(path)
    folders = walk.split_folders(say)
    files = {split: _files_by_class(folder, walk, say) for split, folder in folders.items()}
    walk.say_left_out(say)
    if not files["train"]:
        raise UserError(
            f"dataset: no pictures lie in folders of {folders['train']}; a class is a folder, as "
            f"in {path / 'train' / 'cat' / '1.png'} or {path / 'cat' / '1.png'}"
        )
    return _flat_images(
        {
            split: ((label, file, read_rgb(file)) for label, file in labelled)
            for split, labelled in files.items()
        },
        shape,
        say,
    )


def _read_pictures(
    table: Table, column: str, label_column: str | None, shape: str | None, say: Say
) -> tuple[dict[str, list[Example]], int]:
    """Returns the examples of a table with the bytes of a picture file in each row."""
    labels = [*map(_printable, image_labels(table, label_column, say))]
    rows = zip(labels, map(table.locate, range(len(labels))), table.column(column), strict=True)
    pictures = (
        (
            label,
            where,
            np.asarray(on_background(decode_picture(cell.as_py() or b"", where), "white")),
        )
        for label, where, cell in rows
    )
    return _flat_images({"train": pictures}, shape, say)


def _flat_images(
    pictures: dict[str, Iterable[tuple[str, str, np.ndarray]]], shape: str | None, say: Say
) -> tuple[dict[str, list[Example]], int]:
    """Returns the examples of each split, and the channels of an image: 1 if all are grey.

    A picture has its label, its place in words, and its pixels, uint8 [rows, columns, 3]. Raises
    UserError where two of them differ in size, unless `shape` says to what they are scaled.
    """
    splits: dict[str, list[Example]] = {}
    first, scaled, wanted = None, 0, picture_shape(shape)
    for split, each in pictures.items():
        splits[split] = []
        for label, where, image in each:
            if wanted is not None:
                scaled += image.shape[:2] != (wanted.rows, wanted.columns)
                image = wanted.scale(image)
            first = first or (where, image.shape)
            if image.shape != first[1]:
                raise UserError(
                    f"dataset: {where} has {_size(image.shape[:2])} pixels, {first[0]} has "
                    f"{_size(first[1][:2])}; bring all pictures to one size, or have them "
                    "scaled, such as with --task.shape 64x64 (rows x columns)"
                )
            splits[split].append((label, image))
    if wanted is not None and scaled:
        size = _size((wanted.rows, wanted.columns))
        say(f"dataset: {scaled:,} pictures are scaled to {size} pixels, whatever their proportions")
    if wanted is not None and wanted.channels is not None:
        grey = wanted.channels == 1
    else:
        grey = not any(np.ptp(i, axis=2).any() for images in splits.values() for _, i in images)
    kept = np.s_[:, :, 0] if grey else np.s_[:]
    flat = {
        split: [(label, image[kept].reshape(len(image), -1)) for label, image in images]
        for split, images in splits.items()
    }
    return flat, 1 if grey else 3


def _files_by_class(folder: Path, walk: FolderWalk, say: Say) -> list[tuple[str, str]]:
    """Returns the class and the path of each picture, however deep in the folder of its class.

    The pictures of a class are in the order of their names. The classes take turns, so that the
    first pictures are of all classes.
    """
    entries = walk.entries(folder)
    classes = {path.name: _picture_files(walk.files(path)) for path in entries if path.is_dir()}
    if empty := [name for name, files in classes.items() if not files]:
        say(f"{folder}: no pictures lie in {', '.join(map(_printable, empty[:6]))}")
    if loose := _picture_files(path for path in entries if not path.is_dir()):
        say(f"{folder}: left out {len(loose):,} pictures that lie in no folder of a class")
    turns = [
        (turn, _printable(name), file)
        for name, files in classes.items()
        for turn, file in enumerate(files)
    ]
    return [(name, file) for _, name, file in sorted(turns, key=lambda each: each[0])]


def files_in(folder: Path) -> list[str]:
    """Returns the pictures in a folder, found by their suffixes, in the order of their names."""
    return _picture_files(folder.iterdir())


def _picture_files(paths: Iterable[Path]) -> list[str]:
    """Returns the files with a picture's suffix; hidden ones are leftovers of systems."""
    known = {end for end, kind in Image.registered_extensions().items() if kind in FORMATS}
    return sorted(
        str(path)
        for path in paths
        if path.suffix.lower() in known and path.is_file() and not path.name.startswith(".")
    )


# A file with a picture.


def read_rgb(path: str) -> np.ndarray:
    """Returns a file's picture on a white background, uint8 [rows, columns, 3].

    Raises UserError as `open_picture` does.
    """
    return np.asarray(on_background(open_picture(path), "white"))


def on_background(picture: Image.Image, colour: str) -> Image.Image:
    """Returns an RGBA picture on a background of this colour: RGB."""
    sheet = Image.new("RGBA", picture.size, colour)
    return Image.alpha_composite(sheet, picture).convert("RGB")


def open_picture(path: str) -> Image.Image:
    """Returns a file's picture, upright, with its transparency: RGBA.

    Raises UserError if it is not a picture, is damaged, or has more than `MAX_PIXELS`.
    """
    try:
        refuse_irregular(Path(path))
        return decode_picture(Path(path).read_bytes(), path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None


def picture_sizes(files: Iterable[Path]) -> set[tuple[int, int]]:
    """Returns the widths and heights of upright pictures, by the beginnings of their files.

    Files that cannot be read are left out.
    """
    sizes = set()
    for file in files:
        with warnings.catch_warnings(), suppress(Exception):  # loading says what is wrong
            warnings.simplefilter("ignore")
            refuse_irregular(file)
            with Image.open(file, formats=FORMATS) as picture:
                is_turned = picture.getexif().get(ExifTags.Base.Orientation, 1) > 4
                sizes.add((picture.height, picture.width) if is_turned else picture.size)
    return sizes


def decode_picture(data: bytes, path: str) -> Image.Image:
    """Returns the picture that the bytes of a file hold, as `open_picture` does."""
    if not data:
        raise UserError(f"{path}: not a picture, or a damaged one (it is empty)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Pillow warns of pictures that unpack to gigabytes
            with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise UserError(
                        f"{path}: {opened.width} x {opened.height} pixels are more than "
                        f"{MAX_PIXELS:,}; scale it down"
                    )
                if opened.mode[0] in "IF":  # Pillow would make white of most of their values
                    raise UserError(f"{path}: has more than 8 bits a pixel; save it with 8")
                return ImageOps.exif_transpose(opened).convert("RGBA")
    except UserError:
        raise
    except Exception as error:  # a decoder may raise anything for damaged bytes
        reason = (str(error) or type(error).__name__).splitlines()[0]
        if isinstance(error, UnidentifiedImageError):  # its message names an object in memory
            reason = f"of none of the formats {', '.join(FORMATS)}"
        raise UserError(f"{path}: not a picture, or a damaged one ({reason[:120]})") from None
