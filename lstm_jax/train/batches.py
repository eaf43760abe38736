"""Which examples a step reads: pure functions of a member's seed and the step.

Axes: N examples, B batch, S batches.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lstm_jax.config.experiment import Experiment
from lstm_jax.data.dataset import Arrays
from lstm_jax.tasks.task import Batch, ModelSpec


def streams(seed: jax.typing.ArrayLike) -> dict[str, jax.Array]:
    """Returns keys named by their use, from a member's seed. A new name goes to the end."""
    names = ("init", "order", "augment", "dropout")
    return {name: jax.random.fold_in(jax.random.key(seed), i) for i, name in enumerate(names)}


def epoch_order(key: jax.Array, epoch: jax.typing.ArrayLike, num_examples: int) -> jax.Array:
    """Returns the order of one epoch's examples, int32 [N]: a pure function of key and epoch."""
    return jax.random.permutation(
        jax.random.fold_in(key, epoch), jnp.arange(num_examples, dtype=jnp.int32)
    )


def group_by_bucket(key: jax.Array, order_N: jax.Array, width_N: jax.Array, size: int) -> jax.Array:
    """Returns the order with examples of one width together in a batch, and batches shuffled.

    What is left after the last whole batch stays there, and so is left to chance, not to its width.
    """
    whole = len(order_N) // size * size
    by_width = jnp.argsort(width_N[order_N[:whole]], stable=True)
    batches_SB = order_N[:whole][by_width].reshape(-1, size)
    batches_SB = jax.random.permutation(jax.random.fold_in(key, 1), batches_SB)
    return jnp.concatenate([batches_SB.ravel(), order_N[whole:]])


def bucket_index(spec: ModelSpec, num_rows: jax.Array) -> jax.Array:
    """Returns the place in `spec.bucket_lengths` of the least width that holds so many rows."""
    widths = jnp.array(spec.bucket_lengths, jnp.int32)
    return jnp.minimum(jnp.searchsorted(widths, num_rows), len(spec.bucket_lengths) - 1)


def next_batch(
    spec: ModelSpec,
    member: Experiment,
    examples: Arrays,
    step: jax.Array,
    order_N: jax.Array,
    order_epoch: jax.Array,
) -> tuple[Batch, jax.Array, jax.Array]:
    """Returns a step's batch, and the order of examples it was taken from with its epoch.

    Each epoch is a permutation, and what is left of it after the last whole batch is not seen in
    that epoch. Its sort costs as much as a step or two, so an order is handed on from step to step.
    All members are in one epoch: mapped over members with `vmap`, where a condition that differs
    between them would sort in every step, this one does not.
    """
    task, size, num_examples = member.task, member.batch_size, order_N.shape[0]
    keys = streams(member.seed)
    if task.online:
        batch = task.make(jax.random.fold_in(keys["order"], step), size)
        return batch, order_N, order_epoch
    steps_per_epoch = num_examples // size
    epoch, position = step // steps_per_epoch, step % steps_per_epoch

    def begin() -> jax.Array:
        order_N = epoch_order(keys["order"], epoch, num_examples)
        if not spec.bucket_lengths:
            return order_N
        width_N = bucket_index(spec, task.example_lengths(examples))
        return group_by_bucket(jax.random.fold_in(keys["order"], epoch), order_N, width_N, size)

    order_N = jax.lax.cond(epoch == order_epoch, lambda: order_N, begin)
    index_B = jax.lax.dynamic_slice_in_dim(order_N, position * size, size)
    batch = task.augment(task.gather(examples, index_B), jax.random.fold_in(keys["augment"], step))
    return batch, order_N, epoch
