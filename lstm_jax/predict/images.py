"""Class probabilities of pictures, on request after each time step.

Axes: S time steps of reading, I features of a time step, C classes.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterable
from json import dumps
from pathlib import Path
from typing import Any

import numpy as np

from lstm_jax.data.dataset import Say
from lstm_jax.data.image_files import files_in
from lstm_jax.errors import UserError
from lstm_jax.predict.answers import Classes
from lstm_jax.predict.pictures import Picture, read_as_is, read_picture, read_stdin
from lstm_jax.predict.predict import PredictOptions
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.runs.files import printable

SHADES = " .:-=+*#%@"
SURE = 0.7  # an answer with a lower probability is marked as not sure
MAX_SHOWN = 28  # time steps of one pixel each


def predict(trained: TrainedModel, options: PredictOptions, say: Say) -> None:
    """Prints one line for each image: its name, its class and the next class, with probabilities.

    An input is a picture, a folder of pictures, or - for an array on stdin. Raises UserError for
    an input that cannot be read, after it has answered the others.
    """
    names = _with_files(options.inputs)
    num_failed = 0
    for name in names:
        try:
            for picture in read_input(name, trained):
                _answer(name, picture, trained, options, say)
        except UserError as error:
            if len(names) == 1:
                raise
            num_failed += 1
            print(printable(f"lstm_jax: {error}"), file=sys.stderr)
    if num_failed:
        raise UserError(f"{num_failed} of {len(names)} inputs could not be read")


def _with_files(names: Iterable[str]) -> list[str]:
    """Returns these names, with the pictures of a folder in its place, if it has any."""
    each = [(files_in(Path(name)) if os.path.isdir(name) else []) or [name] for name in names]
    return list(itertools.chain.from_iterable(each))


def classify(trained: TrainedModel, images: Any) -> Classes:
    """Returns the classes of images: an array, uint8 [N,T,I] or of one image [T,I], as in the data
    set; or the path of a picture or of a folder of pictures, or a list of paths. The pictures of a
    folder are in the order of their names.

    Raises UserError for other arrays, and where a file is no picture.
    """
    names = [images] if isinstance(images, (str, Path)) else images
    if isinstance(names, (list, tuple)) and all(isinstance(name, (str, Path)) for name in names):
        files = _with_files(map(str, names))
        pictures = [picture for file in files for picture in read_input(file, trained)]
        images = np.array([picture.image for picture in pictures], np.uint8)
    array = np.asarray(images)
    images_NTI = array[None] if array.ndim == 2 else array
    return Classes(trained.probabilities(images_NTI), trained.class_names)


def read_input(name: str, trained: TrainedModel) -> list[Picture]:
    """Returns the images of an input: one of a file, any number of an array on stdin."""
    if os.path.isdir(name):
        raise UserError(f"{name}: no picture lies in this folder")
    if name == "-":
        array = read_stdin()
        images = array[None] if array.ndim == 2 else array
        classify(trained, images[:1])  # raises UserError where the model cannot read the array
        return [Picture(image) for image in images]
    if trained.reads_drawings:
        return [read_picture(name, trained.image_shape)]
    return [read_as_is(name, trained.image_shape, trained.picture_channels)]


def _answer(
    name: str, picture: Picture, trained: TrainedModel, options: PredictOptions, say: Say
) -> None:
    """Prints the answer for one image."""
    images, classes = picture.image[None], trained.class_names
    last_C = classify(trained, images).probabilities[0]
    first, second = np.argsort(last_C)[::-1][:2]
    notes = []
    if last_C[first] < SURE:
        notes.append("not sure")
    if picture.drawings > 1:
        notes.append(f"{picture.drawings} drawings seem to be on it, read as one")
    if picture.squeezed_from is not None:
        notes.append(f"its {picture.squeezed_from} pixels have other proportions: squeezed")
    if options.json:
        answer = {
            "image": name,
            "digit": int(first),
            "class": classes[first],
            "classes": classes,
            "probabilities": [round(float(p), 6) for p in last_C],
            "notes": notes,
        }
        if options.show_each_time_step:
            beliefs_SC = trained.beliefs(images)[:, 0].astype(float)
            answer["by_step"] = np.round(beliefs_SC, 6).tolist()
        say(dumps(answer))
        return
    if options.show_each_time_step:
        # Each line shows what the model reads in a time step and its best class after it.
        image_SI = trained.images_task.sequences(images)[0]
        beliefs_SC = trained.beliefs(images)[:, 0]
        num_steps, features = image_SI.shape
        every = 1 if features > 1 else max(1, num_steps // MAX_SHOWN)
        for t in sorted({*range(0, num_steps, every), num_steps - 1}):
            best = int(np.argmax(beliefs_SC[t]))
            bar = "#" * round(20 * float(beliefs_SC[t, best]))
            shades = "".join(SHADES[int(value) * len(SHADES) // 256] for value in image_SI[t])
            say(f"{shades}  {t + 1:3}  {classes[best]}  {bar:20} {beliefs_SC[t, best]:.2f}")
    line = f"{name}: {classes[first]} ({last_C[first]:.1%}), then {classes[second]}"
    say("; ".join([f"{line} ({last_C[second]:.1%})", *notes]))
