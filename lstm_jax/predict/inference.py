"""A trained model run forward, in full view: pure functions of a fused model and a batch.

A member goes into compiled functions as `ready` returns it. Axes: T rows, B batch, I numbers in a
row, H hidden, C classes.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax

from lstm_jax.cells import get_cell, scan
from lstm_jax.cells.cell import Activations
from lstm_jax.config.experiment import Experiment
from lstm_jax.model import forward
from lstm_jax.model.forward import FusedParams
from lstm_jax.model.init import Params
from lstm_jax.tasks.task import Batch, Inputs, ModelSpec
from lstm_jax.train.step import init_state
from lstm_jax.train.sweep import stack_fields


def ready(member: Experiment) -> Experiment:
    """Returns the member with its traced fields as arrays, by `scan` as all scores are taken.

    So members of one group share their compiled programs.
    """
    fields = stack_fields([member.replace_unchecked({"backend": "scan"})])
    return jax.tree.map(lambda array_M: array_M[0], fields)


def fuse_kernels(member: Experiment, params: Params) -> FusedParams:
    """Returns the model ready to run."""
    fused: FusedParams = _fuse_kernels(ready(member), params)
    return fused


def initial(member: Experiment, spec: ModelSpec) -> Params:
    """Returns the parameters before the first step."""
    return _initial(spec, ready(member))


def shapes(member: Experiment, spec: ModelSpec) -> Params:
    """Returns the parameters' shapes and types; computes nothing."""
    return jax.eval_shape(partial(init_state, spec), ready(member)).params


def activations(
    member: Experiment,
    fused: FusedParams,
    inputs: Inputs,
    perturbation_TBH: jax.Array | None = None,
) -> Activations:
    """Returns what may be looked at in the last recurrent layer, [T,B,H] each; see `trace`.

    Of a model that can be looked into; see `has_one_way`.
    """
    x_TBW = forward.rows(fused, inputs)
    if member.layers > 1:
        below = member.replace_unchecked({"layers": member.layers - 1})
        x_TBW = forward.run_layers(below, fused, inputs, keep_outputs=True).h_TBW
    (top,) = fused.layers[-1]
    return scan.trace(get_cell(member.cell), top.kernel_KG, x_TBW, top.extra, perturbation_TBH)


def has_one_way(member: Experiment, spec: ModelSpec) -> bool:
    """Returns whether a row's output goes through nothing but the recurrent layers, read forwards,
    into the head: so one can look into the last of them row by row.
    """
    return not (
        member.bidirectional or member.residual or spec.mean_pool or spec.decoder is not None
    )


def raw(spec: ModelSpec, member: Experiment, fused: FusedParams, batch: Batch) -> jax.Array:
    """Returns the head's outputs, float32 [B,O], or [T,B,O]."""
    return forward.outputs(member, spec, fused, member.task.inputs(batch))


def probabilities(
    spec: ModelSpec, member: Experiment, fused: FusedParams, batch: Batch
) -> jax.Array:
    """Returns a classifier's answers, float32 [B,C]."""
    return jax.nn.softmax(raw(spec, member, fused, batch))


def beliefs(member: Experiment, fused: FusedParams, batch: Batch) -> jax.Array:
    """Returns what a classifier would answer after each row, were it the last: float32 [T,B,C]."""
    found = activations(member, fused, member.task.inputs(batch))
    return jax.nn.softmax(forward.read_out(fused, found["h"]))


# Compiled once for each group and shape, however often they are called.
_fuse_kernels = jax.jit(forward.fuse_kernels)
_initial: Any = jax.jit(lambda spec, member: init_state(spec, member).params, static_argnums=0)
outputs: Any = jax.jit(raw, static_argnums=0)
answer: Any = jax.jit(probabilities, static_argnums=0)
answer_by_row: Any = jax.jit(beliefs)
