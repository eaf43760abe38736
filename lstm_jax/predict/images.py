"""Pictures to classes, with the belief growing row by row if one wants to see it."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from json import dumps
from pathlib import Path

import numpy as np

from lstm_jax.data.dataset import Say
from lstm_jax.data.picture_files import files_in
from lstm_jax.errors import UserError
from lstm_jax.predict.options import PredictOptions
from lstm_jax.predict.pictures import Picture, read_as_is, read_picture
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.runs.files import harmless
from lstm_jax.tasks.images import to_sequences

SHADES = " .:-=+*#%@"
SURE = 0.7  # an answer of less is said to be none


def predict(trained: TrainedModel, options: PredictOptions, tell: Say) -> None:
    """Prints a line for each image: its name, its class, the probability of it and the next class.

    Raises UserError for a file that is no picture, after the others were answered.
    """
    names, complaints = _names(options.inputs), 0
    for name in names:
        try:
            for picture in _read(name, trained):
                _answer(name, picture, trained, options, tell)
        except UserError as error:
            if len(names) == 1:
                raise
            complaints += 1
            print(harmless(f"lstm_jax: {error}"), file=sys.stderr)
    if complaints:
        raise UserError(f"{complaints} of {len(names)} inputs could not be read")


def _answer(
    name: str, picture: Picture, trained: TrainedModel, options: PredictOptions, tell: Say
) -> None:
    images = picture.image[None]
    beliefs_SC = trained.beliefs(images)[:, 0] if options.rows else np.zeros((0, 0))
    last_C = trained.probabilities(images)[0]
    first, second = np.argsort(last_C)[::-1][:2]
    classes = trained.class_names
    notes = []
    if last_C[first] < SURE:
        notes.append("not sure")
    if picture.drawings > 1:
        notes.append(f"{picture.drawings} drawings seem to be on it, read as one")
    if options.json:
        answer = {
            "image": name,
            "digit": int(first),
            "class": classes[first],
            "classes": classes,
            "probabilities": [round(float(p), 6) for p in last_C],
            "notes": notes,
        }
        if options.rows:
            answer["by_step"] = np.round(beliefs_SC.astype(float), 6).tolist()
        tell(dumps(answer))
        return
    if options.rows:
        _show_rows(to_sequences(images, trained.images_task.reading)[0], beliefs_SC, classes, tell)
    said = f"{name}: {classes[first]} ({last_C[first]:.1%}), then {classes[second]}"
    said += f" ({last_C[second]:.1%})"
    tell("; ".join([said, *notes]))


def _names(inputs: tuple[str, ...]) -> list[str]:
    """Returns the inputs, the pictures in a folder instead of the folder, where it has any."""
    found: list[str] = []
    for name in inputs:
        found += (files_in(Path(name)) if os.path.isdir(name) else []) or [name]
    return found


def _read(name: str, trained: TrainedModel) -> list[Picture]:
    """Returns the images of an input: one of a file, any number of an array on stdin."""
    if os.path.isdir(name):
        raise UserError(f"{name}: no picture lies in this folder")
    if name != "-":
        if trained.own_channels:
            return [read_as_is(name, trained.image_shape, trained.own_channels)]
        return [read_picture(name, trained.image_shape)]
    try:
        array = np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False)
    except Exception as error:  # any bytes may come
        raise UserError("stdin is no array of numbers as numpy.save writes it") from error
    if not isinstance(array, np.ndarray):
        names = ", ".join(array)[:100]
        raise UserError(f"stdin is an archive of arrays ({names}); write one with numpy.save")
    images = array[None] if array.ndim == 2 else array
    trained.probabilities(np.atleast_1d(images)[:1])  # refuses an array that it cannot read
    return [Picture(image) for image in images]


def _show_rows(
    image_SI: np.ndarray, beliefs_SC: np.ndarray, classes: Sequence[str], tell: Say
) -> None:
    """Prints what is read in each step, beside what the network believes after it.

    Of the many steps of one pixel each only every so many-th is shown.
    """
    steps, features = image_SI.shape
    every = 1 if features > 1 else max(1, steps // 28)
    for step in sorted({*range(0, steps, every), steps - 1}):
        guess = int(np.argmax(beliefs_SC[step]))
        bar = "#" * round(20 * float(beliefs_SC[step, guess]))
        shown = "".join(SHADES[int(value) * len(SHADES) // 256] for value in image_SI[step])
        tell(f"{shown}  {step + 1:3}  {classes[guess]}  {bar:20} {beliefs_SC[step, guess]:.2f}")
