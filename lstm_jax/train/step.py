"""Training as pure functions: state in, state out. No I/O, no clock, no global.

A member is an `Experiment` of single values. Here its traced fields are arrays, and its static
fields decide the program. The gradient of a step is always the ordered sum over C equal
microbatches. On one device they run one after another. Spread over the devices of a mesh axis, they
are gathered and added in the same order, so the bits of a run do not depend on the number of
devices. Sums over examples are dot products: XLA's CPU backend may split a plain reduction over its
thread pool, and then the last bit depends on the number of threads.

Axes: B batch, C microbatches, b examples of a microbatch or block, n scored items, N examples of
the data set, S steps of a segment.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lstm_jax.cells.precision import products_in
from lstm_jax.config.experiment import Experiment
from lstm_jax.config.experiment_values import all_field_specs
from lstm_jax.data.dataset import Arrays, Split, num_examples
from lstm_jax.model import forward
from lstm_jax.model.dropout import draws_masks
from lstm_jax.model.fused_params import FusedParams, fuse_kernels
from lstm_jax.model.init import Params, init_params
from lstm_jax.tasks.task import Batch, ModelSpec
from lstm_jax.train.batches import bucket_index, next_batch, streams
from lstm_jax.train.optimizer import gradient_transformation

EVALUATION_BLOCK = 50  # examples scored at a time; such small products are never split over threads


class TrainState(NamedTuple):
    """All that a member carries from step to step."""

    params: Params
    optimizer: optax.OptState
    diverged_at: jax.Array  # int32 []: the first step whose loss or gradient was not finite, or -1


class Metrics(NamedTuple):
    """Metrics of a batch, before its update: float32 [] for one step, [S] for a segment."""

    loss: jax.Array
    metric: jax.Array  # the task's
    gradient_norm: jax.Array  # global, before clipping
    update_norm: jax.Array  # global, of the change of the parameters


class Sums(NamedTuple):
    """Sums over all items of a split, float32 [] each."""

    loss: jax.Array
    metric: jax.Array
    weight: jax.Array
    others: dict[str, jax.Array]  # of `Task.evaluation_items`, [] or [K]


class MeshAxis(NamedTuple):
    """The mesh axis over whose devices the microbatches of a batch are spread."""

    name: str
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


def _unflatten(static_key: Experiment, leaves: Any) -> Experiment:
    paths = _traced_paths(static_key)
    return static_key.replace_unchecked(dict(zip(paths, leaves, strict=True)))


# A member goes into a compiled program as it is: traced fields are leaves, the rest is static. So
# members with one static key, and only these, share a program.
jax.tree_util.register_pytree_node(Experiment, _flatten, _unflatten)


def _flatten_split(split: Split) -> tuple[list[tuple[Any, Any]], Any]:
    names = sorted(split)  # as JAX orders a dict
    children = [(jax.tree_util.DictKey(name), split[name]) for name in names]
    return children, (tuple(names), split.shared)


def _unflatten_split(names: Any, arrays: Any) -> Split:
    return Split(dict(zip(names[0], arrays, strict=True)), names[1])


jax.tree_util.register_pytree_with_keys(Split, _flatten_split, _unflatten_split)


def init_state(spec: ModelSpec, member: Experiment) -> TrainState:
    """Returns the state before the first step."""
    params = init_params(member, spec, streams(member.seed)["init"])
    transformation = gradient_transformation(member, jnp.int32(0), jnp.float32(1))
    return TrainState(params, transformation.init(params), jnp.int32(-1))


def train_segment(
    spec: ModelSpec,
    max_steps: int,
    mesh_axis: MeshAxis | None,
    member: Experiment,
    state: TrainState,
    order_N: jax.Array,
    is_stopped: jax.Array,
    examples: Arrays,
    order_epoch: jax.Array,
    start: jax.Array,
    stop: jax.Array,
) -> tuple[TrainState, jax.Array, Metrics]:
    """Takes the steps from `start` to `stop`, at most `max_steps`, of one member.

    A member with `patience` that has stopped, bool [], takes none: it stays as it is.

    The bounds are arrays, so that a short last segment runs the same compiled program. Returns the
    state, the order of examples of the last step's epoch, int32 [N], and the metrics, float32
    [max_steps] each. Pass the order back with its epoch to skip a sort; -1 stands for
    no epoch: see `next_batch`.
    """

    def take_step(state: TrainState, batch: Batch, step: jax.Array) -> tuple[TrainState, Metrics]:
        """Takes one step, on the batch truncated to the smallest bucket that fits its examples."""
        if not spec.bucket_lengths:
            return train_step(spec, member, state, batch, step, mesh_axis)

        def step_in_bucket(
            length: int, state: TrainState, batch: Batch
        ) -> tuple[TrainState, Metrics]:
            batch = member.task.truncate(batch, length)
            return train_step(spec, member, state, batch, step, mesh_axis)

        longest = jnp.max(bucket_index(spec, member.task.example_lengths(batch)))
        branches = [partial(step_in_bucket, length) for length in spec.bucket_lengths]
        new: tuple[TrainState, Metrics] = jax.lax.switch(longest, branches, state, batch)
        return new

    def body(step: jax.Array, carry: tuple[TrainState, jax.Array, jax.Array, Metrics]) -> Any:
        state, order_N, order_epoch, metrics = carry
        batch, order_N, order_epoch = next_batch(spec, member, examples, step, order_N, order_epoch)
        state, of_step = take_step(state, batch, step)
        metrics = jax.tree.map(lambda buffer, x: buffer.at[step - start].set(x), metrics, of_step)
        return state, order_N, order_epoch, metrics

    empty = Metrics(*(jnp.zeros(max_steps, jnp.float32) for _ in Metrics._fields))

    def run(state: TrainState, order_N: jax.Array) -> tuple[TrainState, jax.Array, Metrics]:
        carry = (state, order_N, order_epoch, empty)
        state, order_N, _, metrics = jax.lax.fori_loop(start, stop, body, carry)
        return state, order_N, metrics

    def skip(state: TrainState, order_N: jax.Array) -> tuple[TrainState, jax.Array, Metrics]:
        return state, order_N, empty

    if member.patience is None:
        return run(state, order_N)
    new: tuple[TrainState, jax.Array, Metrics] = jax.lax.cond(is_stopped, skip, run, state, order_N)
    return new


def train_step(
    spec: ModelSpec,
    member: Experiment,
    state: TrainState,
    batch: Batch,
    step: jax.Array,
    mesh_axis: MeshAxis | None = None,
) -> tuple[TrainState, Metrics]:
    """Takes one step of the optimiser on a batch.

    The member's seed and the step decide the masks of dropout and zoneout. A state whose loss or
    gradient is not finite is frozen: it stays as it was, for good.
    """
    task = member.task
    fused, unfuse = jax.vjp(partial(fuse_kernels, member), state.params)
    total = task.total_weight(batch)  # exact, before the batch is cut into microbatches

    def microbatch_loss(
        fused: FusedParams, microbatch: Batch, key: jax.Array | None
    ) -> tuple[jax.Array, jax.Array]:
        """Returns the microbatch's share of the batch's mean loss, and of the metric's sum."""
        outputs = forward.apply_model(member, spec, fused, task.inputs(microbatch), key)
        scored = task.score_items(outputs, microbatch, training=True)
        # A product: XLA turns x / scalar into x * (1 / scalar) in some programs only.
        share = scored.weight * (1 / jnp.float32(total))
        return scored.loss @ share, scored.metric @ scored.weight

    # The ordered sum over microbatches.
    keys = None
    if draws_masks(member):
        key = jax.random.fold_in(streams(member.seed)["dropout"], step)
        keys = jax.random.split(key, member.microbatches)
    parts = jax.tree.map(lambda a: a.reshape(member.microbatches, -1, *a.shape[1:]), batch), keys
    if mesh_axis is not None:
        count = member.microbatches // mesh_axis.size
        first = count * jax.lax.axis_index(mesh_axis.name)
        parts = jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, first, count), parts)
    gradient_of = jax.value_and_grad(microbatch_loss, has_aux=True)
    with products_in(member.precision):  # for the backward pass; the model sees to the forward one
        sums = jax.lax.map(lambda part: gradient_of(fused, *part), parts)
    if mesh_axis is not None:
        sums = jax.lax.all_gather(sums, mesh_axis.name, tiled=True)
    # Barriers here and below: without them XLA fuses Adam with what came before, which is not the
    # same on one device and on several; a bias then differed in its last bit (step 13).
    sums = jax.lax.optimization_barrier(sums)
    (loss, metric), gradient = jax.lax.optimization_barrier(jax.tree.map(_ordered_sum, sums))
    metric = metric / jnp.float32(total)
    (gradient,) = jax.lax.optimization_barrier(unfuse(gradient))

    norm = _global_norm(gradient)
    alive = (state.diverged_at < 0) & jnp.isfinite(loss) & jnp.isfinite(norm)
    with jax.numpy_dtype_promotion("standard"):  # optax raises a Python float to an int32 count
        transformation = gradient_transformation(member, step, norm)
        updates, optimizer = transformation.update(gradient, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)
    params, optimizer = jax.tree.map(
        partial(jnp.where, alive), (params, optimizer), (state.params, state.optimizer)
    )
    diverged_at = jnp.where(alive | (state.diverged_at >= 0), state.diverged_at, step)
    update_norm = jnp.where(alive, _global_norm(updates), 0.0)
    return TrainState(params, optimizer, diverged_at), Metrics(loss, metric, norm, update_norm)


