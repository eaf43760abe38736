"""A picture as an image of the data set: centred and scaled as MNIST's digits were.

LeCun, Cortes and Burges, "The MNIST database": a digit fills a box of 20 x 20 pixels, aspect ratio
kept, and lies with its centre of mass in the middle of 28 x 28; light on dark.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from lstm_jax.errors import UserError

# Pillow knows many more, and has some of them unpacked by other programs.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "ICO")
MOST_PIXELS = 50_000_000
BOX = 20 / 28  # of the side
LEAST_CONTRAST = 0.1  # of the range from black to white
INK = 0.15  # of the darkest ink: what is fainter is paper


def read_picture(path: str, image_shape: tuple[int, int]) -> np.ndarray:
    """A PNG, JPEG or other file that Pillow reads, as uint8 [T,I]. UserError when it is none."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    if not data:
        raise UserError(f"{path}: no picture, or a damaged one (it is empty)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Pillow warns of pictures that unpack to gigabytes
            with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
                if opened.width * opened.height > MOST_PIXELS:
                    raise UserError(
                        f"{path}: {opened.width} x {opened.height} pixels are more than "
                        f"{MOST_PIXELS:,}; scale it down"
                    )
                picture = ImageOps.exif_transpose(opened).convert("RGBA")
    except UserError:
        raise
    except Exception as error:  # a decoder given any bytes may raise anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        if isinstance(error, UnidentifiedImageError):  # whose words name an object in memory
            reason = f"of none of the formats {', '.join(FORMATS)}"
        raise UserError(f"{path}: no picture, or a damaged one ({reason[:120]})") from None
    paper = Image.new("RGBA", picture.size, "white")
    picture = Image.alpha_composite(paper, picture)
    rows, features = image_shape
    if features == rows:
        return as_digit(np.asarray(picture.convert("L")), rows, path)
    if features == 3 * rows:
        return np.asarray(picture.convert("RGB").resize((rows, rows))).reshape(rows, features)
    raise UserError(f"this model reads images of {rows} x {features}: hand them in as an array")


def as_digit(grey: np.ndarray, side: int, name: str = "the picture") -> np.ndarray:
    """Light ink on black, uint8 [side, side], of a grey picture [height, width] of either kind."""
    values = grey.astype(np.float32) / 255.0
    border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    ink = np.abs(values - np.median(border))
    if ink.max() < LEAST_CONTRAST:
        raise UserError(f"{name}: nothing is drawn on it")
    ink = ink / ink.max()
    ink[ink < INK] = 0.0
    top, bottom = _extent(ink.max(axis=1))
    left, right = _extent(ink.max(axis=0))
    box = round(side * BOX) if side >= 20 else side
    height, width = bottom - top, right - left
    scale = box / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    crop = Image.fromarray(np.rint(ink[top:bottom, left:right] * 255).astype(np.uint8))
    small = np.asarray(crop.resize(size, Image.Resampling.LANCZOS)).astype(np.float32)
    if small.max() < 255 * LEAST_CONTRAST / 4:
        raise UserError(f"{name}: nothing is drawn on it but specks")
    # Thin strokes fade when they are scaled down; MNIST's are white in their middle.
    return _centred(np.rint(small * (255 / small.max())).astype(np.uint8), side)


def _extent(profile: np.ndarray) -> tuple[int, int]:
    inked = np.flatnonzero(profile)
    return int(inked[0]), int(inked[-1]) + 1


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
