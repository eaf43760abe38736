"""Training as pure functions: state in, state out. No I/O, no clock, no global.

A member is an `Experiment` of single values: here its traced fields are arrays, its static ones
decide the program. A step's gradient is always the ordered sum over C equal microbatches. On one
device they run one after another; spread over the devices of a mesh axis they are gathered and
added in the same order, so the bits of a run do not depend on the number of devices. Sums over
examples are dot products: XLA's CPU backend may split a plain reduction over its thread pool, whose
size would then show in the last bit.

Axes: B batch, C microbatches, n items of one, N examples, S steps of a segment.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lstm_jax.data import Arrays
from lstm_jax.experiment import Experiment, all_specs
from lstm_jax.tasks.task import Batch, Ends
from lstm_jax.train import model
from lstm_jax.train.model import Folded, Params
from lstm_jax.train.optimizer import decayed, rate_factor, transformation

EVALUATION_BLOCK = 50  # examples scored at a time; small products are never split over threads


class TrainState(NamedTuple):
    """All that a member carries from step to step."""

    params: Params
    optimizer: optax.OptState
    diverged_at: jax.Array  # int32 []: the first step whose loss or gradient was not finite, or -1


class Metrics(NamedTuple):
    """Of the batch, before its update. float32 [] for one step, [S] for a segment."""

    loss: jax.Array
    metric: jax.Array  # the task's
    gradient_norm: jax.Array  # global, before clipping
    update_norm: jax.Array  # global, of the change of the parameters


class Sums(NamedTuple):
    """Over all items of a split, float32 []."""

    loss: jax.Array
    metric: jax.Array
    weight: jax.Array


class Spread(NamedTuple):
    """The mesh axis over whose devices the microbatches of a batch are spread."""

    axis: str
    size: int


def _traced_paths(experiment: Experiment) -> list[str]:
    values = experiment.values
    return [
        path
        for path, spec in all_specs(experiment).items()
        if spec.traced and values[path] is not None
    ]


def _flatten(member: Experiment) -> tuple[list[Any], Experiment]:
    return [member.values[path] for path in _traced_paths(member)], member.group


def _unflatten(group: Experiment, leaves: Any) -> Experiment:
    return group.having(dict(zip(_traced_paths(group), leaves, strict=True)))


# A member goes into a compiled program as it is: traced fields are leaves, the rest is static, so
# that members of one group, and only these, share a program.
jax.tree_util.register_pytree_node(Experiment, _flatten, _unflatten)


def streams(seed: jax.typing.ArrayLike) -> dict[str, jax.Array]:
    """Returns keys named by their use, from a member's seed. A new name goes to the end."""
    names = ("init", "order", "augment")
    return {name: jax.random.fold_in(jax.random.key(seed), i) for i, name in enumerate(names)}


def epoch_order(key: jax.Array, epoch: jax.typing.ArrayLike, num_examples: int) -> jax.Array:
    """Returns the order of one epoch's examples, int32 [N]: a pure function of key and epoch."""
    return jax.random.permutation(
        jax.random.fold_in(key, epoch), jnp.arange(num_examples, dtype=jnp.int32)
    )


def init_state(ends: Ends, member: Experiment) -> TrainState:
    """Returns the state before the first step."""
    params = model.init(member, ends, streams(member.seed)["init"])
    return TrainState(params, transformation(member).init(params), jnp.int32(-1))


def train_step(
    ends: Ends,
    member: Experiment,
    state: TrainState,
    batch: Batch,
    step: jax.Array,
    spread: Spread | None = None,
) -> tuple[TrainState, Metrics]:
    """Takes one step of the optimiser on a batch.

    A state whose loss or gradient is not finite stays as it was, for good.
    """
    folded, unfold = jax.vjp(partial(model.fold, member), state.params)
    (loss, metric), gradient = _batch_gradient(ends, member, folded, batch, spread)
    # Barriers here and in the sum below: without them XLA fuses Adam with what came before, which
    # is not the same on one device and on several; a bias then differed in its last bit (step 13).
    (gradient,) = jax.lax.optimization_barrier(unfold(gradient))
    norm = _global_norm(gradient)
    alive = (state.diverged_at < 0) & jnp.isfinite(loss) & jnp.isfinite(norm)
    if member.clip_norm is not None:
        scale = jnp.minimum(1.0, member.clip_norm / norm)
        gradient = jax.tree.map(lambda g: g * scale, gradient)
    with jax.numpy_dtype_promotion("standard"):  # optax raises a Python float to an int32 count
        updates, optimizer = transformation(member).update(gradient, state.optimizer)
    rate = member.learning_rate * rate_factor(member, step)
    updates = decayed(member, updates, state.params)
    params = jax.tree.map(lambda p, u: p - rate * u, state.params, updates)
    params, optimizer = jax.tree.map(
        partial(jnp.where, alive), (params, optimizer), (state.params, state.optimizer)
    )
    diverged_at = jnp.where(alive | (state.diverged_at >= 0), state.diverged_at, step)
    update_norm = jnp.where(alive, rate * _global_norm(updates), 0.0)
    return TrainState(params, optimizer, diverged_at), Metrics(loss, metric, norm, update_norm)


def _global_norm(tree: Any) -> jax.Array:
    """As `optax.tree.norm`, summed by matrix products.

    XLA's CPU backend orders a plain sum, or a dot product, which it takes for one, in one way with
    one thread and in another with several.
    """

    def total(array: jax.Array) -> jax.Array:
        rows_RN = array.reshape(-1, array.shape[-1])
        sums_R8 = rows_RN @ jax.lax.optimization_barrier(jnp.ones((rows_RN.shape[1], 8)))
        ones_R8 = jax.lax.optimization_barrier(jnp.ones_like(sums_R8))
        return (sums_R8[:, :1].T @ ones_R8)[0, 0]

    return jnp.sqrt(sum(total(leaf * leaf) for leaf in jax.tree.leaves(tree)))


