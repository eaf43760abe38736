"""The page to draw a digit on, with a run's own weights, in plain JavaScript."""

from __future__ import annotations

import base64
import json

import jax
import numpy as np

from lstm_jax.errors import UserError
from lstm_jax.predict import inference
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.report.render import render
from lstm_jax.tasks.images import Images, to_sequences

LARGEST_DRAWN = 1024  # hidden size: beyond it the page would take 20 MB


def can_sketch(trained: TrainedModel) -> bool:
    """Returns whether the page runs this model: one LSTM layer, of a page's size, that reads
    square images of grey pixels, of a set by its name.
    """
    member = trained.member
    if not isinstance(member.task, Images) or (member.cell, member.layers) != ("lstm", 1):
        return False
    if not inference.has_one_way(member, trained.spec) or trained.user_channels:
        return False  # pictures of a user's own are no drawings, centred and light on dark
    rows, features = trained.image_shape
    return rows == features and member.hidden_size <= LARGEST_DRAWN


def sketch_page(trained: TrainedModel, who: str) -> str:
    """Returns the page. Raises UserError for a model that it does not run."""
    if not can_sketch(trained):
        raise UserError(
            "one draws on a page for one layer of the cell lstm that reads square grey images"
        )
    task, (side, _) = trained.images_task, trained.image_shape
    order = to_sequences(np.arange(side * side).reshape(1, side, side), task.reading)
    model = {
        "kernel": _base64(trained.fused.layers[0][0].kernel_KG),
        "read_out": _base64(trained.fused.head_DO),
        "order": order.ravel().tolist(),
        "hidden": trained.member.hidden_size,
        "features": order.shape[2],
        "steps": order.shape[1],
        "classes": trained.spec.num_outputs,
        "side": side,
        "reading": task.reading,
        "step": task.time_step_name,
    }
    shown = {"name": trained.name, "member": who, "step": task.time_step_name}
    return render("draw.html", **shown, model=json.dumps(model))


def _base64(array: jax.Array) -> str:
    """Little-endian float32, as JavaScript reads them on every machine of today."""
    return base64.b64encode(np.asarray(array, "<f4").tobytes()).decode()