def _ordered_sum(parts: jax.Array) -> jax.Array:
    """Returns the sum over the first axis, added first to last, never as a tree."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _global_norm(tree: Any) -> jax.Array:
    """Returns the norm of all arrays of a tree, float32 [], summed by matrix products.

    It is `optax.tree.norm`. On CPU, XLA's order of addition in a plain sum depends on the number
    of threads; so does that of a dot product that XLA treats as a plain sum.
    """

    def total(array: jax.Array) -> jax.Array:
        rows_RN = array.reshape(-1, array.shape[-1])
        sums_R8 = rows_RN @ jax.lax.optimization_barrier(jnp.ones((rows_RN.shape[1], 8)))
        ones_R8 = jax.lax.optimization_barrier(jnp.ones_like(sums_R8))
        return (sums_R8[:, :1].T @ ones_R8)[0, 0]

    return jnp.sqrt(sum(total(leaf * leaf) for leaf in jax.tree.leaves(tree)))


def evaluate(
    spec: ModelSpec,
    member: Experiment,
    params: Params,
    examples: Arrays,
    mesh_axis: MeshAxis | None = None,
) -> Sums:
    """Returns the sums of loss, metric, weight and other items over all examples of a split.

    The devices of a mesh axis share the blocks of examples, unless a block goes on from the state
    that the one before it left. The backend is always `scan`.
    """
    member = member.replace_unchecked({"backend": "scan"})
    fused, task = fuse_kernels(member, params), member.task
    count = num_examples(examples)
    indices_N = jnp.arange(count + -count % EVALUATION_BLOCK, dtype=jnp.int32)

    def score(is_real_b: jax.Array, states: Any, batch: Batch) -> tuple[Sums, Any]:
        inputs = task.inputs(batch)
        if spec.carry_state:
            ran = forward.run_layers(member, fused, inputs, keep_outputs=True, carry=states)
            outputs, states = forward.apply_head(member, fused, ran.h_TBW), ran.carry
        else:
            outputs = forward.apply_model(member, spec, fused, inputs)
        scored = task.score_items(outputs, batch, training=False)
        # The examples that fill up the last block have no weight. An example may have many items.
        weight = scored.weight * jnp.tile(is_real_b, scored.weight.shape[0] // is_real_b.shape[0])
        # Behind a barrier: what a task adds here does not change how loss and metric are computed.
        others = task.evaluation_items(jax.lax.optimization_barrier(outputs), batch)
        return Sums(
            scored.loss @ weight,
            scored.metric @ weight,
            weight @ jnp.ones_like(weight),
            {name: weight @ items for name, items in others.items()},
        ), states

    def score_in_bucket(
        length: int, is_real_b: jax.Array, states: Any, batch: Batch
    ) -> tuple[Sums, Any]:
        return score(is_real_b, states, task.truncate(batch, length))

    def score_block(states: Any, index_b: jax.Array) -> tuple[Sums, Any]:
        batch = task.gather(examples, jnp.minimum(index_b, count - 1))
        is_real_b = (index_b < count).astype(jnp.float32)
        if spec.bucket_lengths:
            longest = jnp.max(bucket_index(spec, task.example_lengths(batch)))
            branches = [partial(score_in_bucket, length) for length in spec.bucket_lengths]
            scored: tuple[Sums, Any] = jax.lax.switch(longest, branches, is_real_b, states, batch)
            return scored
        return score(is_real_b, states, batch)

    def add_block(carry: tuple[Sums, Any], index_b: jax.Array) -> tuple[tuple[Sums, Any], None]:
        sums, states = carry
        of_block, states = score_block(states, index_b)
        return (jax.tree.map(jnp.add, sums, of_block), states), None

    blocks_nb = indices_N.reshape(-1, EVALUATION_BLOCK)
    states = forward.initial_carry(member, EVALUATION_BLOCK) if spec.carry_state else None
    shapes, _ = jax.eval_shape(score_block, states, blocks_nb[0])
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    if mesh_axis is None or spec.carry_state:
        (sums, _), _ = jax.lax.scan(add_block, (zeros, states), blocks_nb)
        return sums
    # Gathered and added first to last, as on one device. Blocks that fill up a share are left out.
    num_blocks, share = len(blocks_nb), -(-len(blocks_nb) // mesh_axis.size)
    filled = jnp.pad(blocks_nb, ((0, share * mesh_axis.size - num_blocks), (0, 0)), mode="edge")
    first = share * jax.lax.axis_index(mesh_axis.name)
    mine = jax.lax.dynamic_slice_in_dim(filled, first, share)
    of_blocks = jax.lax.map(lambda index_b: score_block(None, index_b)[0], mine)
    of_blocks = jax.lax.all_gather(of_blocks, mesh_axis.name, tiled=True)
    of_blocks = jax.tree.map(lambda sums: sums[:num_blocks], of_blocks)
    sums, _ = jax.lax.scan(lambda a, b: (jax.tree.map(jnp.add, a, b), None), zeros, of_blocks)
    return sums
