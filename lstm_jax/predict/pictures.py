"""Pictures as images of a data set. A drawing is centred and scaled as the digits of MNIST were.

LeCun, Cortes and Burges, "The MNIST database": a digit fills a box of 20 x 20 pixels, keeps its
aspect ratio, and lies with its centre of mass in the middle of 28 x 28 pixels, light on dark.
"""

from __future__ import annotations

import io
import math
import sys
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

from lstm_jax.data.image_files import on_background, open_picture, read_rgb
from lstm_jax.data.picture_shapes import PictureShape
from lstm_jax.errors import UserError

BOX = 20 / 28  # the side of the box as a share of the side of the image
MIN_CONTRAST = 0.1  # of the range from black to white
MIN_INK = 0.15  # of the strongest ink; fainter pixels are paper
SPECK = 0.02  # of the ink of the largest part; a part with less ink is dust or noise
NEIGHBOURS = np.ones((3, 3), bool)  # pixels that touch at a corner belong to one part
# The smaller of two drawings in a picture, as a share of the larger one.
MIN_DRAWING_HEIGHT = 0.5  # the separate bar of a 5 is lower
MIN_DRAWING_INK = 0.15  # a 1 beside an 8 has more
MAX_SQUEEZE = 0.1  # the difference of two proportions, a logarithm, that goes unsaid


class Picture(NamedTuple):
    """A picture as a model reads it."""

    image: np.ndarray  # uint8 [rows, columns], or [rows, columns * channels]
    drawings: int = 1  # how many drawings it seems to show
    squeezed_from: str | None = None  # the size of a file whose proportions are not the image's


def read_stdin() -> np.ndarray:
    """Returns the array that `numpy.save` wrote to stdin, with at least one axis.

    Raises UserError for any other content.
    """
    try:
        array = np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False)
    except Exception as error:  # the content may be anything
        raise UserError("stdin is no array of numbers as numpy.save writes it") from error
    if not isinstance(array, np.ndarray):
        names = ", ".join(array)[:100]
        raise UserError(f"stdin is an archive of arrays ({names}); write one with numpy.save")
    return np.atleast_1d(array)


def read_as_is(path: str, image_shape: tuple[int, int], channels: int) -> Picture:
    """Returns a picture on white paper, scaled to the size of the images: uint8 [rows, columns *
    channels]. Raises UserError where the file is no picture.
    """
    rows, features = image_shape
    columns = features // channels
    picture = read_rgb(path)
    height, width, _ = picture.shape
    is_alike = abs(math.log(width * rows / (height * columns))) <= MAX_SQUEEZE
    scaled = PictureShape(rows, columns, channels).scale(picture)
    image = scaled[:, :, :channels].reshape(rows, features)
    return Picture(image, squeezed_from=None if is_alike else f"{width} x {height}")


def read_picture(path: str, image_shape: tuple[int, int]) -> Picture:
    """Returns the drawing on a picture as an image of MNIST: uint8 [rows, rows].

    Raises UserError where the file is no picture, or nothing is drawn on it.
    """
    opened = open_picture(path)
    for paper in ("white", "black"):  # black where white paper hides the whole drawing
        grey = np.asarray(on_background(opened, paper).convert("L"))
        if np.ptp(grey) >= 255 * MIN_CONTRAST:
            break
    ink = find_ink(grey, path)
    return Picture(_fit(ink, image_shape[0], path), count_drawings(ink))


def find_ink(grey: np.ndarray, name: str) -> np.ndarray:
    """Returns the drawing without its paper, cropped: float32 [height, width], 1 at the strongest
    ink. `grey` is uint8 [height, width], dark on light or light on dark, evenly lit or not.

    Raises UserError where nothing is drawn. Its message begins with the name.
    """
    values = grey.astype(np.float32) / 255.0
    border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    ink = np.abs(values - np.median(border))
    low, high = np.quantile(border, [0.1, 0.9])
    if high - low > MIN_INK * ink.max():  # the paper itself would be taken for ink
        ink = _ink_on_uneven_paper(values)
    if ink.max() < MIN_CONTRAST:
        raise UserError(f"{name}: nothing is drawn on it")
    ink = ink / ink.max()
    ink[ink < MIN_INK] = 0.0
    parts, count = ndimage.label(ink, NEIGHBOURS)
    mass = ndimage.sum_labels(ink, parts, np.arange(count + 1))
    ink[(mass < SPECK * mass.max())[parts]] = 0.0
    top, bottom = _extent(ink, axis=1)
    left, right = _extent(ink, axis=0)
    return ink[top:bottom, left:right]


