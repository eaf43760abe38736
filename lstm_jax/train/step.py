"""Training as pure functions: state in, state out. No I/O, no clock, no global.

A step's gradient is always the ordered sum over C equal chunks of its batch. On one device the
chunks run one after another; spread over the devices of a mesh axis they are gathered and added in
the same order, so the bits of a run do not depend on the number of devices. Loss and gradient sums
over examples are dot products: XLA's CPU backend may split a plain reduction over its thread pool,
whose size would then show in the last bit.

Axes: B batch, C chunks, b = B / C, T rows, I pixels a row, N examples, S steps of a segment.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lstm_jax.data.load import epoch_order
from lstm_jax.train.model import FoldedRowLSTM, RowLSTM, apply_folded

Params = Any  # a Flax parameter tree: nested dicts of arrays
optimizer = optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8)

EVALUATION_BLOCK = 50  # examples scored at a time; small products are never split over threads


class TrainState(NamedTuple):
    """All that a member carries from step to step."""

    params: Params
    adam: optax.ScaleByAdamState
    diverged_at: jax.Array  # int32 []: the first step whose loss or gradient was not finite, or -1


class Metrics(NamedTuple):
    """Of the batch, before its update. float32 [] for one step, [S] for a segment."""

    loss: jax.Array
    accuracy: jax.Array
    gradient_norm: jax.Array  # global, before clipping
    update_norm: jax.Array  # global, of the change of the parameters


class Score(NamedTuple):
    """Of a whole split. float32 [] and int32 []."""

    loss: jax.Array
    correct: jax.Array


class Recipe(NamedTuple):
    """What is fixed when a program is compiled: fields of the experiment, and the devices."""

    batch_size: int
    chunks: int
    num_steps: int
    backend: str = "scan"
    schedule: str = "constant"
    warmup_steps: int = 0
    clip_norm: float = 0.0
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    shift: int = 0
    mesh_axis: str | None = None  # the axis over whose devices the chunks are spread
    mesh_size: int = 1


def streams(seed: jax.Array) -> dict[str, jax.Array]:
    """Keys named by their use, from a member's seed. A new name goes to the end."""
    names = ("init", "order", "shift")
    return {name: jax.random.fold_in(jax.random.key(seed), i) for i, name in enumerate(names)}


def init_state(model: RowLSTM, seed: jax.Array) -> TrainState:
    """The state before the first step, from a uint32 [] seed."""
    params = model.init(streams(seed)["init"], method="fold")["params"]
    return TrainState(params, optimizer.init(params), jnp.int32(-1))


def fold(model: RowLSTM, params: Params) -> FoldedRowLSTM:
    """The model ready to run: once a step, for all chunks of its batch."""
    folded: Any = model.apply({"params": params}, method="fold")
    return folded


def scale(images_BTI: jax.Array) -> jax.Array:
    """uint8 images as the model reads them: float32 in [0, 1]."""
    return images_BTI.astype(jnp.float32) / 255.0


def train_step(
    model: RowLSTM,
    recipe: Recipe,
    state: TrainState,
    images_BTI: jax.Array,
    labels_B: jax.Array,
    learning_rate: jax.Array,
    step: jax.Array,
) -> tuple[TrainState, Metrics]:
    """One Adam step on a batch of uint8 images and int32 labels.

    A state whose loss or gradient is not finite stays as it was, for good.
    """
    folded, unfold = jax.vjp(partial(fold, model), state.params)
    (loss, accuracy), gradient = _batch_gradient(recipe, folded, images_BTI, labels_B)
    # Barriers here and in the sum below: without them XLA fuses Adam with what came before, which
    # is not the same on one device and on several; a bias then differed in its last bit (step 13).
    (gradient,) = jax.lax.optimization_barrier(unfold(gradient))
    norm = _global_norm(gradient)
    alive = (state.diverged_at < 0) & jnp.isfinite(loss) & jnp.isfinite(norm)
    if recipe.clip_norm:
        scale = jnp.minimum(1.0, recipe.clip_norm / norm)
        gradient = jax.tree.map(lambda g: g * scale, gradient)
    with jax.numpy_dtype_promotion("standard"):  # optax raises a Python float to an int32 count
        updates, adam = optimizer.update(gradient, state.adam)
    rate = learning_rate * rate_factor(recipe, step)
    if recipe.weight_decay:
        updates = jax.tree.map(lambda u, p: u + recipe.weight_decay * p, updates, state.params)
    params = jax.tree.map(lambda p, u: p - rate * u, state.params, updates)
    params, adam = jax.tree.map(
        partial(jnp.where, alive), (params, adam), (state.params, state.adam)
    )
    diverged_at = jnp.where(alive | (state.diverged_at >= 0), state.diverged_at, step)
    update_norm = jnp.where(alive, rate * _global_norm(updates), 0.0)
    return TrainState(params, adam, diverged_at), Metrics(loss, accuracy, norm, update_norm)


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


