"""The page on which one draws a digit and the run's own network reads it, in plain JavaScript."""

from __future__ import annotations

import base64
import json

import jax
import numpy as np

from lstm_jax.errors import UserError
from lstm_jax.model import forward
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.report.template import render
from lstm_jax.tasks.images import Images, to_sequences

MAX_HIDDEN_SIZE = 1024  # beyond it the page would take 20 MB


def can_draw_digit(trained: TrainedModel) -> bool:
    """Returns whether the page can run this model: one LSTM layer of at most MAX_HIDDEN_SIZE units
    that reads square grey images of a set of drawings.
    """
    member = trained.member
    if not isinstance(member.task, Images) or (member.cell, member.layers) != ("lstm", 1):
        return False
    if not forward.can_trace(member, trained.spec) or not trained.reads_drawings:
        return False  # other images are no centred, light drawings on a dark ground
    return member.hidden_size <= MAX_HIDDEN_SIZE


def draw_digit_page(trained: TrainedModel, member_label: str) -> str:
    """Returns the page. Raises UserError for a model that it cannot run."""
    if not can_draw_digit(trained):
        raise UserError(
            "sketch: the page runs one layer of the cell lstm that reads drawings as of mnist"
        )

    def encoded(array: jax.Array) -> str:
        # Little-endian float32, as JavaScript reads them on every machine of today.
        return base64.b64encode(np.asarray(array, "<f4").tobytes()).decode()

    task, (side, _) = trained.images_task, trained.image_shape
    pooled = side // task.pool
    order = to_sequences(np.arange(pooled**2).reshape(1, pooled, pooled), task.reading)
    model = {
        "kernel": encoded(trained.fused.layers[0][0].kernel_KG),
        "head": encoded(trained.fused.head_DO),
        "order": order.ravel().tolist(),
        "hidden": trained.member.hidden_size,
        "features": order.shape[2],
        "steps": order.shape[1],
        "classes": trained.spec.num_outputs,
        "side": side,
        "pool": task.pool,
        "reading": task.reading,
        "time_step": task.time_step_name,
    }
    return render(
        "draw_digit.html", name=trained.name, member=member_label, time_step=task.time_step_name,
        model=json.dumps(model),
    )  # fmt: skip