def _ink_on_uneven_paper(values: np.ndarray) -> np.ndarray:
    """Returns how much each pixel differs from the paper around it. The paper is what is left after
    everything narrower than half of the picture is closed (dark ink) or opened (light ink).
    """
    height, width = values.shape
    scale = min(1.0, 100 / max(height, width))
    small = max(1, round(width * scale)), max(1, round(height * scale))
    reduced = np.asarray(Image.fromarray(values).resize(small, Image.Resampling.BOX))
    window = max(small) // 2 + 1
    # Thin strokes are outliers to one side of the values around them.
    around = ndimage.gaussian_filter(reduced, window / 4)
    dark = float(np.sum((reduced - around) ** 3)) < 0
    clear = ndimage.grey_closing if dark else ndimage.grey_opening
    cleared = clear(np.pad(reduced, window, mode="edge"), size=(window, window))
    small_paper = Image.fromarray(cleared[window:-window, window:-window])
    paper = np.asarray(small_paper.resize((width, height), Image.Resampling.BILINEAR))
    # Ink reflects a share of the light that falls on it, so in the shade it differs by less.
    ink = (paper - values if dark else values - paper) / np.maximum(paper, MIN_CONTRAST)
    return np.maximum(ink, 0.0)


def count_drawings(ink: np.ndarray) -> int:
    """Returns how many large drawings lie side by side, or one above the other, with a gap."""

    def runs(axis: int) -> list[slice]:  # along the other axis, separated by gaps
        labels, _ = ndimage.label(np.any(ink, axis=axis))
        return [run for (run,) in ndimage.find_objects(labels)]

    def num_large(parts: list[np.ndarray]) -> int:
        heights = np.array([np.subtract(*_extent(part, axis=1)[::-1]) for part in parts])
        mass = np.array([part.sum() for part in parts])
        tall = heights >= MIN_DRAWING_HEIGHT * heights.max()
        return int((tall & (mass >= MIN_DRAWING_INK * mass.max())).sum())

    side_by_side = [ink[:, columns] for columns in runs(axis=0)]
    stacked = [ink[rows] for rows in runs(axis=1)]
    return max(num_large(side_by_side), num_large(stacked))


def _extent(ink: np.ndarray, axis: int) -> tuple[int, int]:
    """Returns where ink begins and ends along the other axis."""
    inked = np.flatnonzero(ink.any(axis=axis))
    return int(inked[0]), int(inked[-1]) + 1


def _fit(ink: np.ndarray, side: int, name: str) -> np.ndarray:
    """Returns the drawing scaled into the box of an image and centred, uint8 [side, side].

    Raises UserError where only specks are left.
    """
    box = round(side * BOX) if side >= 20 else side
    height, width = ink.shape
    scale = box / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    crop = Image.fromarray(np.rint(ink * 255).astype(np.uint8))
    small = np.asarray(crop.resize(size, Image.Resampling.LANCZOS)).astype(np.float32)
    if small.max() < 255 * MIN_CONTRAST / 4:
        raise UserError(f"{name}: nothing is drawn on it but specks")
    # Thin strokes fade when they are scaled down. The strokes of MNIST are white in their middle.
    small = np.rint(small * (255 / small.max())).astype(np.uint8)
    image, mass, corner = np.zeros((side, side), np.uint8), small.astype(np.float64), []
    for axis, length in enumerate(small.shape):  # the centre of mass lies in the middle if it fits
        weights = mass.sum(axis=1 - axis)
        centre = float(weights @ (np.arange(length) + 0.5)) / float(weights.sum())
        corner.append(int(np.clip(round(side / 2 - centre), 0, side - length)))
    rows, columns = small.shape
    image[corner[0] : corner[0] + rows, corner[1] : corner[1] + columns] = small
    return image
