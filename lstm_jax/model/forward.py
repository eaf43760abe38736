"""A model run: its ends and the cells between them, as pure functions of the parameters.

Axes: T rows, B batch, I numbers in a row, V symbols, H hidden, W numbers that a layer hands on (H
of each direction), R read back, G = blocks * H, O outputs, D = one more than what comes before it,
for the bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.cells import get_cell, scan
from lstm_jax.cells.cell import Cell, State
from lstm_jax.cells.cudnn import lstm_last_cudnn
from lstm_jax.cells.matmul import matmul
from lstm_jax.config.experiment import Experiment
from lstm_jax.errors import UserError
from lstm_jax.model.attention import Attention, Decoder, Encoded, attend, begin
from lstm_jax.model.embedding import look_up
from lstm_jax.model.init import Params, bridged, layer_names
from lstm_jax.tasks.task import Inputs, ModelSpec


class Layer(NamedTuple):
    """The weights of a recurrent layer in one direction, ready to run."""

    kernel_KG: jax.Array  # of scan.stack_kernels, the forget bias in it
    extra: dict[str, jax.Array]  # of the cell's pointwise part, [H] each


class FusedParams(NamedTuple):
    """A model ready to run: what a step differentiates, once for all microbatches of its batch."""

    layers: tuple[tuple[Layer, ...], ...]  # of each layer one for each direction
    head_DO: jax.Array  # [kernel; bias]
    embedding_VH: jax.Array | None
    decoder: Decoder | None = None


class Outputs(NamedTuple):
    """What the recurrent layers hand on."""

    h_TBW: Any  # [T,B,W], of every row; None where nobody asked
    last_BW: jax.Array  # of the last row of each sequence
    states: tuple[State, ...]  # at the end, of each layer; those of both directions side by side


def fuse_kernels(member: Experiment, params: Params) -> FusedParams:
    """Multiplies the kernels that meet without a nonlinearity between them.

    The same function and the same gradients as layer after layer, with 1.7 times less work at
    I = 28, H = 128. The bias rides along as one more row, so its gradient is a dot product too.
    """
    cell = get_cell(member.cell)
    dense_DH = _stack(params["input"]) if "input" in params else None
    layers = []
    for index in range(member.layers):
        below_DH = None if index else dense_DH
        names = layer_names(member, cell, index)
        layers.append(tuple(_layer(member, cell, params[name], below_DH) for name in names))
    writes = _fuse_decoder(member, cell, params["decoder"]) if "decoder" in params else None
    return FusedParams(tuple(layers), _stack(params["output"]), params.get("embedding"), writes)


def _fuse_decoder(member: Experiment, cell: Cell, params: Params) -> Decoder:
    names = [layer_names(member, cell, index)[0] for index in range(member.layers)]
    layers = tuple((_layer(member, cell, params[name], None),) for name in names)
    bridges = tuple(
        tuple(_stack(params[f"{name}_begin_{state}"]) for state in bridged(member, cell))
        for name in names
    )
    attention = None
    if "score" in params:
        attention = Attention(params["score"], _stack(params["mix"]))
    bridges = bridges if any(bridges) else ()
    return Decoder(layers, params["embedding"], bridges, attention)


def _layer(member: Experiment, cell: Cell, own: Params, below_DH: jax.Array | None) -> Layer:
    """A layer's weights, those of the dense layer below it multiplied in."""
    hidden = member.hidden_size
    kernel, bias_G = own["kernel"], own["bias"]
    num_inputs = kernel.shape[0] - cell.num_read * hidden
    input_kernel_IW = kernel[:num_inputs]
    if below_DH is not None:
        # In the order of the cell's blocks, which need not be that of its columns.
        input_DG = below_DH @ kernel[:num_inputs]
        input_kernel_IW = input_DG[:-1]
        bias_G = _to_blocks(cell, input_DG[-1]) + bias_G
    bias_G = bias_G + _forget(cell, hidden, member.forget_bias)
    kernel_KG = scan.stack_kernels(cell, input_kernel_IW, kernel[num_inputs:], bias_G)
    return Layer(kernel_KG, {name: own[name] for name in cell.extra})