def rate_factor(recipe: Recipe, step: jax.Array) -> jax.Array | float:
    """By how much the learning rate is scaled at a step: float [] from 0 to 1."""
    warmup, after = recipe.warmup_steps, recipe.num_steps - recipe.warmup_steps
    flat = optax.constant_schedule(1.0)
    main = optax.cosine_decay_schedule(1.0, after) if recipe.schedule == "cosine" else flat
    if warmup:
        # Counted from 1: a first step of no length would be a step for nothing.
        rise = optax.linear_schedule(1 / warmup, 1.0, warmup - 1) if warmup > 1 else flat
        main = optax.join_schedules([rise, main], [warmup])
    with jax.numpy_dtype_promotion("standard"):  # optax divides an int32 step
        return main(step)


def _batch_gradient(
    recipe: Recipe, folded: FoldedRowLSTM, images_BTI: jax.Array, labels_B: jax.Array
) -> tuple[tuple[jax.Array, jax.Array], FoldedRowLSTM]:
    """Loss, accuracy and gradient of a batch: the ordered sum over its chunks."""
    _, rows, features = images_BTI.shape
    images_CbTI = images_BTI.reshape(recipe.chunks, -1, rows, features)
    labels_Cb = labels_B.reshape(recipe.chunks, -1)
    if recipe.mesh_axis is not None:
        share = recipe.chunks // recipe.mesh_size
        first = share * jax.lax.axis_index(recipe.mesh_axis)
        images_CbTI = jax.lax.dynamic_slice_in_dim(images_CbTI, first, share)
        labels_Cb = jax.lax.dynamic_slice_in_dim(labels_Cb, first, share)
    gradient_of = jax.value_and_grad(partial(_chunk_loss, recipe), has_aux=True)
    parts = jax.lax.map(lambda chunk: gradient_of(folded, *chunk), (images_CbTI, labels_Cb))
    if recipe.mesh_axis is not None:
        parts = jax.lax.all_gather(parts, recipe.mesh_axis, tiled=True)
    parts = jax.lax.optimization_barrier(parts)
    total = jax.tree.map(_ordered_sum, parts)
    (loss, correct), gradient = jax.lax.optimization_barrier(total)
    return (loss, correct / jnp.float32(recipe.batch_size)), gradient


