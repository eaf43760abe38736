"""A file with a picture, as pixels."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from lstm_jax.errors import UserError

# Pillow knows many more, and has some of them unpacked by other programs.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "ICO")
MOST_PIXELS = 50_000_000


def files_in(folder: Path) -> list[str]:
    """Returns the pictures in a folder, by their names' endings, in the order of their names."""
    return _pictures(folder.iterdir())


def files_below(folder: Path) -> list[str]:
    """Returns what `files_in` does, and those in its folders, however deep."""
    return _pictures(folder.rglob("*"))


def _pictures(paths: Iterable[Path]) -> list[str]:
    """The files with a picture's ending; hidden ones are no pictures but what systems leave."""
    known = {end for end, kind in Image.registered_extensions().items() if kind in FORMATS}
    return sorted(
        str(path)
        for path in paths
        if path.suffix.lower() in known and path.is_file() and not path.name.startswith(".")
    )


def read_colours(path: str) -> np.ndarray:
    """Returns a file's picture on white paper, uint8 [rows, columns, 3]. Raises UserError."""
    return np.asarray(on_paper(open_picture(path), "white"))


def on_paper(picture: Image.Image, colour: str) -> Image.Image:
    """Returns a picture, RGBA, on paper of a colour: RGB."""
    sheet = Image.new("RGBA", picture.size, colour)
    return Image.alpha_composite(sheet, picture).convert("RGB")


def open_picture(path: str) -> Image.Image:
    """Returns a file's picture, upright, with its transparency: RGBA.

    Raises UserError where it is none, is damaged, or has more than `MOST_PIXELS`.
    """
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
                if opened.mode[0] in "IF":  # Pillow would make white of most of their values
                    raise UserError(f"{path}: has more than 8 bits a pixel; save it with 8")
                return ImageOps.exif_transpose(opened).convert("RGBA")
    except UserError:
        raise
    except Exception as error:  # a decoder given any bytes may raise anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        if isinstance(error, UnidentifiedImageError):  # whose words name an object in memory
            reason = f"of none of the formats {', '.join(FORMATS)}"
        raise UserError(f"{path}: no picture, or a damaged one ({reason[:120]})") from None
