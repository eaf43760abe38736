"""Training as pure functions: state in, state out. No I/O, no clock, no global.

A member is an `Experiment` of single values: here its traced fields are arrays, its static ones
decide the program. A step's gradient is always the ordered sum over C equal microbatches. On one
device they run one after another; mesh_axis over the devices of a mesh axis they are gathered and
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

from lstm_jax.config.experiment import Experiment, all_field_specs
from lstm_jax.data.dataset import Arrays, num_examples
from lstm_jax.model import forward, init
from lstm_jax.model.forward import FusedParams
from lstm_jax.model.init import Params
from lstm_jax.tasks.task import Batch, ModelSpec
from lstm_jax.train.batches import bucket_index, next_batch, streams
from lstm_jax.train.optimizer import add_weight_decay, gradient_transformation, schedule_factor

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


class MeshAxis(NamedTuple):
    """The mesh axis over whose devices the microbatches of a batch are mesh_axis."""

    axis: str
    size: int


def _traced_paths(experiment: Experiment) -> list[str]:
    values = experiment.values
    return [
        path
        for path, spec in all_field_specs(experiment).items()
        if spec.traced and values[path] is not None
    ]


def _flatten(member: Experiment) -> tuple[list[Any], Experiment]:
    return [member.values[path] for path in _traced_paths(member)], member.static_key


def _unflatten(group: Experiment, leaves: Any) -> Experiment:
    return group.replace_unchecked(dict(zip(_traced_paths(group), leaves, strict=True)))


# A member goes into a compiled program as it is: traced fields are leaves, the rest is static, so
# that members of one group, and only these, share a program.
jax.tree_util.register_pytree_node(Experiment, _flatten, _unflatten)


def init_state(spec: ModelSpec, member: Experiment) -> TrainState:
    """Returns the state before the first step."""
    params = init.init(member, spec, streams(member.seed)["init"])
    return TrainState(params, gradient_transformation(member).init(params), jnp.int32(-1))


def train_step(
    spec: ModelSpec,
    member: Experiment,
    state: TrainState,
    batch: Batch,
    step: jax.Array,
    mesh_axis: MeshAxis | None = None,
) -> tuple[TrainState, Metrics]:
    """Takes one step of the optimiser on a batch.

    The member's seed and the step decide what is dropped. A state whose loss or gradient is not
    finite stays as it was, for good.
    """
    fused, unfuse = jax.vjp(partial(forward.fuse_kernels, member), state.params)
    dropping = None
    if member.dropout is not None:
        dropping = jax.random.fold_in(streams(member.seed)["dropout"], step)
    (loss, metric), gradient = _batch_gradient(spec, member, fused, batch, dropping, mesh_axis)
    # Barriers here and in the sum below: without them XLA fuses Adam with what came before, which
    # is not the same on one device and on several; a bias then differed in its last bit (step 13).
    (gradient,) = jax.lax.optimization_barrier(unfuse(gradient))
    norm = _global_norm(gradient)
    alive = (state.diverged_at < 0) & jnp.isfinite(loss) & jnp.isfinite(norm)
    if member.clip_norm is not None:
        scale = jnp.minimum(1.0, member.clip_norm / norm)
        gradient = jax.tree.map(lambda g: g * scale, gradient)
    with jax.numpy_dtype_promotion("standard"):  # optax raises a Python float to an int32 count
        updates, optimizer = gradient_transformation(member).update(gradient, state.optimizer)
    rate = member.learning_rate * schedule_factor(member, step)
    updates = add_weight_decay(member, updates, state.params)
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
    spec: ModelSpec,
    member: Experiment,
    fused: FusedParams,
    batch: Batch,
    dropping: jax.Array | None,
    mesh_axis: MeshAxis | None,
) -> tuple[tuple[jax.Array, jax.Array], FusedParams]:
    """Loss, metric and gradient of a batch: the ordered sum over its microbatches."""
    total = member.task.total(batch)  # exact, before the batch is cut
    count = member.microbatches
    of_batch = jax.tree.map(lambda a: a.reshape(count, -1, *a.shape[1:]), batch)
    parts = of_batch, None if dropping is None else jax.random.split(dropping, count)
    if mesh_axis is not None:
        share = member.microbatches // mesh_axis.size
        first = share * jax.lax.axis_index(mesh_axis.axis)
        parts = jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, first, share), parts)
    gradient_of = jax.value_and_grad(partial(_part_of_loss, spec, member, total), has_aux=True)
    sums = jax.lax.map(lambda part: gradient_of(fused, *part), parts)
    if mesh_axis is not None:
        sums = jax.lax.all_gather(sums, mesh_axis.axis, tiled=True)
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
    spec: ModelSpec,
    member: Experiment,
    total: Any,
    fused: FusedParams,
    part: Batch,
    dropping: jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
    """This microbatch's part of the batch's mean loss, and of the sum of its metric."""
    outputs = forward.outputs(member, spec, fused, member.task.inputs(part), dropping)
    items = member.task.per_example(outputs, part, training=True)
    # Times the reciprocal: XLA makes that of a division by one number, but not in all programs.
    share = items.weight * (1 / jnp.float32(total))
    return items.loss @ share, items.metric @ items.weight


def _bucketed_step(
    spec: ModelSpec,
    member: Experiment,
    state: TrainState,
    batch: Batch,
    step: jax.Array,
    mesh_axis: MeshAxis | None,
) -> tuple[TrainState, Metrics]:
    """As `train_step`, on the batch cut to the least width that holds its longest example."""
    if not spec.bucket_lengths:
        return train_step(spec, member, state, batch, step, mesh_axis)

    def at_width(width: int, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        return train_step(spec, member, state, member.task.truncate(batch, width), step, mesh_axis)

    widest = jnp.max(bucket_index(spec, member.task.example_lengths(batch)))
    ways = [partial(at_width, width) for width in spec.bucket_lengths]
    return cast(tuple[TrainState, Metrics], jax.lax.switch(widest, ways, state, batch))


def train_segment(
    spec: ModelSpec,
    capacity: int,
    mesh_axis: MeshAxis | None,
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
        batch, order_N, order_epoch = next_batch(spec, member, examples, step, order_N, order_epoch)
        state, seen = _bucketed_step(spec, member, state, batch, step, mesh_axis)
        metrics = jax.tree.map(lambda buffer, x: buffer.at[step - start].set(x), metrics, seen)
        return state, order_N, order_epoch, metrics

    empty = Metrics(*(jnp.zeros(capacity, jnp.float32) for _ in Metrics._fields))
    carry = (state, order_N, order_epoch, empty)
    state, order_N, _, metrics = jax.lax.fori_loop(start, stop, body, carry)
    return state, order_N, metrics


def evaluate(spec: ModelSpec, member: Experiment, params: Params, examples: Arrays) -> Sums:
    """Returns the sums of loss, metric and weight over all examples of a split, by `scan`."""
    member = member.replace_unchecked({"backend": "scan"})
    fused, task = forward.fuse_kernels(member, params), member.task
    count = num_examples(examples)
    indices_N = jnp.arange(count + -count % EVALUATION_BLOCK, dtype=jnp.int32)

    def score(real_b: jax.Array, states: Any, batch: Batch) -> tuple[Sums, Any]:
        inputs = task.inputs(batch)
        if spec.carry_state:
            found = forward.run_layers(member, fused, inputs, keep_outputs=True, initial=states)
            outputs, states = forward.read_out(fused, found.h_TBW), found.states
        else:
            outputs = forward.outputs(member, spec, fused, inputs)
        items = task.per_example(outputs, batch, training=False)
        # An example behind the last one does not count; it may have several items.
        weight = items.weight * jnp.tile(real_b, items.weight.shape[0] // real_b.shape[0])
        return Sums(
            items.loss @ weight, items.metric @ weight, weight @ jnp.ones_like(weight)
        ), states

    def at_width(width: int, real_b: jax.Array, states: Any, batch: Batch) -> tuple[Sums, Any]:
        return score(real_b, states, task.truncate(batch, width))

    def block(carry: tuple[Sums, Any], index_b: jax.Array) -> tuple[tuple[Sums, Any], None]:
        sums, states = carry
        batch = task.gather(examples, jnp.minimum(index_b, count - 1))
        real_b = (index_b < count).astype(jnp.float32)
        if spec.bucket_lengths:
            widest = jnp.max(bucket_index(spec, task.example_lengths(batch)))
            ways = [partial(at_width, width) for width in spec.bucket_lengths]
            scored, states = jax.lax.switch(widest, ways, real_b, states, batch)
        else:
            scored, states = score(real_b, states, batch)
        return (jax.tree.map(jnp.add, sums, scored), states), None

    zeros = Sums(jnp.float32(0), jnp.float32(0), jnp.float32(0))
    states = forward.zero_states(member, EVALUATION_BLOCK) if spec.carry_state else None
    (sums, _), _ = jax.lax.scan(block, (zeros, states), indices_N.reshape(-1, EVALUATION_BLOCK))
    return sums
