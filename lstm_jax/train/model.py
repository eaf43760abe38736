"""A task's ends and the cells between them: a Linen module that only declares, and pure functions.

Axes: T rows, B batch, I numbers in a row, H hidden, R read back, W = columns * H, G = blocks * H,
O outputs, D = one more than what comes before it, for the bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import initializers

from lstm_jax.cells import get_cell, recurrence
from lstm_jax.cells.cell import Cell
from lstm_jax.cells.cudnn import lstm_last_cudnn
from lstm_jax.cells.linen import Affine
from lstm_jax.errors import UserError
from lstm_jax.experiment import Experiment
from lstm_jax.tasks.task import Ends, Inputs

Initializer = initializers.Initializer
Params = Any  # a Flax parameter tree: nested dicts of arrays


class Layer(NamedTuple):
    """The weights of a recurrent layer, ready to run."""

    kernel_KG: jax.Array  # of recurrence.stack_kernels, the forget bias in it
    extra: dict[str, jax.Array]  # of the cell's pointwise part, [H] each


class Folded(NamedTuple):
    """A model ready to run: what a step differentiates, once for all microbatches of its batch."""

    layers: tuple[Layer, ...]
    head_DO: jax.Array  # [kernel; bias]


class Declared(nn.Module):
    """Declares all parameters, float32: a dense layer I -> H, the cells, a dense head H -> O.

    The names and initial values of the notebook's graph: `lstm` is one kernel [2H, 4H], inputs
    before state, gates i, g, f, o (`BasicLSTMCell`'s i, j, f, o).
    """

    experiment: Experiment  # its static fields alone
    ends: Ends

    @nn.compact
    def __call__(self) -> None:
        hidden = self.experiment.hidden_size
        normal = self.experiment.kernel_init == "notebook"
        kernel_init = initializers.normal(1.0) if normal else initializers.lecun_normal()
        dense = kernel_init, initializers.constant(0.1)
        Affine((self.ends.num_features, hidden), *dense, name="input")()
        cell = get_cell(self.experiment.cell)
        for index in range(self.experiment.layers):
            CellParameters(self.experiment, name=layer_name(cell, index))()
        Affine((hidden, self.ends.num_outputs), *dense, name="output")()


class CellParameters(nn.Module):
    """Declares the parameters of one recurrent layer; see `cells.cell.Cell`."""

    experiment: Experiment

    @nn.compact
    def __call__(self) -> None:
        cell, hidden = get_cell(self.experiment.cell), self.experiment.hidden_size
        notebook = self.experiment.kernel_init == "notebook" and cell.recurrent_init is None
        init = initializers.glorot_uniform() if notebook else partial(_by_parts, cell)
        shape = (1 + cell.num_read) * hidden, len(cell.columns) * hidden
        self.param("kernel", init, shape, jnp.float32)
        bias_init = _bias_init(cell, self.experiment.chrono_steps)
        self.param("bias", bias_init, (len(cell.blocks) * hidden,), jnp.float32)
        for name in cell.extra:
            self.param(name, initializers.zeros_init(), (hidden,), jnp.float32)


def layer_name(cell: Cell, index: int) -> str:
    """Returns the name of a layer in the parameter tree: `lstm`, `lstm_1`, ..."""
    return f"{cell.name}_{index}" if index else cell.name


def init(member: Experiment, ends: Ends, key: jax.Array) -> Params:
    """Returns the initial parameters."""
    return Declared(member.group, ends).init(key)["params"]


def fold(member: Experiment, params: Params) -> Folded:
    """Multiplies the kernels that meet without a nonlinearity between them.

    The same function and the same gradients as layer after layer, with 1.7 times less work at
    I = 28, H = 128. The bias rides along as one more row, so its gradient is a dot product too.
    """
    cell, hidden = get_cell(member.cell), member.hidden_size
    input_DH = _stack(params["input"])
    layers = []
    for index in range(member.layers):
        own = params[layer_name(cell, index)]
        kernel, bias_G = own["kernel"], own["bias"]
        input_kernel_IW = kernel[:hidden]
        if not index:
            # In the order of the cell's blocks, which need not be that of its columns.
            input_DG = input_DH @ kernel[:hidden]
            input_kernel_IW = input_DG[:-1]
            bias_G = _to_blocks(cell, input_DG[-1]) + bias_G
        bias_G = bias_G + _forget(cell, hidden, member.forget_bias)
        kernel_KG = recurrence.stack_kernels(cell, input_kernel_IW, kernel[hidden:], bias_G)
        layers.append(Layer(kernel_KG, {name: own[name] for name in cell.extra}))
    return Folded(tuple(layers), _stack(params["output"]))


def outputs(member: Experiment, ends: Ends, folded: Folded, inputs: Inputs) -> jax.Array:
    """Returns the head's outputs: [B,O] of the last row, or [T,B,O] of every one.

    Raises UserError where the backend does not run such a task: no other is taken silently.
    """
    x_TBI, lengths_B = inputs
    if member.backend == "cudnn":
        if ends.every_row or lengths_B is not None:
            raise UserError(
                f"backend: cudnn reads the last row of sequences of one length; the task "
                f"{member.task.name} asks for more, use scan"
            )
        _, h_BH = lstm_last_cudnn(x_TBI, folded.layers[0].kernel_KG)
        return read_out(folded, h_BH)
    cell = get_cell(member.cell)
    for layer in folded.layers[:-1]:
        x_TBI, _ = recurrence.run(cell, layer.kernel_KG, x_TBI, layer.extra)
    top = folded.layers[-1]
    h, state = recurrence.run(
        cell, top.kernel_KG, x_TBI, top.extra, lengths_B=lengths_B, keep_outputs=ends.every_row
    )
    return read_out(folded, h if ends.every_row else state[cell.output])


def read_out(folded: Folded, h: jax.Array) -> jax.Array:
    """Returns the head's outputs [..., O] of outputs [..., H] of the last layer."""
    return jnp.concatenate([h, jnp.ones_like(h[..., :1])], axis=-1) @ folded.head_DO


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


def _by_parts(cell: Cell, key: jax.Array, shape: Sequence[int], dtype: Any) -> jax.Array:
    """Inputs LeCun normal; recurrent parts orthogonal each, or the identity."""
    hidden, width = shape[1] // len(cell.columns), shape[1]
    input_key, *keys = jax.random.split(key, 1 + cell.num_read * len(cell.columns))
    if cell.recurrent_init == "identity":
        parts = [jnp.eye(hidden, dtype=dtype)] * len(keys)
    else:
        parts = [initializers.orthogonal()(k, (hidden, hidden), dtype) for k in keys]
    count = len(cell.columns)
    rows = [jnp.concatenate(parts[i : i + count], axis=1) for i in range(0, len(parts), count)]
    inputs = initializers.lecun_normal()(input_key, (hidden, width), dtype)
    return jnp.concatenate([inputs, *rows])


def _bias_init(cell: Cell, chrono_steps: int) -> Initializer:
    """Zeros, or those of Tallec and Ollivier, "Can recurrent neural networks warp time?" (2018),
    equation 16, where a cell has a forget gate.
    """
    if not chrono_steps or cell.forget is None:
        return initializers.zeros_init()

    def chrono(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        hidden = shape[0] // len(cell.blocks)
        forget_H = jnp.log(jax.random.uniform(key, (hidden,), dtype, 1.0, chrono_steps - 1.0))
        of_column = {cell.forget: forget_H, "i": -forget_H}
        zeros_H = jnp.zeros_like(forget_H)
        return jnp.concatenate([of_column.get(block.column, zeros_H) for block in cell.blocks])

    return chrono