def outputs(
    member: Experiment,
    spec: ModelSpec,
    fused: FusedParams,
    inputs: Inputs,
    dropping: jax.Array | None = None,
) -> jax.Array:
    """Returns the head's outputs: [T,B,O] of every row (a decoder's, where it has one), else [B,O].

    With the key `dropping` outputs of layers are dropped as in training. Raises UserError where the
    backend does not run such a task: no other is taken silently.
    """
    keys = _split(dropping, member.layers)
    several = spec.per_step_outputs or spec.mean_pool or spec.decoder is not None
    if member.backend == "cudnn":
        if several or inputs.lengths_B is not None:
            raise UserError(
                f"backend: cudnn reads the last row of sequences of one length; the task "
                f"{member.task.name} asks for more, use scan"
            )
        (layer,) = fused.layers[0]
        _, h = lstm_last_cudnn(rows(fused, inputs), layer.kernel_KG)
    elif spec.decoder is not None:
        keys = _split(dropping, 2 * member.layers)
        encoded = encode(member, fused, inputs, keys[: member.layers])
        above, decoder_inputs_SB = keys[member.layers : -1], inputs.decoder_inputs_SB
        h = attend(encoded, run_decoder(member, fused, encoded, decoder_inputs_SB, above).h_TBW)
    else:
        every = spec.per_step_outputs or spec.mean_pool
        found = run_layers(member, fused, inputs, keys[:-1], keep_outputs=every)
        h = found.last_BW
        if spec.per_step_outputs:
            h = found.h_TBW
        elif spec.mean_pool:
            h = mean_over_rows(found.h_TBW, inputs.lengths_B)
    return read_out(fused, drop(member, keys[-1], h))


def encode(
    member: Experiment, fused: FusedParams, inputs: Inputs, keys: Sequence[jax.Array | None] = ()
) -> Encoded:
    """Returns what the decoder knows of the source; of `keys` the last drops what it attends to."""
    assert fused.decoder is not None, "the model has no decoder"
    attends = fused.decoder.attention is not None
    found = run_layers(member, fused, inputs, keys, keep_outputs=attends)
    states = begin(fused.decoder, found.states)
    h_TBW = drop(member, keys[-1], found.h_TBW) if attends and keys else found.h_TBW
    return Encoded(fused.decoder, states, h_TBW, inputs.lengths_B)


def run_decoder(
    member: Experiment,
    fused: FusedParams,
    encoded: Encoded,
    decoder_inputs_SB: Any,
    keys: Sequence[jax.Array | None] = (),
) -> Outputs:
    """Runs the decoder's layers over the symbol before each row, from the states of `encoded`."""
    own = FusedParams(encoded.decoder.layers, fused.head_DO, encoded.decoder.embedding_VH)
    inputs = Inputs(decoder_inputs_SB)
    return run_layers(member, own, inputs, keys, keep_outputs=True, initial=encoded.states)


def rows(fused: FusedParams, inputs: Inputs) -> jax.Array:
    """Returns the numbers that the first layer reads, float32 [T,B,I]."""
    if fused.embedding_VH is None:
        return inputs.x_TBI
    return look_up(fused.embedding_VH, inputs.x_TBI)


def run_layers(
    member: Experiment,
    fused: FusedParams,
    inputs: Inputs,
    keys: Sequence[jax.Array | None] = (),
    *,
    keep_outputs: bool,
    initial: tuple[State, ...] | None = None,
) -> Outputs:
    """Runs all recurrent layers, each on the outputs of the one below, from `initial` or zeros.

    Between two layers outputs are dropped by the key in `keys`, if it is one.
    """
    h_TBW: Any = None
    x_TBW, states = rows(fused, inputs), []
    for index in range(member.layers):
        if index:
            x_TBW = drop(member, keys[index - 1] if keys else None, h_TBW)
        keep = keep_outputs or index < member.layers - 1
        start = None if initial is None else initial[index]
        h_TBW, last_BW, state = _run_layer(member, fused, index, x_TBW, inputs, start, keep)
        states.append(state)
    return Outputs(h_TBW, last_BW, tuple(states))


