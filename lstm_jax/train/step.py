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
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from lstm_jax.data import Arrays, num_examples
from lstm_jax.experiment import Experiment, all_specs
from lstm_jax.tasks.task import Batch, Ends
from lstm_jax.train import declare, model
from lstm_jax.train.batches import next_batch, streams, width_of
from lstm_jax.train.declare import Params
from lstm_jax.train.model import Folded
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


def init_state(ends: Ends, member: Experiment) -> TrainState:
    """Returns the state before the first step."""
    params = declare.init(member, ends, streams(member.seed)["init"])
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

    The member's seed and the step decide what is dropped. A state whose loss or gradient is not
    finite stays as it was, for good.
    """
    folded, unfold = jax.vjp(partial(model.fold, member), state.params)
    dropping = None
    if member.dropout is not None:
        dropping = jax.random.fold_in(streams(member.seed)["dropout"], step)
    (loss, metric), gradient = _batch_gradient(ends, member, folded, batch, dropping, spread)
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
    ends: Ends,
    member: Experiment,
    folded: Folded,
    batch: Batch,
    dropping: jax.Array | None,
    spread: Spread | None,
) -> tuple[tuple[jax.Array, jax.Array], Folded]:
    """Loss, metric and gradient of a batch: the ordered sum over its microbatches."""
    total = member.task.total(batch)  # exact, before the batch is cut
    count = member.microbatches
    of_batch = jax.tree.map(lambda a: a.reshape(count, -1, *a.shape[1:]), batch)
    parts = of_batch, None if dropping is None else jax.random.split(dropping, count)
    if spread is not None:
        share = member.microbatches // spread.size
        first = share * jax.lax.axis_index(spread.axis)
        parts = jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, first, share), parts)
    gradient_of = jax.value_and_grad(partial(_part_of_loss, ends, member, total), has_aux=True)
    sums = jax.lax.map(lambda part: gradient_of(folded, *part), parts)
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
    ends: Ends,
    member: Experiment,
    total: Any,
    folded: Folded,
    part: Batch,
    dropping: jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
    """This microbatch's part of the batch's mean loss, and of the sum of its metric."""
    outputs = model.outputs(member, ends, folded, member.task.inputs(part), dropping)
    items = member.task.items(outputs, part, training=True)
    # Times the reciprocal: XLA makes that of a division by one number, but not in all programs.
    share = items.weight * (1 / jnp.float32(total))
    return items.loss @ share, items.metric @ items.weight


def _step_as_wide(
    ends: Ends,
    member: Experiment,
    state: TrainState,
    batch: Batch,
    step: jax.Array,
    spread: Spread | None,
) -> tuple[TrainState, Metrics]:
    """As `train_step`, on the batch cut to the least width that holds its longest example."""
    if not ends.widths:
        return train_step(ends, member, state, batch, step, spread)

    def at_width(width: int, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        return train_step(ends, member, state, member.task.cut(batch, width), step, spread)

    widest = jnp.max(width_of(ends, member.task.num_rows(batch)))
    ways = [partial(at_width, width) for width in ends.widths]
    return cast(tuple[TrainState, Metrics], jax.lax.switch(widest, ways, state, batch))


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

    The bounds are arrays, so a short last segment runs the same compiled program. The int32 order_N
    of the last step's epoch is returned, and used when it is handed in again with that epoch (-1:
    it is of none): see `next_batch`.
    """

    def body(step: jax.Array, carry: tuple[TrainState, jax.Array, jax.Array, Metrics]) -> Any:
        state, order_N, order_epoch, metrics = carry
        batch, order_N, order_epoch = next_batch(ends, member, examples, step, order_N, order_epoch)
        state, seen = _step_as_wide(ends, member, state, batch, step, spread)
        metrics = jax.tree.map(lambda buffer, x: buffer.at[step - start].set(x), metrics, seen)
        return state, order_N, order_epoch, metrics

    empty = Metrics(*(jnp.zeros(capacity, jnp.float32) for _ in Metrics._fields))
    carry = (state, order_N, order_epoch, empty)
    state, order_N, _, metrics = jax.lax.fori_loop(start, stop, body, carry)
    return state, order_N, metrics


def evaluate(ends: Ends, member: Experiment, params: Params, examples: Arrays) -> Sums:
    """Returns the sums of loss, metric and weight over all examples of a split, by `scan`."""
    member = member.having({"backend": "scan"})
    folded, task = model.fold(member, params), member.task
    count = num_examples(examples)
    indices_N = jnp.arange(count + -count % EVALUATION_BLOCK, dtype=jnp.int32)

    def score(real_b: jax.Array, states: Any, batch: Batch) -> tuple[Sums, Any]:
        inputs = task.inputs(batch)
        if ends.carried:
            found = model.run_layers(member, folded, inputs, keep_outputs=True, initial=states)
            outputs, states = model.read_out(folded, found.h_TBW), found.states
        else:
            outputs = model.outputs(member, ends, folded, inputs)
        items = task.items(outputs, batch, training=False)
        # An example behind the last one does not count; it may have several items.
        weight = items.weight * jnp.tile(real_b, items.weight.shape[0] // real_b.shape[0])
        return Sums(
            items.loss @ weight, items.metric @ weight, weight @ jnp.ones_like(weight)
        ), states

    def at_width(width: int, real_b: jax.Array, states: Any, batch: Batch) -> tuple[Sums, Any]:
        return score(real_b, states, task.cut(batch, width))

    def block(carry: tuple[Sums, Any], index_b: jax.Array) -> tuple[tuple[Sums, Any], None]:
        sums, states = carry
        batch = task.gather(examples, jnp.minimum(index_b, count - 1))
        real_b = (index_b < count).astype(jnp.float32)
        if ends.widths:
            widest = jnp.max(width_of(ends, task.num_rows(batch)))
            ways = [partial(at_width, width) for width in ends.widths]
            scored, states = jax.lax.switch(widest, ways, real_b, states, batch)
        else:
            scored, states = score(real_b, states, batch)
        return (jax.tree.map(jnp.add, sums, scored), states), None

    zeros = Sums(jnp.float32(0), jnp.float32(0), jnp.float32(0))
    states = model.zero_states(member, EVALUATION_BLOCK) if ends.carried else None
    (sums, _), _ = jax.lax.scan(block, (zeros, states), indices_N.reshape(-1, EVALUATION_BLOCK))
    return sums
