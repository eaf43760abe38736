"""Images in a table: each row has a label and the values of all pixels, as Kaggle has them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lstm_jax.data.columns import say_left_out_columns
from lstm_jax.data.dataset import Say
from lstm_jax.data.labelled_splits import LABEL_NAMES
from lstm_jax.data.table import MAX_NAMES, Table, counted
from lstm_jax.errors import UserError

# A name of a column of pixels, and not that of an index that pandas wrote.
PIXEL = re.compile(r"(?!Unnamed: |column ).*\d")
SHAPE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})(?:x([13]))?")


def read_image_table(
    table: Table, label_column: str | None, shape: str | None, say: Say
) -> tuple[list[str], np.ndarray, int]:
    """Returns the labels, the images, uint8 [N, rows, columns * channels], and the channels.

    Pixels are in the columns whose names end in a digit, row by row, channels side by side, in the
    order of their numbers; those of a file without names are all but the first, which is the label.
    Raises UserError for a value
    that is not a whole number from 0 to 255, and where the number of pixels is not that of `shape`
    (such as 28x28 or 28x28x3), by default of a square.
    """
    table, label, pixels = image_columns(table, label_column, say)
    rows, columns, channels = image_shape(table.path, len(pixels), shape)
    labels = image_labels(table, label, say)
    pixels_ND = np.stack([pixel_values(table, name) for name in pixels], axis=1)
    return labels, pixels_ND.reshape(-1, rows, columns * channels), channels


def image_columns(table: Table, label_column: str | None, say: Say) -> tuple[Table, str, list[str]]:
    """Returns the table with its header as such, the column of the labels, and those of the pixels.

    Raises UserError where it is not clear which column is the label.
    """
    if not all(re.fullmatch(r"-?\d+", cell) for cell in table.first_row()):
        table = table.with_header()
    label = _label_column(table, label_column, say)
    others = [name for name in table.columns if name != label]
    pixels = [name for name in others if PIXEL.fullmatch(name)]
    say_left_out_columns(table, {label, *pixels}, say)
    return table, label, _in_order_of_numbers(table, pixels, say)


def _in_order_of_numbers(table: Table, pixels: list[str], say: Say) -> list[str]:
    """Returns names such as pixel0, pixel1, pixel10, pixel2 in the order of their numbers.

    Names that differ in more than one number, such as 1x1 and 2x1, stay in the order of the file.
    """
    stem = pixels[0].rstrip("0123456789") if pixels else ""
    numbers = [name.removeprefix(stem) for name in pixels]
    if not all(map(str.isdecimal, numbers)):
        return pixels
    in_order = sorted(pixels, key=lambda name: int(name.removeprefix(stem)))
    if in_order != pixels:
        index = next(i for i, name in enumerate(pixels) if name != in_order[i])
        say(
            f"{table.path}: column {pixels[index]} is before {in_order[index]}; the pixels are "
            "read in the order of their numbers"
        )
    return in_order


def image_labels(table: Table, label_column: str | None, say: Say) -> list[str]:
    """Returns the labels. Raises UserError where one is missing, or where they are is not clear."""
    name = _label_column(table, label_column, say)
    labels = table.words(name)
    if "" in labels:
        raise UserError(f"{table.locate(labels.index(''))}: the label in column {name} is missing")
    return labels


def _label_column(table: Table, name: str | None, say: Say) -> str:
    """Returns the name of the column of the labels. Raises UserError where it is not clear."""
    names = list(table.columns)
    if name is not None:
        return table.resolve(name)
    if not table.has_header:
        say(f"{table.path}: has no line of names, so the label is in its first column")
        return names[0]
    found = [each for each in names if each.casefold() in LABEL_NAMES]
    if len(found) != 1:
        shown = ", ".join(names[:MAX_NAMES]) + (" and more" if len(names) > MAX_NAMES else "")
        raise UserError(
            f"{table.path}: say which column is the label, with --task.label-column; it has {shown}"
        )
    return found[0]


def image_shape(path: Path, num_values: int, shape: str | None) -> Sequence[int]:
    """Returns rows, columns and channels of images of this number of values."""
    if shape is None:
        side = math.isqrt(num_values)
        if num_values and side * side == num_values:
            return side, side, 1
        hint = "its columns of pixels have names such as pixel0"
        if num_values:
            hint = "give --task.shape, such as 28x28 or 28x28x3 (rows, columns, channels)"
        raise UserError(
            f"{path}: {counted(num_values, 'column')} of pixels are not those of a square; {hint}"
        )
    found = SHAPE.fullmatch(shape)
    sizes = [int(size or 1) for size in found.groups()] if found else []
    if math.prod(sizes) != num_values or not sizes:
        raise UserError(
            f"task.shape: {shape!r} is not rows x columns, or rows x columns x 3, of the "
            f"{num_values:,} values of an image in {path}"
        )
    return sizes


def pixel_values(table: Table, name: str) -> np.ndarray:
    """Returns a column of pixels, uint8 [N]. Raises UserError for any other number."""
    values = table.numbers(name)
    wrong = np.flatnonzero((values < 0) | (values > 255) | (values != np.rint(values)))
    if len(wrong):
        row = int(wrong[0])
        advice = "; values from 0 to 1 must be multiplied by 255" if 0 < values[row] < 1 else ""
        raise UserError(
            f"{table.locate(row)}: {values[row]:g} in column {name} is not a whole number from 0 "
            f"to 255{advice}"
        )
    return values.astype(np.uint8)
