"""A picture as an image of the data set: centred and scaled as MNIST's digits were.

LeCun, Cortes and Burges, "The MNIST database": a digit fills a box of 20 x 20 pixels, aspect ratio
kept, and lies with its centre of mass in the middle of 28 x 28; light on dark.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from lstm_jax.data.picture_files import on_paper, open_picture, read_colours
from lstm_jax.errors import UserError
from lstm_jax.predict.ink import LEAST_CONTRAST, drawings, ink_of

BOX = 20 / 28  # of the side


class Picture(NamedTuple):
    """A picture as a model reads it."""

    image: np.ndarray  # uint8 [T,I]
    drawings: int = 1  # that seem to lie on it


def read_picture(path: str, image_shape: tuple[int, int]) -> Picture:
    """Reads a PNG, JPEG or other file that Pillow reads. Raises UserError when it is none."""
    picture = _on_either_paper(open_picture(path))
    rows, features = image_shape
    if features == rows:
        ink = ink_of(np.asarray(picture.convert("L")), path)
        return Picture(_fitted(ink, rows, path), drawings(ink))
    if features == 3 * rows:
        return Picture(np.asarray(picture.resize((rows, rows))).reshape(rows, features))
    raise UserError(f"this model reads images of {rows} x {features}: hand them in as an array")


def read_as_is(path: str, image_shape: tuple[int, int], channels: int) -> Picture:
    """Reads a picture as those of a user's own folder were read, scaled to their size if it has
    another: uint8 [rows, columns * channels]. Raises UserError when it is none.
    """
    rows, features = image_shape
    picture = Image.fromarray(read_colours(path)).convert("L" if channels == 1 else "RGB")
    picture = picture.resize((features // channels, rows))
    return Picture(np.asarray(picture).reshape(rows, features))


def _on_either_paper(picture: Image.Image) -> Image.Image:
    """Returns the picture on white paper, or on black where white hides all of it: RGB."""
    for paper in ("white", "black"):
        laid = on_paper(picture, paper)
        if np.ptp(np.asarray(laid.convert("L"))) >= 255 * LEAST_CONTRAST:
            break
    return laid


def _fitted(ink: np.ndarray, side: int, name: str) -> np.ndarray:
    """Scaled into the box of a data set of this side, uint8 [side, side]."""
    box = round(side * BOX) if side >= 20 else side
    height, width = ink.shape
    scale = box / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    crop = Image.fromarray(np.rint(ink * 255).astype(np.uint8))
    small = np.asarray(crop.resize(size, Image.Resampling.LANCZOS)).astype(np.float32)
    if small.max() < 255 * LEAST_CONTRAST / 4:
        raise UserError(f"{name}: nothing is drawn on it but specks")
    # Thin strokes fade when they are scaled down; MNIST's are white in their middle.
    return _centred(np.rint(small * (255 / small.max())).astype(np.uint8), side)


def _centred(small: np.ndarray, side: int) -> np.ndarray:
    """Pasted so that its centre of mass lies in the middle, as far as it fits."""
    image = np.zeros((side, side), np.uint8)
    mass = small.astype(np.float64)
    corner = []
    for axis, length in enumerate(small.shape):
        weights = mass.sum(axis=1 - axis)
        centre = float(weights @ (np.arange(length) + 0.5)) / float(weights.sum())
        corner.append(int(np.clip(round(side / 2 - centre), 0, side - length)))
    rows, columns = small.shape
    image[corner[0] : corner[0] + rows, corner[1] : corner[1] + columns] = small
    return image