def _batch_gradient(
    ends: Ends, member: Experiment, folded: Folded, batch: Batch, spread: Spread | None
) -> tuple[tuple[jax.Array, jax.Array], Folded]:
    """Loss, metric and gradient of a batch: the ordered sum over its microbatches."""
    total = member.task.total(batch)  # exact, before the batch is cut
    parts = jax.tree.map(lambda a: a.reshape(member.microbatches, -1, *a.shape[1:]), batch)
    if spread is not None:
        share = member.microbatches // spread.size
        first = share * jax.lax.axis_index(spread.axis)
        parts = jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, first, share), parts)
    gradient_of = jax.value_and_grad(partial(_part_of_loss, ends, member, total), has_aux=True)
    sums = jax.lax.map(lambda part: gradient_of(folded, part), parts)
    if spread is not None:
        sums = jax.lax.all_gather(sums, spread.axis, tiled=True)
    sums = jax.lax.optimization_barrier(sums)
    (loss, metric), gradient = jax.lax.optimization_barrier(jax.tree.map(_ordered_sum, sums))
    return (loss, metric / jnp.float32(total)), gradient


def _ordered_sum(parts: jax.Array) -> jax.Array:
    """The sum over the first axis, first to last, never a reduction tree."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _part_of_loss(
    ends: Ends, member: Experiment, total: Any, folded: Folded, part: Batch
) -> tuple[jax.Array, jax.Array]:
    """This microbatch's part of the batch's mean loss, and of the sum of its metric."""
    outputs = model.outputs(member, ends, folded, member.task.inputs(part))
    items = member.task.items(outputs, part, training=True)
    return items.loss @ (items.weight / jnp.float32(total)), items.metric @ items.weight


def train_segment(
    ends: Ends,
    capacity: int,
    spread: Spread | None,
    member: Experiment,
    state: TrainState,
    order_N: jax.Array,
    examples: Arrays,
    order_epoch: jax.Array,
    start: jax.Array,
    stop: jax.Array,
) -> tuple[TrainState, jax.Array, Metrics]:
    """Takes steps `start` to `stop`, at most `capacity` of them, of one member.

    The bounds are arrays, so a short last segment runs the same compiled program. The order of the
    examples is a pure function of (seed, step): each epoch is a permutation, and what is left of it
    after the last whole batch is not seen in that epoch. Its sort costs as much as a step or two,
    so the int32 order_N of the last step's epoch is returned, and used when it is handed in again
    with that epoch (-1: it is of none). All members are in one epoch: mapped over members with
    `vmap`, where a condition that differs between them would sort in every step, this one does not.
    """
    num_examples, size, task = order_N.shape[0], member.batch_size, member.task
    steps_per_epoch = num_examples // size
    keys = streams(member.seed)

    def body(step: jax.Array, carry: tuple[TrainState, jax.Array, jax.Array, Metrics]) -> Any:
        state, order_N, order_epoch, metrics = carry
        epoch, position = step // steps_per_epoch, step % steps_per_epoch
        order_N = jax.lax.cond(
            epoch == order_epoch,
            lambda: order_N,
            lambda: epoch_order(keys["order"], epoch, num_examples),
        )
        index_B = jax.lax.dynamic_slice_in_dim(order_N, position * size, size)
        batch = task.gather(examples, index_B)
        batch = task.augment(batch, jax.random.fold_in(keys["augment"], step))
        state, seen = train_step(ends, member, state, batch, step, spread)
        metrics = jax.tree.map(lambda buffer, x: buffer.at[step - start].set(x), metrics, seen)
        return state, order_N, epoch, metrics

    empty = Metrics(*(jnp.zeros(capacity, jnp.float32) for _ in Metrics._fields))
    carry = (state, order_N, order_epoch, empty)
    state, order_N, _, metrics = jax.lax.fori_loop(start, stop, body, carry)
    return state, order_N, metrics


def evaluate(ends: Ends, member: Experiment, params: Params, examples: Arrays) -> Sums:
    """Returns the sums of loss, metric and weight over all examples of a split, by `scan`."""
    member = member.having({"backend": "scan"})
    folded, task = model.fold(member, params), member.task
    num_examples = len(next(iter(examples.values())))
    indices_N = jnp.arange(num_examples + -num_examples % EVALUATION_BLOCK, dtype=jnp.int32)

    def block(sums: Sums, index_b: jax.Array) -> tuple[Sums, None]:
        batch = task.gather(examples, jnp.minimum(index_b, num_examples - 1))
        items = task.items(
            model.outputs(member, ends, folded, task.inputs(batch)), batch, training=False
        )
        # An example behind the last one does not count; it may have several items.
        real_b = (index_b < num_examples).astype(jnp.float32)
        weight = items.weight * jnp.tile(real_b, items.weight.shape[0] // real_b.shape[0])
        scored = Sums(items.loss @ weight, items.metric @ weight, weight @ jnp.ones_like(weight))
        return jax.tree.map(jnp.add, sums, scored), None

    zeros = Sums(jnp.float32(0), jnp.float32(0), jnp.float32(0))
    sums, _ = jax.lax.scan(block, zeros, indices_N.reshape(-1, EVALUATION_BLOCK))
    return sums
