"""A model run from its inputs to the outputs of its head: pure functions of fused parameters.

`apply_model` is the whole model in training and in scoring. `run_layers` runs the recurrent layers,
`encode` and `run_decoder` the two halves of a model that writes sequences.

Axes: T time steps, S time steps of the target, B batch, I input, V symbols, H hidden, W numbers
that a layer puts out at a time step (H of each direction), O outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.cells import get_cell, scan
from lstm_jax.cells.cell import State
from lstm_jax.cells.cudnn import lstm_last_cudnn
from lstm_jax.cells.ordered_matmul import append_ones, matmul
from lstm_jax.config.experiment import Experiment
from lstm_jax.errors import UserError
from lstm_jax.model.attention import Encoded, attend, initial_decoder_states
from lstm_jax.model.embedding import look_up
from lstm_jax.model.fused_params import FusedParams
from lstm_jax.tasks.task import Inputs, ModelSpec


class LayerOutputs(NamedTuple):
    """The results of the recurrent layers."""

    h_TBW: Any  # outputs of the last layer at all time steps; None where they are not kept
    last_BW: jax.Array  # its outputs at the last time step of each sequence
    states: tuple[State, ...]  # final states of all layers; those of both directions side by side


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
    all_outputs = spec.per_step_outputs or spec.mean_pool
    if member.backend == "cudnn":
        if all_outputs or spec.decoder is not None or inputs.lengths_B is not None:
            raise UserError(
                f"backend: cudnn gives the last output of sequences of one length; the task "
                f"{member.task.name} asks for more, use scan"
            )
        (layer,) = fused.layers[0]
        _, h = lstm_last_cudnn(embed_inputs(fused, inputs), layer.kernel_KG)
    elif spec.decoder is not None:
        encoded = encode(member, fused, inputs, keys[: member.layers])
        decoder_keys = keys[member.layers : -1]
        outputs = run_decoder(member, fused, encoded, inputs.decoder_inputs_SB, decoder_keys)
        h = attend(encoded, outputs.h_TBW)
    else:
        outputs = run_layers(member, fused, inputs, keys[:-1], keep_outputs=all_outputs)
        if spec.per_step_outputs:
            h = outputs.h_TBW
        elif spec.mean_pool:
            h = mean_over_time(outputs.h_TBW, inputs.lengths_B)
        else:
            h = outputs.last_BW
    return apply_head(fused, dropout(member, keys[-1], h))


def encode(
    member: Experiment, fused: FusedParams, inputs: Inputs, keys: Sequence[jax.Array | None] = ()
) -> Encoded:
    """Returns all that the decoder needs of the source.

    `keys` has a dropout key for each layer; the last one drops the outputs that attention reads.
    """
    assert fused.decoder is not None, "the model has no decoder"
    attends = fused.decoder.attention is not None
    outputs = run_layers(member, fused, inputs, keys, keep_outputs=attends)
    states = initial_decoder_states(fused.decoder, outputs.states)
    h_TBW = dropout(member, keys[-1], outputs.h_TBW) if attends and keys else outputs.h_TBW
    return Encoded(fused.decoder, states, h_TBW, inputs.lengths_B)


def run_decoder(
    member: Experiment,
    fused: FusedParams,
    encoded: Encoded,
    decoder_inputs_SB: Any,
    keys: Sequence[jax.Array | None] = (),
) -> LayerOutputs:
    """Runs the decoder's layers from the states of `encoded`.

    decoder_inputs_SB, int32, has the symbol before each one that is to be written.
    """
    decoder = FusedParams(encoded.decoder.layers, fused.head_DO, encoded.decoder.embedding_VH)
    inputs = Inputs(decoder_inputs_SB)
    return run_layers(member, decoder, inputs, keys, keep_outputs=True, initial=encoded.states)


def run_layers(
    member: Experiment,
    fused: FusedParams,
    inputs: Inputs,
    keys: Sequence[jax.Array | None] = (),
    *,
    keep_outputs: bool,
    initial: tuple[State, ...] | None = None,
) -> LayerOutputs:
    """Runs all recurrent layers, each on the outputs of the one below, from `initial` or zeros.

    `keys` has a dropout key for the outputs between each two layers; none drops nothing.
    """
    cell, lengths_B = get_cell(member.cell), inputs.lengths_B
    x_TBW, final_states = embed_inputs(fused, inputs), []
    h_TBW: Any = None
    for index in range(member.layers):
        if index:
            x_TBW = dropout(member, keys[index - 1] if keys else None, h_TBW)
        keep = keep_outputs or index < member.layers - 1
        outputs, states = [], []  # of each direction
        for layer, reverse in zip(fused.layers[index], (False, True), strict=False):
            h_TBH, state = scan.run(
                cell, layer.kernel_KG, x_TBW, layer.extra, lengths_B=lengths_B, reverse=reverse,
                initial=None if initial is None else initial[index], keep_outputs=keep,
            )  # fmt: skip
            outputs.append(scan.flip(h_TBH, lengths_B) if keep and reverse else h_TBH)
            states.append(state)
        h_TBW = _side_by_side(outputs) if keep else None
        last_BW = _side_by_side([state[cell.output_index] for state in states])
        if member.residual and index:
            h_TBW = h_TBW + x_TBW if keep else None
            last_BW = last_BW + last_time_step(x_TBW, lengths_B)
        final_states.append(tuple(map(_side_by_side, zip(*states, strict=True))))
    return LayerOutputs(h_TBW, last_BW, tuple(final_states))


def _side_by_side(directions: Sequence[jax.Array]) -> jax.Array:
    return directions[0] if len(directions) == 1 else jnp.concatenate(directions, axis=-1)


def embed_inputs(fused: FusedParams, inputs: Inputs) -> jax.Array:
    """Returns the inputs of the first layer, float32 [T,B,I]: numbers, or rows of the table."""
    if fused.embedding_VH is None:
        return inputs.x_TBI
    return look_up(fused.embedding_VH, inputs.x_TBI)


def apply_head(fused: FusedParams, h: jax.Array) -> jax.Array:
    """Returns the head's outputs [..., O] for outputs [..., W] of the last layer."""
    return matmul(append_ones(h), fused.head_DO) if h.ndim == 3 else append_ones(h) @ fused.head_DO


def dropout(member: Experiment, key: jax.Array | None, h: jax.Array) -> jax.Array:
    """Returns the outputs, each set to zero with the member's probability p, the others / (1 - p).

    See Srivastava et al., "Dropout" (2014). Without a key the outputs are returned as they are.
    """
    if key is None or member.dropout is None:
        return h
    kept = jax.random.uniform(key, h.shape) >= member.dropout
    # A product: XLA turns x / scalar into x * (1 / scalar) in some programs only.
    return jnp.where(kept, h * (1 / (1 - member.dropout)), jnp.float32(0))


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


def last_time_step(x_TBW: jax.Array, lengths_B: jax.Array | None) -> jax.Array:
    """Returns the last time step of each sequence, [B,W]; the first one of an empty sequence."""
    if lengths_B is None:
        return x_TBW[-1]
    t_1B1 = jnp.maximum(lengths_B.astype(jnp.int32) - 1, 0)[None, :, None]
    return jnp.take_along_axis(x_TBW, t_1B1, axis=0)[0]


def zero_states(member: Experiment, batch: int) -> tuple[State, ...]:
    """Returns the states before the first time step, zeros [B,H], for each layer."""
    zeros_BH = jnp.zeros((batch, member.hidden_size), jnp.float32)
    return ((zeros_BH,) * len(get_cell(member.cell).state),) * member.layers
