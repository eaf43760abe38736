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

from lstm_jax.data import epoch_order
from lstm_jax.model import FoldedRowLSTM, RowLSTM, apply_folded

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


class Score(NamedTuple):
    """Of a whole split. float32 [] and int32 []."""

    loss: jax.Array
    correct: jax.Array


class Batching(NamedTuple):
    """What is fixed when a program is compiled."""

    size: int
    chunks: int
    mesh_axis: str | None = None  # the axis over whose devices the chunks are spread
    mesh_size: int = 1


def streams(seed: jax.Array) -> dict[str, jax.Array]:
    """A member's seed, split once into keys named by their use."""
    init, order = jax.random.split(jax.random.key(seed))
    return {"init": init, "order": order}


def init_state(model: RowLSTM, seed: jax.Array) -> TrainState:
    """The state before the first step, from a uint32 [] seed."""
    params = model.init(streams(seed)["init"], method="fold")["params"]
    return TrainState(params, optimizer.init(params), jnp.int32(-1))


def fold(model: RowLSTM, params: Params) -> FoldedRowLSTM:
    """The model ready to run: once a step, for all chunks of its batch."""
    folded: Any = model.apply({"params": params}, method="fold")
    return folded


def train_step(
    model: RowLSTM,
    batching: Batching,
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
    (loss, accuracy), gradient = _batch_gradient(batching, folded, images_BTI, labels_B)
    # Barriers here and in the sum below: without them XLA fuses Adam with what came before, which
    # is not the same on one device and on several; a bias then differed in its last bit (step 13).
    (gradient,) = jax.lax.optimization_barrier(unfold(gradient))
    norm = optax.tree.norm(gradient)
    alive = (state.diverged_at < 0) & jnp.isfinite(loss) & jnp.isfinite(norm)
    with jax.numpy_dtype_promotion("standard"):  # optax raises a Python float to an int32 count
        updates, adam = optimizer.update(gradient, state.adam)
    params = jax.tree.map(lambda p, u: p - learning_rate * u, state.params, updates)
    params, adam = jax.tree.map(
        partial(jnp.where, alive), (params, adam), (state.params, state.adam)
    )
    diverged_at = jnp.where(alive | (state.diverged_at >= 0), state.diverged_at, step)
    return TrainState(params, adam, diverged_at), Metrics(loss, accuracy)


def _batch_gradient(
    batching: Batching, folded: FoldedRowLSTM, images_BTI: jax.Array, labels_B: jax.Array
) -> tuple[Metrics, FoldedRowLSTM]:
    """Loss, accuracy and gradient of a batch: the ordered sum over its chunks."""
    _, rows, features = images_BTI.shape
    images_CbTI = images_BTI.reshape(batching.chunks, -1, rows, features)
    labels_Cb = labels_B.reshape(batching.chunks, -1)
    if batching.mesh_axis is not None:
        share = batching.chunks // batching.mesh_size
        first = share * jax.lax.axis_index(batching.mesh_axis)
        images_CbTI = jax.lax.dynamic_slice_in_dim(images_CbTI, first, share)
        labels_Cb = jax.lax.dynamic_slice_in_dim(labels_Cb, first, share)
    gradient_of = jax.value_and_grad(_chunk_loss, has_aux=True)
    parts = jax.lax.map(
        lambda chunk: gradient_of(folded, *chunk, batching.size), (images_CbTI, labels_Cb)
    )
    if batching.mesh_axis is not None:
        parts = jax.lax.all_gather(parts, batching.mesh_axis, tiled=True)
    parts = jax.lax.optimization_barrier(parts)
    total = jax.tree.map(_ordered_sum, parts)
    (loss, correct), gradient = jax.lax.optimization_barrier(total)
    return Metrics(loss, correct / jnp.float32(batching.size)), gradient


def _ordered_sum(parts: jax.Array) -> jax.Array:
    """The sum over the first axis, first to last, never a reduction tree."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _chunk_loss(
    folded: FoldedRowLSTM, images_bTI: jax.Array, labels_b: jax.Array, batch_size: int
) -> tuple[jax.Array, jax.Array]:
    """This chunk's part of the batch's mean cross-entropy, and how many it got right (float32)."""
    loss_b, right_b = _cross_entropy(folded, images_bTI, labels_b)
    weights_b = jnp.full(labels_b.shape, 1.0 / batch_size, jnp.float32)
    return loss_b @ weights_b, right_b @ jnp.ones_like(weights_b)


def _cross_entropy(
    folded: FoldedRowLSTM, images_bTI: jax.Array, labels_b: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Cross-entropy and correctness of each example, float32 [b].

    One-hot labels: the gradient of an integer-label lookup is a scatter, whose order of additions
    a GPU does not fix.
    """
    logits_bC = apply_folded(folded, images_bTI.astype(jnp.float32) / 255.0)
    onehot_bC = jax.nn.one_hot(labels_b, logits_bC.shape[-1], dtype=jnp.float32)
    loss_b = -jnp.sum(onehot_bC * jax.nn.log_softmax(logits_bC), axis=-1)
    return loss_b, (jnp.argmax(logits_bC, axis=-1) == labels_b).astype(jnp.float32)


def train_segment(
    model: RowLSTM,
    batching: Batching,
    capacity: int,
    state: TrainState,
    learning_rate: jax.Array,
    seed: jax.Array,
    images_NTI: jax.Array,
    labels_N: jax.Array,
    start: jax.Array,
    stop: jax.Array,
) -> tuple[TrainState, Metrics]:
    """Steps `start` to `stop`, at most `capacity` of them, of one member.

    The bounds are arrays, so a short last segment runs the same compiled program. The order of the
    examples is a pure function of (seed, step): each epoch is a permutation, and what is left of it
    after the last whole batch is not seen in that epoch.
    """
    num_examples = labels_N.shape[0]
    steps_per_epoch = num_examples // batching.size
    key = streams(seed)["order"]

    def body(step: jax.Array, carry: tuple[TrainState, Metrics, jax.Array]) -> Any:
        state, metrics, order_N = carry
        epoch, position = step // steps_per_epoch, step % steps_per_epoch
        order_N = jax.lax.cond(
            (step == start) | (position == 0),
            lambda: epoch_order(key, epoch, num_examples),
            lambda: order_N,
        )
        index_B = jax.lax.dynamic_slice_in_dim(order_N, position * batching.size, batching.size)
        images_BTI, labels_B = images_NTI[index_B], labels_N[index_B]
        state, seen = train_step(model, batching, state, images_BTI, labels_B, learning_rate, step)
        metrics = jax.tree.map(lambda buffer, x: buffer.at[step - start].set(x), metrics, seen)
        return state, metrics, order_N

    empty = Metrics(*(jnp.full(capacity, jnp.nan, jnp.float32) for _ in Metrics._fields))
    carry = (state, empty, jnp.zeros(num_examples, jnp.int32))
    state, metrics, _ = jax.lax.fori_loop(start, stop, body, carry)
    return state, metrics


def evaluate(model: RowLSTM, params: Params, images_NTI: jax.Array, labels_N: jax.Array) -> Score:
    """Mean cross-entropy and number of correct answers over all N examples of a split."""
    folded = fold(model, params)
    num_examples = labels_N.shape[0]
    missing = -num_examples % EVALUATION_BLOCK
    images_NTI = jnp.pad(images_NTI, ((0, missing), (0, 0), (0, 0)))
    labels_N = jnp.pad(labels_N, (0, missing), constant_values=-1)  # no class: no loss, never right

    def block(carry: Score, chunk: tuple[jax.Array, jax.Array]) -> tuple[Score, None]:
        loss_b, right_b = _cross_entropy(folded, *chunk)
        ones_b = jnp.ones_like(loss_b)
        right = (right_b @ ones_b).astype(jnp.int32)
        return Score(carry.loss + loss_b @ ones_b, carry.correct + right), None

    blocks = (
        images_NTI.reshape(-1, EVALUATION_BLOCK, *images_NTI.shape[1:]),
        labels_N.reshape(-1, EVALUATION_BLOCK),
    )
    total, _ = jax.lax.scan(block, Score(jnp.float32(0), jnp.int32(0)), blocks)
    return Score(total.loss / num_examples, total.correct)
