"""A trained model run forward, in full view: pure functions of a folded model and a batch.

A member goes into compiled functions as `ready` returns it. Axes: T rows, B batch, I numbers in a
row, H hidden, C classes.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax

from lstm_jax.cells import get_cell, recurrence
from lstm_jax.cells.cell import Looks
from lstm_jax.experiment import Experiment
from lstm_jax.tasks.task import Batch, Ends, Inputs
from lstm_jax.train import model
from lstm_jax.train.declare import Params
from lstm_jax.train.model import Folded
from lstm_jax.train.step import init_state
from lstm_jax.train.sweep import stack_fields


def ready(member: Experiment) -> Experiment:
    """Returns the member with its traced fields as arrays, by `scan` as all scores are taken.

    So members of one group share their compiled programs.
    """
    fields = stack_fields([member.having({"backend": "scan"})])
    return jax.tree.map(lambda array_M: array_M[0], fields)


def fold(member: Experiment, params: Params) -> Folded:
    """Returns the model ready to run."""
    folded: Folded = _fold(ready(member), params)
    return folded


def initial(member: Experiment, ends: Ends) -> Params:
    """Returns the parameters before the first step."""
    return _initial(ends, ready(member))


def shapes(member: Experiment, ends: Ends) -> Params:
    """Returns the parameters' shapes and types; computes nothing."""
    return jax.eval_shape(partial(init_state, ends), ready(member)).params


def look(
    member: Experiment, folded: Folded, inputs: Inputs, nudge_TBH: jax.Array | None = None
) -> Looks:
    """Returns what may be looked at in the last recurrent layer, [T,B,H] each; see `trace`.

    Of a model that can be looked into; see `has_one_way`.
    """
    x_TBW = model.rows(folded, inputs)
    if member.layers > 1:
        below = member.having({"layers": member.layers - 1})
        x_TBW = model.run_layers(below, folded, inputs, keep_outputs=True).h_TBW
    (top,) = folded.layers[-1]
    return recurrence.trace(get_cell(member.cell), top.kernel_KG, x_TBW, top.extra, nudge_TBH)


def has_one_way(member: Experiment, ends: Ends) -> bool:
    """Returns whether a row's output goes through nothing but the recurrent layers, read forwards,
    into the head: so one can look into the last of them row by row.
    """
    return not (member.bidirectional or member.residual or ends.mean or ends.decoder is not None)


def raw(ends: Ends, member: Experiment, folded: Folded, batch: Batch) -> jax.Array:
    """Returns the head's outputs, float32 [B,O], or [T,B,O]."""
    return model.outputs(member, ends, folded, member.task.inputs(batch))


def probabilities(ends: Ends, member: Experiment, folded: Folded, batch: Batch) -> jax.Array:
    """Returns a classifier's answers, float32 [B,C]."""
    return jax.nn.softmax(raw(ends, member, folded, batch))


def beliefs(member: Experiment, folded: Folded, batch: Batch) -> jax.Array:
    """Returns what a classifier would answer after each row, were it the last: float32 [T,B,C]."""
    looks = look(member, folded, member.task.inputs(batch))
    return jax.nn.softmax(model.read_out(folded, looks["h"]))


# Compiled once for each group and shape, however often they are called.
_fold = jax.jit(model.fold)
_initial: Any = jax.jit(lambda ends, member: init_state(ends, member).params, static_argnums=0)
outputs: Any = jax.jit(raw, static_argnums=0)
answer: Any = jax.jit(probabilities, static_argnums=0)
answer_by_row: Any = jax.jit(beliefs)
