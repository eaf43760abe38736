"""A model run from its inputs to the outputs of its head: pure functions of fused parameters.

`apply_model` is the whole model in training and in scoring. `run_layers` runs the recurrent layers,
`encode` and `run_decoder` the two halves of a model that writes sequences.

Axes: T time steps, S time steps of the target, B batch, I input, V symbols, H hidden, W numbers
that a layer puts out at a time step (H of each direction), O outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp

from lstm_jax.cells.cell import Activations
from lstm_jax.cells.ordered_matmul import append_ones, matmul
from lstm_jax.cells.precision import product, products_in
from lstm_jax.config.experiment import Experiment
from lstm_jax.errors import UserError
from lstm_jax.model.attention import Encoded, attend, bridge
from lstm_jax.model.block import make_blocks
from lstm_jax.model.directions import Directions, DrivenLayer
from lstm_jax.model.dropout import dropout
from lstm_jax.model.embedding import look_up
from lstm_jax.model.fused_params import FusedParams
from lstm_jax.model.layer import LayerOutputs
from lstm_jax.tasks.task import Inputs, ModelSpec

Function = TypeVar("Function", bound=Callable[..., Any])


def _in_its_precision(function: Function) -> Function:
    """Returns the function with its products in the precision of the member, its first argument."""

    @wraps(function)
    def in_its_precision(member: Experiment, *arguments: Any, **options: Any) -> Any:
        with products_in(member.precision):
            return function(member, *arguments, **options)

    return cast(Function, in_its_precision)


@_in_its_precision
def apply_model(
    member: Experiment,
    spec: ModelSpec,
    fused: FusedParams,
    inputs: Inputs,
    dropout_key: jax.Array | None = None,
) -> jax.Array:
    """Returns the head's outputs, float32 [B,O], or [T,B,O] where the task asks at all time steps.

    A model with a decoder returns [S,B,O]. With a dropout key outputs of layers are dropped as in
    training. Raises UserError where the member's backend cannot run the task; it never takes
    another backend instead.
    """
    num_keys = member.layers if spec.decoder is None else 2 * member.layers
    keys: list[jax.Array | None] = [None] * num_keys
    if dropout_key is not None:
        keys = [jax.random.fold_in(dropout_key, index) for index in range(num_keys)]
    pools = reads_mean(member, spec)
    all_outputs = spec.per_step_outputs or pools
    if spec.decoder is not None:
        encoded = encode(member, fused, inputs, keys[: member.layers])
        decoder_keys = keys[member.layers :]
        outputs = run_decoder(member, fused, encoded, inputs.decoder_inputs_SB, decoder_keys)
        h = attend(encoded, outputs.h_TBW)
    else:
        outputs = run_layers(member, fused, inputs, keys, keep_outputs=all_outputs)
        if spec.per_step_outputs:
            h = outputs.h_TBW
        elif pools:
            h = mean_over_time(outputs.h_TBW, inputs.lengths_B)
        else:
            h = outputs.last_BW
    return apply_head(member, fused, dropout(member, keys[-1], h))


@_in_its_precision
def encode(
    member: Experiment, fused: FusedParams, inputs: Inputs, keys: Sequence[jax.Array | None] = ()
) -> Encoded:
    """Returns all that the decoder needs of the source.

    `keys` has a dropout key for each layer; the last one drops the outputs that attention reads.
    """
    assert fused.decoder is not None, "the model has no decoder"
    attends = fused.decoder.attention is not None
    outputs = run_layers(member, fused, inputs, keys, keep_outputs=attends)
    carry = bridge(fused.decoder, outputs.carry)
    h_TBW = dropout(member, keys[-1], outputs.h_TBW) if attends and keys else outputs.h_TBW
    return Encoded(fused.decoder, carry, h_TBW, inputs.lengths_B)


@_in_its_precision
def run_decoder(
    member: Experiment,
    fused: FusedParams,
    encoded: Encoded,
    decoder_inputs_SB: Any,
    keys: Sequence[jax.Array | None] = (),
) -> LayerOutputs:
    """Runs the decoder's layers from the carry of `encoded`.

    decoder_inputs_SB, int32, has the symbol before each one that is to be written.
    """
    decoder = FusedParams(encoded.decoder.layers, fused.head_DO, encoded.decoder.embedding_VH)
    return run_layers(
        member, decoder, Inputs(decoder_inputs_SB), keys, keep_outputs=True, carry=encoded.carry,
        decoder=True,
    )  # fmt: skip


@_in_its_precision
def run_layers(
    member: Experiment,
    fused: FusedParams,
    inputs: Inputs,
    keys: Sequence[jax.Array | None] = (),
    *,
    keep_outputs: bool,
    carry: tuple[Any, ...] | None = None,
    decoder: bool = False,
) -> LayerOutputs:
    """Runs all recurrent layers, each on the outputs of the one below, from `carry` or zeros.

    `keys` has a dropout key for each layer; none drops nothing.
    """
    blocks = make_blocks(member, decoder=decoder)
    h_TBW, last, carries = embed_inputs(fused, inputs), len(blocks) - 1, []
    for index, (block, weights) in enumerate(zip(blocks, fused.layers, strict=True)):
        before = None if carry is None else carry[index]
        keep = keep_outputs or index < last
        key = keys[index] if keys else None
        h_TBW, last_BW, after = block.run(
            weights, h_TBW, inputs.lengths_B, before, keep_outputs=keep, key=key
        )
        carries.append(after)
    return LayerOutputs(h_TBW, last_BW, tuple(carries))


@_in_its_precision
def step_layers(
    member: Experiment, fused: FusedParams, x_B: jax.Array, carry: tuple[Any, ...]
) -> tuple[jax.Array, tuple[Any, ...]]:
    """Runs all recurrent layers over one time step: returns [B,W] and the new carry.

    `x_B` are symbols, int32, or numbers, float32 [B,I]. The layers must read forwards.
    """
    h_BW = embed_inputs(fused, Inputs(x_B))
    carries = []
    for block, weights, before in zip(make_blocks(member), fused.layers, carry, strict=True):
        h_BW, after = block.step(weights, h_BW, before)
        carries.append(after)
    return h_BW, tuple(carries)


def initial_carry(member: Experiment, batch: int) -> tuple[Any, ...]:
    """Returns the carry before the first time step, for each layer."""
    return tuple(block.initial_carry(batch) for block in make_blocks(member))


def reads_mean(member: Experiment, spec: ModelSpec) -> bool:
    """Returns whether the head reads the mean of the outputs of all time steps.

    Raises UserError where the experiment wants so and the task asks at every time step.
    """
    if member.read_out == "last":
        return spec.mean_pool
    if spec.per_step_outputs or spec.decoder is not None:
        raise UserError(
            f"read_out: the task {member.task.name} asks at every time step, so there is no mean "
            "to read; use last"
        )
    return True


def can_trace(member: Experiment, spec: ModelSpec) -> bool:
    """Returns whether `trace_last_layer` shows the whole way from an input to the head: through
    the recurrent layers alone, read forwards.
    """
    return not why_not_traced(member, spec)


def why_not_traced(member: Experiment, spec: ModelSpec) -> str:
    """Returns why a model does not pass `can_trace`, as the end of a sentence; "" where it does."""
    if spec.decoder is not None:
        return "a decoder stands between the last recurrent layer and the answer"
    if reads_mean(member, spec):
        return "the head reads the mean over all time steps, not the last one"
    if not all(block.one_way for block in make_blocks(member)):
        return "that needs cells (no layers of your own) in plain blocks that all read forwards"
    return ""


@_in_its_precision
def trace_last_layer(
    member: Experiment,
    fused: FusedParams,
    inputs: Inputs,
    perturbation_TBH: jax.Array | None = None,
) -> Activations:
    """Returns the activations of the last recurrent layer, [T,B,H] each; see `scan.trace`.

    The model must pass `can_trace`.
    """
    x_TBW = embed_inputs(fused, inputs)
    *below, top = zip(make_blocks(member), fused.layers, strict=True)
    for block, weights in below:
        x_TBW = block.run(weights, x_TBW, inputs.lengths_B).h_TBW
    block, weights = top
    assert isinstance(block, Directions), "the model does not pass `can_trace`"
    return block.trace(weights, x_TBW, perturbation_TBH)


def driven_layers(member: Experiment, fused: FusedParams, inputs: Inputs) -> list[DrivenLayer]:
    """Returns all recurrent layers with what they read, the lowest first.

    Of a model with a decoder they are the encoder's.
    """
    x_TBW, driven = embed_inputs(fused, inputs), list[DrivenLayer]()
    blocks = make_blocks(member)
    for index, (block, weights) in enumerate(zip(blocks, fused.layers, strict=True)):
        driven += block.driven_layers(weights, x_TBW, inputs.lengths_B)
        if index < len(blocks) - 1:
            x_TBW = block.run(weights, x_TBW, inputs.lengths_B).h_TBW
    return driven


def embed_inputs(fused: FusedParams, inputs: Inputs) -> jax.Array:
    """Returns the inputs of the first layer, float32 [T,B,I]: numbers, or rows of the table."""
    if fused.embedding_VH is None:
        return inputs.x_TBI
    return look_up(fused.embedding_VH, inputs.x_TBI)


@_in_its_precision
def apply_head(member: Experiment, fused: FusedParams, h: jax.Array) -> jax.Array:
    """Returns the head's outputs [..., O] for outputs [..., W] of the last layer."""
    rows = append_ones(h)
    return matmul(rows, fused.head_DO) if h.ndim == 3 else product(rows, fused.head_DO)


def mean_over_time(h_TBW: jax.Array, lengths_B: jax.Array | None) -> jax.Array:
    """Returns the mean over the time steps of each sequence, [B,W]; zero for an empty sequence.

    It is a matrix product: the order of a plain sum may depend on the number of threads.
    """
    num_steps, batch = h_TBW.shape[:2]
    if lengths_B is None:
        lengths_B = jnp.full(batch, num_steps, jnp.int32)
    inside_TB = jnp.arange(num_steps, dtype=jnp.int32)[:, None] < lengths_B[None]
    share_B = 1 / jnp.maximum(lengths_B, 1).astype(jnp.float32)
    share_TB = jnp.where(inside_TB, share_B[None], jnp.float32(0))
    return jnp.einsum("tb,tbw->bw", share_TB, h_TBW)