def _ordered_sum(parts: jax.Array) -> jax.Array:
    """The sum over the first axis, first to last, never a reduction tree."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _chunk_loss(
    recipe: Recipe, folded: FoldedRowLSTM, images_bTI: jax.Array, labels_b: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """This chunk's part of the batch's mean cross-entropy, and how many it got right (float32)."""
    logits_bC = apply_folded(folded, scale(images_bTI), recipe.backend)
    loss_b, right_b = _cross_entropy(logits_bC, labels_b, recipe.label_smoothing)
    weights_b = jnp.full(labels_b.shape, 1.0 / recipe.batch_size, jnp.float32)
    return loss_b @ weights_b, right_b @ jnp.ones_like(weights_b)


def _cross_entropy(
    logits_bC: jax.Array, labels_b: jax.Array, smoothing: float = 0.0
) -> tuple[jax.Array, jax.Array]:
    """Cross-entropy and correctness of each example, float32 [b].

    One-hot labels: the gradient of an integer-label lookup is a scatter, whose order of additions
    a GPU does not fix.
    """
    target_bC = jax.nn.one_hot(labels_b, logits_bC.shape[-1], dtype=jnp.float32)
    if smoothing:
        target_bC = optax.smooth_labels(target_bC, smoothing)
    loss_b = -jnp.sum(target_bC * jax.nn.log_softmax(logits_bC), axis=-1)
    return loss_b, (jnp.argmax(logits_bC, axis=-1) == labels_b).astype(jnp.float32)


def shift_images(key: jax.Array, images_BTI: jax.Array, most: int) -> jax.Array:
    """Each image moved by up to `most` pixels down or up and right or left, zeros moving in.

    A pixel is I / T values wide, its channels lying side by side: images are square.
    """
    size, rows, features = images_BTI.shape
    channels = max(1, features // rows)
    padding = ((0, 0), (most, most), (most * channels, most * channels))
    padded = jnp.pad(images_BTI, padding)
    pixel_12 = jnp.array([[1, channels]], jnp.int32)
    offset_B2 = jax.random.randint(key, (size, 2), 0, 2 * most + 1) * pixel_12
    window = partial(jax.lax.dynamic_slice, slice_sizes=(rows, features))
    return jax.vmap(lambda image, offset: window(image, (offset[0], offset[1])))(padded, offset_B2)


def train_segment(
    model: RowLSTM,
    recipe: Recipe,
    capacity: int,
    state: TrainState,
    order_N: jax.Array,
    learning_rate: jax.Array,
    seed: jax.Array,
    images_NTI: jax.Array,
    labels_N: jax.Array,
    order_epoch: jax.Array,
    start: jax.Array,
    stop: jax.Array,
) -> tuple[TrainState, jax.Array, Metrics]:
    """Steps `start` to `stop`, at most `capacity` of them, of one member.

    The bounds are arrays, so a short last segment runs the same compiled program. The order of the
    examples is a pure function of (seed, step): each epoch is a permutation, and what is left of it
    after the last whole batch is not seen in that epoch. Its sort costs as much as a step or two,
    so the int32 order_N of the last step's epoch is returned, and used when it is handed in again
    with that epoch (-1: it is of none). All members are in one epoch: mapped over members with
    `vmap`, where a condition that differs between them would sort in every step, this one does not.
    """
    num_examples = labels_N.shape[0]
    steps_per_epoch = num_examples // recipe.batch_size
    keys = streams(seed)

    def body(step: jax.Array, carry: tuple[TrainState, jax.Array, jax.Array, Metrics]) -> Any:
        state, order_N, order_epoch, metrics = carry
        epoch, position = step // steps_per_epoch, step % steps_per_epoch
        order_N = jax.lax.cond(
            epoch == order_epoch,
            lambda: order_N,
            lambda: epoch_order(keys["order"], epoch, num_examples),
        )
        size = recipe.batch_size
        index_B = jax.lax.dynamic_slice_in_dim(order_N, position * size, size)
        images_BTI, labels_B = images_NTI[index_B], labels_N[index_B]
        if recipe.shift:
            key = jax.random.fold_in(keys["shift"], step)
            images_BTI = shift_images(key, images_BTI, recipe.shift)
        state, seen = train_step(model, recipe, state, images_BTI, labels_B, learning_rate, step)
        metrics = jax.tree.map(lambda buffer, x: buffer.at[step - start].set(x), metrics, seen)
        return state, order_N, epoch, metrics

    empty = Metrics(*(jnp.full(capacity, jnp.nan, jnp.float32) for _ in Metrics._fields))
    carry = (state, order_N, order_epoch, empty)
    state, order_N, _, metrics = jax.lax.fori_loop(start, stop, body, carry)
    return state, order_N, metrics


def evaluate(model: RowLSTM, params: Params, images_NTI: jax.Array, labels_N: jax.Array) -> Score:
    """Mean cross-entropy and number of correct answers over all N examples of a split."""
    folded = fold(model, params)
    num_examples = labels_N.shape[0]
    missing = -num_examples % EVALUATION_BLOCK
    images_NTI = jnp.pad(images_NTI, ((0, missing), (0, 0), (0, 0)))
    labels_N = jnp.pad(labels_N, (0, missing), constant_values=-1)  # no class: no loss, never right

    def block(carry: Score, chunk: tuple[jax.Array, jax.Array]) -> tuple[Score, None]:
        images_bTI, labels_b = chunk
        loss_b, right_b = _cross_entropy(apply_folded(folded, scale(images_bTI)), labels_b)
        ones_b = jnp.ones_like(loss_b)
        right = (right_b @ ones_b).astype(jnp.int32)
        return Score(carry.loss + loss_b @ ones_b, carry.correct + right), None

    blocks = (
        images_NTI.reshape(-1, EVALUATION_BLOCK, *images_NTI.shape[1:]),
        labels_N.reshape(-1, EVALUATION_BLOCK),
    )
    total, _ = jax.lax.scan(block, Score(jnp.float32(0), jnp.int32(0)), blocks)
    return Score(total.loss / num_examples, total.correct)
