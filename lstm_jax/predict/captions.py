"""What scenes show, in a sentence each."""

from __future__ import annotations

import io
import sys
from json import dumps
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from lstm_jax.data.dataset import Say
from lstm_jax.errors import UserError
from lstm_jax.predict import decode
from lstm_jax.predict.options import PredictOptions
from lstm_jax.predict.trained import TrainedModel


def predict(trained: TrainedModel, options: PredictOptions, tell: Say) -> None:
    """Prints a line for each scene: its name, what it shows, and how certain that is.

    Raises UserError for what is neither a picture nor an array of scenes.
    """
    rows, columns = trained.metadata["shapes"]["scenes"]
    width = trained.metadata["shapes"]["target"][0]
    for name in options.inputs:
        scenes = _array((rows, columns)) if name == "-" else _picture(name, (rows, columns))[None]
        examples = {
            "scenes": scenes,
            "target": np.zeros((len(scenes), width), np.int32),
            "target_lengths": np.ones(len(scenes), np.int32),
        }
        found = decode.write_out(trained, examples, options.beam)
        for text, certainty in zip(found.texts, found.certainty_N.tolist(), strict=True):
            if options.json:
                tell(dumps({"image": name, "caption": text, "certainty": round(certainty, 6)}))
            else:
                tell(f"{name}: {text}  ({certainty:.1%} a word)")


def _picture(path: str, shape: tuple[int, int]) -> np.ndarray:
    """A PNG or JPEG file, scaled to a scene; light on dark, as the scenes of training."""
    try:
        with Image.open(io.BytesIO(Path(path).read_bytes()), formats=("PNG", "JPEG")) as opened:
            grey = opened.convert("L").resize((shape[1], shape[0]))
    except Exception as error:  # a decoder given any bytes may raise anything
        reason = str(getattr(error, "strerror", None) or "it is no PNG or JPEG")
        raise UserError(f"{path}: no picture of a scene ({reason})") from None
    image = np.asarray(grey)
    return np.asarray(ImageOps.invert(grey)) if np.median(image) > 127 else image


def _array(shape: tuple[int, int]) -> np.ndarray:
    """Scenes as numpy.save writes them, on stdin."""
    try:
        array = np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False)
    except Exception as error:  # any bytes may come
        raise UserError("stdin is no array of numbers as numpy.save writes it") from error
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[1:] != shape or not len(array):
        raise UserError(
            f"scenes are {array.dtype} {list(array.shape)}; this model reads uint8 "
            f"[N, {shape[0]}, {shape[1]}]"
        )
    return np.asarray(array)
