"""Optax's optimisers and learning rate schedules, chosen by a member's fields."""

from __future__ import annotations

from typing import Any

import jax
import optax

from lstm_jax.config.experiment import Experiment


def gradient_transformation(member: Experiment) -> optax.GradientTransformation:
    """Returns the transformation of a gradient, before learning rate and weight decay."""
    if member.optimizer == "sgd":
        return optax.trace(decay=member.momentum)
    if member.optimizer == "rmsprop":
        return optax.scale_by_rms(decay=0.9, eps=1e-8)
    return optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8)  # adam, adamw


def add_weight_decay(member: Experiment, updates: Any, params: Any) -> Any:
    """Returns the updates with decoupled weight decay (Loshchilov and Hutter, 2019)."""
    if member.optimizer == "adam":
        return updates
    return jax.tree.map(lambda u, p: u + member.weight_decay * p, updates, params)


def schedule_factor(member: Experiment, step: jax.Array) -> jax.Array | float:
    """Returns the factor of the learning rate at a step, float [] from 0 to 1."""
    warmup, after = member.warmup_steps, member.num_steps - member.warmup_steps
    flat = optax.constant_schedule(1.0)
    main = optax.cosine_decay_schedule(1.0, after) if member.schedule == "cosine" else flat
    if warmup:
        # It counts from 1: with a rate of zero the first step would be wasted.
        rise = optax.linear_schedule(1 / warmup, 1.0, warmup - 1) if warmup > 1 else flat
        main = optax.join_schedules([rise, main], [warmup])
    with jax.numpy_dtype_promotion("standard"):  # optax divides an int32 step
        return main(step)
