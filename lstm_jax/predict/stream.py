"""A trained model that reads one sequence as it arrives, time step by time step.

Axes: B batch, of one sequence; I features of a time step, C classes, O outputs of the head, S time
steps of a forecast.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from lstm_jax.config.experiment import Experiment
from lstm_jax.data.time_series import Scales
from lstm_jax.data.tokens import encode_texts, tokenize_text
from lstm_jax.errors import UserError
from lstm_jax.model import forward
from lstm_jax.model.fused_params import FusedParams
from lstm_jax.predict.forecast import series_number
from lstm_jax.predict.inference import is_classifier
from lstm_jax.predict.text import text_task
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.runs.devices import refuse_after_fork
from lstm_jax.tasks.forecast import Forecast
from lstm_jax.tasks.images import Images
from lstm_jax.tasks.language import Language
from lstm_jax.tasks.task import Batch
from lstm_jax.tasks.text import Text


class Stream:
    """Reads a sequence time step by time step. `carry` is all that it remembers."""

    def __init__(self, trained: TrainedModel, series: str = "") -> None:
        """Starts before the first time step. `series` names one of several series of a forecast.

        Raises UserError for an unknown series, and for a model that answers only when it knows the
        whole sequence: one that reads backwards, a mean or pooled images, or writes a sentence.
        """
        member, spec = trained.member, trained.spec
        reason = ""
        if spec.decoder is not None:
            reason = "it writes a sentence when it has read the whole source"
        elif member.bidirectional:
            reason = "it reads backwards too"
        elif forward.reads_mean(member, spec):
            reason = "its head reads the mean over all time steps"
        elif isinstance(member.task, Images) and member.task.pool > 1:
            reason = "it reads means of squares of the whole image (task.pool)"
        if reason:
            raise UserError(
                f"stream: this model cannot answer time step by time step: {reason}; use predict"
            )
        self.trained = trained
        self.scales_number = None
        if isinstance(member.task, Forecast):
            scales = Scales.of(trained.metadata)
            self.scales_number = scales, np.array([series_number(scales, series)])
        self.carry = forward.initial_carry(member, 1)

    def reset(self) -> None:
        """Begins a new sequence."""
        self.carry = forward.initial_carry(self.trained.member, 1)

    def step(self, x: Any) -> np.ndarray:
        """Reads a time step and returns the answer as if it were the last one: class probabilities,
        float32 [C]; the probabilities of the next byte, [256], of a language model; a forecast in
        the units of the data, float64 [S]; or the outputs of the head, float32 [O].

        `x` is a row, a column or a pixel of an image, uint8; a token of a text; a byte, as a number
        or as `bytes`; the columns of a row of a series, in the units of the data. Of another task,
        it is a dict of the arrays that the task reads of its data set, cut to one example and one
        time step, both axes kept. Raises UserError for what is none of these.
        """
        refuse_after_fork()
        trained = self.trained
        if self.scales_number is None:
            batch = _read_time_step(trained, x)
        else:
            scales, number_1 = self.scales_number
            scaled_11I = scales.scale_rows(_read_row(trained, x), number_1)
            batch = {"x": scaled_11I.astype(np.float32)}
        try:
            outputs_1O, self.carry = _step(trained.ready, trained.fused, batch, self.carry)
        except (KeyError, TypeError, ValueError) as error:
            raise trained.unreadable("stream", error) from error
        answer_O: np.ndarray = np.asarray(outputs_1O)[0]
        if self.scales_number is None:
            return answer_O
        return scales.unscale_target(answer_O[None], number_1)[0]

    def __repr__(self) -> str:
        return f"Stream({self.trained.name}, {self.trained.member.task.name})"


@jax.jit
def _step(
    member: Experiment, fused: FusedParams, batch: Batch, carry: tuple[Any, ...]
) -> tuple[jax.Array, tuple[Any, ...]]:
    """Returns the answer after the only time step of a batch, [B,O], and the new carry."""
    x_TBI = member.task.inputs(batch).x_TBI
    if x_TBI.shape[:2] != (1, 1):
        raise UserError(
            f"stream: the task {member.task.name} reads these arrays as {list(x_TBI.shape)}, with "
            "time steps and sequences first; expected one time step of one sequence, [1, 1, ...]"
        )
    h_BW, carry = forward.step_layers(member, fused, x_TBI[0], carry)
    outputs_BO = forward.apply_head(member, fused, h_BW)
    is_probability = is_classifier(member) or isinstance(member.task, Language)
    return jax.nn.softmax(outputs_BO) if is_probability else outputs_BO, carry


def _read_pixels(trained: TrainedModel, x: Any) -> Batch:
    """Returns a row, a column or a pixel of an image as an image of one time step."""
    pixels, size = np.asarray(x), trained.spec.num_features
    if pixels.dtype != np.uint8 or pixels.size != size:
        raise UserError(
            f"stream: a time step is {pixels.dtype} {list(pixels.shape)}; this model reads uint8 "
            f"[{size}], a {trained.member.task.time_step_name} of an image"
        )
    is_column = trained.images_task.reading == "columns"
    return {"images": pixels.reshape((1, size, 1) if is_column else (1, 1, size))}


def _read_token(trained: TrainedModel, x: Any) -> Batch:
    if not isinstance(x, str) or not x:
        raise UserError(f"stream: expected a {trained.member.task.time_step_name}, got {x!r}")
    vocabulary, units = trained.metadata["vocabulary"], text_task(trained).units
    tokens = [x] if x in vocabulary else tokenize_text(x, units)
    if len(tokens) != 1:
        raise UserError(f"stream: {x!r} has {len(tokens)} {units}; a time step reads one")
    symbols = encode_texts([tokens], vocabulary, 1)
    return {"symbols": symbols, "lengths": np.ones(1, np.int32)}


def _read_byte(trained: TrainedModel, x: Any) -> Batch:
    byte = x[0] if isinstance(x, bytes) and len(x) == 1 else x
    if not isinstance(byte, int | np.integer) or not 0 <= byte < 256:
        raise UserError(f"stream: expected a byte, such as b'a' or 97, got {x!r}")
    return {"symbols": np.array([[byte, 0]], np.uint8)}  # the second one would be the target


def _read_row(trained: TrainedModel, x: Any) -> np.ndarray:
    row, columns = np.atleast_1d(np.asarray(x)), trained.metadata["columns"]
    if row.dtype.kind not in "iuf" or row.shape != (len(columns),):
        raise UserError(
            f"stream: a row has the numbers of {', '.join(columns)}, got {row.dtype} "
            f"{list(row.shape)}"
        )
    return row[None, None]


def _read_time_step(trained: TrainedModel, x: Any) -> Batch:
    """Returns a batch of one time step, as `Task.inputs` reads it."""
    for task, read in _READERS.items():
        if isinstance(trained.member.task, task):
            return read(trained, x)
    if not isinstance(x, dict):
        raise UserError(
            "stream: expected a dict of the arrays of the data set, of one example and one time "
            f"step, got {type(x).__name__}"
        )
    return trained.check_arrays("stream", x)


_READERS: dict[type, Callable[[TrainedModel, Any], Batch]] = {
    Images: _read_pixels,
    Text: _read_token,
    Language: _read_byte,
}
