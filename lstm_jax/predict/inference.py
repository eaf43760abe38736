"""The forward functions of a trained model: pure functions of the fused parameters and a batch.

Compiled functions take a member as `ready` returns it. Axes: T time steps, B batch, I features,
H hidden, O outputs of the head, C classes.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax

from lstm_jax.config.experiment import Experiment
from lstm_jax.model import forward, fused_params
from lstm_jax.model.fused_params import FusedParams
from lstm_jax.model.init import Params
from lstm_jax.tasks.images import Images
from lstm_jax.tasks.task import Batch, ModelSpec
from lstm_jax.tasks.text import Text
from lstm_jax.train.placement import stack_fields
from lstm_jax.train.step import init_state


def ready(member: Experiment) -> Experiment:
    """Returns the member with its traced fields as arrays, and with the backend `scan`.

    Every evaluation uses that backend. Members with one static key share compiled programs.
    """
    fields = stack_fields([member.replace_unchecked({"backend": "scan"})])
    return jax.tree.map(lambda array_M: array_M[0], fields)


def fuse_kernels(member: Experiment, params: Params) -> FusedParams:
    """Returns the parameters in the form that the forward functions take."""
    fused: FusedParams = _compiled_fuse(ready(member), params)
    return fused


def initial_params(member: Experiment, spec: ModelSpec) -> Params:
    """Returns the parameters before the first step."""
    params: Params = _compiled_init(spec, ready(member))
    return params


def param_shapes(member: Experiment, spec: ModelSpec) -> Params:
    """Returns the shapes and types of the parameters. Computes nothing."""
    return jax.eval_shape(partial(init_state, spec), ready(member)).params


def outputs(spec: ModelSpec, member: Experiment, fused: FusedParams, batch: Batch) -> jax.Array:
    """Returns the outputs of the head, float32 [B,O], or [T,B,O] where each time step has some."""
    return forward.apply_model(member, spec, fused, member.task.inputs(batch))


def is_classifier(member: Experiment) -> bool:
    """Returns whether the model answers with class probabilities: a model of images or texts."""
    return isinstance(member.task, (Images, Text))


def answers(spec: ModelSpec, member: Experiment, fused: FusedParams, batch: Batch) -> jax.Array:
    """Returns the answers of a model: the class probabilities, float32 [B,C], of a classifier, or
    else the outputs of the head, [B,O] or [B,T,O].
    """
    raw = outputs(spec, member, fused, batch)
    if is_classifier(member):
        return jax.nn.softmax(raw)
    return raw.swapaxes(0, 1) if raw.ndim == 3 else raw


def beliefs(member: Experiment, fused: FusedParams, batch: Batch) -> jax.Array:
    """Returns the class probabilities after each time step, as if it were the last one: float32
    [T,B,C]. The model must be a classifier that passes `forward.can_trace`.
    """
    h_TBH = forward.trace_last_layer(member, fused, member.task.inputs(batch))["h"]
    return jax.nn.softmax(forward.apply_head(member, fused, h_TBH))


# Each is compiled once for each static key and shape, however often it is called.
_compiled_fuse: Any = jax.jit(fused_params.fuse_kernels)
_compiled_init: Any = jax.jit(
    lambda spec, member: init_state(spec, member).params, static_argnums=0
)
compiled_outputs: Any = jax.jit(outputs, static_argnums=0)
compiled_answers: Any = jax.jit(answers, static_argnums=0)
compiled_beliefs: Any = jax.jit(beliefs)
