"""What is drawn on a picture, without its paper: evenly lit or photographed, of either kind."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

from lstm_jax.errors import UserError

LEAST_CONTRAST = 0.1  # of the range from black to white
INK = 0.15  # of the darkest ink: what is fainter is paper
SPECK = 0.02  # of the ink of the largest part: what has less is dust or noise
TOUCHING = np.ones((3, 3), bool)  # pixels that touch at a corner are of one part
# Of two drawings in a picture the smaller one, as a share of the larger one.
LEAST_HEIGHT = 0.5  # the bar of a 5 that was lifted off is lower
LEAST_INK = 0.15  # a 1 beside an 8 has more


def ink_of(grey: np.ndarray, name: str) -> np.ndarray:
    """Returns the drawing alone, cropped, float32 [height, width], its strongest ink 1, of a grey
    picture, uint8 [height, width]. Raises UserError, in which it has this name, if there is none.
    """
    values = grey.astype(np.float32) / 255.0
    border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    ink = np.abs(values - np.median(border))
    low, high = np.quantile(border, [0.1, 0.9])
    if high - low > INK * ink.max():  # the paper itself would be taken for ink
        ink = _off_uneven_paper(values)
    if ink.max() < LEAST_CONTRAST:
        raise UserError(f"{name}: nothing is drawn on it")
    ink = ink / ink.max()
    ink[ink < INK] = 0.0
    parts, count = ndimage.label(ink, TOUCHING)
    mass = ndimage.sum_labels(ink, parts, np.arange(count + 1))
    ink[(mass < SPECK * mass.max())[parts]] = 0.0
    top, bottom = _extent(ink, axis=1)
    left, right = _extent(ink, axis=0)
    return ink[top:bottom, left:right]


def _off_uneven_paper(values: np.ndarray) -> np.ndarray:
    """Returns how far each pixel stands out from the paper around it, which is what is left when
    all that is narrower than half of the picture is closed (of dark ink) or opened (of light ink).
    """
    height, width = values.shape
    scale = min(1.0, 100 / max(height, width))
    small = max(1, round(width * scale)), max(1, round(height * scale))
    reduced = np.asarray(Image.fromarray(values).resize(small, Image.Resampling.BOX))
    window = max(small) // 2 + 1
    # Thin strokes are outliers on one side of what is around them.
    around = ndimage.gaussian_filter(reduced, window / 4)
    dark = float(np.sum((reduced - around) ** 3)) < 0
    clear = ndimage.grey_closing if dark else ndimage.grey_opening
    cleared = clear(np.pad(reduced, window, mode="edge"), size=(window, window))
    small_paper = Image.fromarray(cleared[window:-window, window:-window])
    paper = np.asarray(small_paper.resize((width, height), Image.Resampling.BILINEAR))
    # Ink takes its share of whatever light falls on it: in the shade it stands out by less.
    ink = (paper - values if dark else values - paper) / np.maximum(paper, LEAST_CONTRAST)
    return np.maximum(ink, 0.0)


def drawings(ink: np.ndarray) -> int:
    """Returns how many drawings lie side by side, or one above the other, with a gap between."""
    beside = [ink[:, columns] for columns in _runs(ink, axis=0)]
    above = [ink[rows] for rows in _runs(ink, axis=1)]
    return max(_large(beside), _large(above))


def _runs(ink: np.ndarray, axis: int) -> list[slice]:
    """Returns where along the other axis there is ink, gap by gap."""
    runs, _ = ndimage.label(np.any(ink, axis=axis))
    return [run for (run,) in ndimage.find_objects(runs)]


def _large(parts: list[np.ndarray]) -> int:
    heights = np.array([np.subtract(*_extent(part, axis=1)[::-1]) for part in parts])
    mass = np.array([part.sum() for part in parts])
    large = (heights >= LEAST_HEIGHT * heights.max()) & (mass >= LEAST_INK * mass.max())
    return int(large.sum())


def _extent(ink: np.ndarray, axis: int) -> tuple[int, int]:
    """Returns where ink begins and ends along the other axis."""
    inked = np.flatnonzero(ink.any(axis=axis))
    return int(inked[0]), int(inked[-1]) + 1
