"""The change of the parameters at a step: clipping, the member's optimiser, the learning rate."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from lstm_jax.config.experiment import Experiment


def gradient_transformation(
    member: Experiment, step: jax.Array, gradient_norm: jax.Array
) -> optax.GradientTransformation:
    """Returns the transformation of a gradient into the change of the parameters at a step.

    `gradient_norm` is the global norm of the gradient, float32 []. The state of the transformation
    depends on neither.
    """
    clip = optax.identity()
    if member.clip_norm is not None:
        clip = optax.scale(jnp.minimum(1.0, member.clip_norm / gradient_norm))
    rate = member.learning_rate * member.schedule.factor(step, member.num_steps)
    return optax.chain(clip, member.optimizer.transformation(), optax.scale(-rate))
