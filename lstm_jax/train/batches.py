"""Chooses the examples of a step: pure functions of a member's seed and the step.

Axes: N examples, B batch, S batches.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lstm_jax.config.experiment import Experiment
from lstm_jax.data.dataset import Arrays
from lstm_jax.tasks.task import Batch, ModelSpec


def streams(seed: jax.typing.ArrayLike) -> dict[str, jax.Array]:
    """Returns keys by what they are used for, from a member's seed.

    A new name goes to the end: the keys before it stay the same.
    """
    names = ("init", "order", "augment", "dropout")
    return {name: jax.random.fold_in(jax.random.key(seed), i) for i, name in enumerate(names)}


def epoch_order(key: jax.Array, epoch: jax.typing.ArrayLike, num_examples: int) -> jax.Array:
    """Returns the order of one epoch's examples, int32 [N], a pure function of key and epoch."""
    return jax.random.permutation(
        jax.random.fold_in(key, epoch), jnp.arange(num_examples, dtype=jnp.int32)
    )


def group_by_bucket(
    key: jax.Array, order_N: jax.Array, bucket_N: jax.Array, batch_size: int
) -> jax.Array:
    """Returns the order, int32 [N], with examples of one bucket in a batch, and batches shuffled.

    `bucket_N` holds the bucket of each example. The examples left over after the last whole batch
    are not sorted: which ones are left out is random and does not depend on their length.
    """
    whole = len(order_N) // batch_size * batch_size
    by_bucket = jnp.argsort(bucket_N[order_N[:whole]], stable=True)
    batches_SB = order_N[:whole][by_bucket].reshape(-1, batch_size)
    batches_SB = jax.random.permutation(jax.random.fold_in(key, 1), batches_SB)
    return jnp.concatenate([batches_SB.ravel(), order_N[whole:]])


def bucket_index(spec: ModelSpec, lengths: jax.Array) -> jax.Array:
    """Returns the index in `spec.bucket_lengths` of the smallest bucket that fits each length."""
    bucket_lengths = jnp.array(spec.bucket_lengths, jnp.int32)
    return jnp.minimum(jnp.searchsorted(bucket_lengths, lengths), len(spec.bucket_lengths) - 1)


def next_batch(
    spec: ModelSpec,
    member: Experiment,
    examples: Arrays,
    step: jax.Array,
    order_N: jax.Array,
    order_epoch: jax.Array,
) -> tuple[Batch, jax.Array, jax.Array]:
    """Returns a step's batch, the order of the epoch's examples, int32 [N], and the epoch.

    Each epoch is a permutation; the examples after its last whole batch are not seen in it. Sorting
    takes as long as one or two steps, so each step passes the order to the next. All members are in
    the same epoch. If they were not, `vmap` would sort in every step.
    """
    task, batch_size, num_examples = member.task, member.batch_size, order_N.shape[0]
    keys = streams(member.seed)
    if task.online:
        batch = task.sample(jax.random.fold_in(keys["order"], step), batch_size)
        return batch, order_N, order_epoch
    steps_per_epoch = num_examples // batch_size
    epoch, position = step // steps_per_epoch, step % steps_per_epoch

    def new_order() -> jax.Array:
        order_N = epoch_order(keys["order"], epoch, num_examples)
        if not spec.bucket_lengths:
            return order_N
        bucket_N = bucket_index(spec, task.example_lengths(examples))
        key = jax.random.fold_in(keys["order"], epoch)
        return group_by_bucket(key, order_N, bucket_N, batch_size)

    order_N = jax.lax.cond(epoch == order_epoch, lambda: order_N, new_order)
    index_B = jax.lax.dynamic_slice_in_dim(order_N, position * batch_size, batch_size)
    batch = task.augment(task.gather(examples, index_B), jax.random.fold_in(keys["augment"], step))
    return batch, order_N, epoch
