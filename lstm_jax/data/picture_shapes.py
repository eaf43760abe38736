"""Pictures of several sizes are scaled to the one shape that the user names."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from lstm_jax.data.image_tables import SHAPE
from lstm_jax.errors import UserError


class PictureShape(NamedTuple):
    """The shape that pictures are scaled to; without channels, they stay grey or coloured."""

    rows: int
    columns: int
    channels: int | None = None

    def scale(self, image: np.ndarray) -> np.ndarray:
        """Returns a picture, uint8 [R,C,3], in this shape, uint8 [rows, columns, 3].

        It is squeezed where its proportions are others, as `predict` does with a picture.
        """
        picture = Image.fromarray(image)
        if self.channels == 1:
            picture = picture.convert("L")
        return np.asarray(picture.resize((self.columns, self.rows)).convert("RGB"))


def picture_shape(text: str | None) -> PictureShape | None:
    """Returns the shape that `text` names, such as 64x64 or 64x64x1; None for None.

    Raises UserError for any other text.
    """
    if text is None:
        return None
    match = SHAPE.fullmatch(text)
    if match is None:
        raise UserError(
            f"task.shape: {text!r} is not rows x columns to which pictures are scaled, such as "
            "64x64, or 64x64x1 (grey) or 64x64x3 (coloured)"
        )
    rows, columns, channels = match.groups()
    return PictureShape(int(rows), int(columns), int(channels) if channels else None)