def _run_layer(
    member: Experiment,
    fused: FusedParams,
    index: int,
    x_TBW: jax.Array,
    inputs: Inputs,
    initial: State | None,
    keep_outputs: bool,
) -> tuple[Any, jax.Array, State]:
    """Returns a layer's outputs, if kept, the last ones, and the state at the end."""
    cell, lengths_B = get_cell(member.cell), inputs.lengths_B
    found: list[Any] = []
    lasts, states = [], []
    for layer, reverse in zip(fused.layers[index], (False, True), strict=False):
        h_TBH, state = scan.run(
            cell, layer.kernel_KG, x_TBW, layer.extra, lengths_B=lengths_B, initial=initial,
            reverse=reverse, keep_outputs=keep_outputs,
        )  # fmt: skip
        if keep_outputs and reverse:
            h_TBH = scan.flip(h_TBH, lengths_B)
        found.append(h_TBH)
        lasts.append(state[cell.output])
        states.append(state)
    one = len(found) == 1
    h_TBW = found[0] if one or not keep_outputs else jnp.concatenate(found, axis=2)
    last_BW = lasts[0] if one else jnp.concatenate(lasts, axis=1)
    if member.residual and index:
        h_TBW = h_TBW + x_TBW if keep_outputs else None
        last_BW = last_BW + last_row(x_TBW, lengths_B)
    sides = zip(*states, strict=True)
    return h_TBW, last_BW, states[0] if one else tuple(jnp.concatenate(s, axis=1) for s in sides)


def zero_states(member: Experiment, batch: int) -> tuple[State, ...]:
    """Returns the states before the first row, of each layer."""
    zeros_BH = jnp.zeros((batch, member.hidden_size), jnp.float32)
    return ((zeros_BH,) * len(get_cell(member.cell).state),) * member.layers


def last_row(x_TBW: jax.Array, lengths_B: jax.Array | None) -> jax.Array:
    """Returns the last row of each sequence, [B,W]; of one without rows the first."""
    if lengths_B is None:
        return x_TBW[-1]
    at_1B1 = jnp.maximum(lengths_B.astype(jnp.int32) - 1, 0)[None, :, None]
    return jnp.take_along_axis(x_TBW, at_1B1, axis=0)[0]


def mean_over_rows(h_TBW: jax.Array, lengths_B: jax.Array | None) -> jax.Array:
    """Returns the mean over the rows of each sequence, [B,W]: zero of one without rows.

    It is a product, as a plain sum may be ordered by the number of threads.
    """
    num_rows, batch = h_TBW.shape[:2]
    if lengths_B is None:
        lengths_B = jnp.full(batch, num_rows, jnp.int32)
    inside_TB = jnp.arange(num_rows, dtype=jnp.int32)[:, None] < lengths_B[None]
    share_B = 1 / jnp.maximum(lengths_B, 1).astype(jnp.float32)
    share_TB = jnp.where(inside_TB, share_B[None], jnp.float32(0))
    return jnp.einsum("tb,tbw->bw", share_TB, h_TBW)


def drop(member: Experiment, key: jax.Array | None, h: jax.Array) -> jax.Array:
    """Returns the outputs, each dropped with the member's probability, the others enlarged by as
    much (Srivastava et al., "Dropout", 2014); all of them where there is no key.
    """
    if key is None or member.dropout is None:
        return h
    kept = jax.random.uniform(key, h.shape) >= member.dropout
    # A product: XLA makes one of a division by one number in some programs and not in others.
    return jnp.where(kept, h * (1 / (1 - member.dropout)), jnp.float32(0))


def _split(key: jax.Array | None, count: int) -> list[jax.Array | None]:
    if key is None:
        return [None] * count
    return [jax.random.fold_in(key, index) for index in range(count)]


def read_out(fused: FusedParams, h: jax.Array) -> jax.Array:
    """Returns the head's outputs [..., O] of outputs [..., W] of the last layer."""
    h_1 = jnp.concatenate([h, jnp.ones_like(h[..., :1])], axis=-1)
    return matmul(h_1, fused.head_DO) if h.ndim == 3 else h_1 @ fused.head_DO


def _stack(dense: Params) -> jax.Array:
    return jnp.concatenate([dense["kernel"], dense["bias"][None]])


def _to_blocks(cell: Cell, bias_W: jax.Array) -> jax.Array:
    """What an input's bias adds to each block of pre-activations: nothing where x is not taken."""
    columns = dict(zip(cell.columns, jnp.split(bias_W, len(cell.columns)), strict=True))
    blocks = [
        columns[block.column] if "x" in block.takes else jnp.zeros_like(columns[block.column])
        for block in cell.blocks
    ]
    return bias_W if len(blocks) == len(columns) else jnp.concatenate(blocks)


def _forget(cell: Cell, hidden: int, forget_bias: jax.Array | float) -> jax.Array:
    """The forget bias in the place of its gate, float32 [G]."""
    is_forget = [block.column == cell.forget for block in cell.blocks]
    mask_G = jnp.repeat(jnp.array(is_forget), hidden)
    return jnp.where(mask_G, jnp.asarray(forget_bias, jnp.float32), jnp.float32(0))
