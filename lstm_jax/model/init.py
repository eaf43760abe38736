"""Which parameters a model has and what they start from: a Linen module that only declares.

Axes: I numbers in a row, V symbols, H hidden, G = blocks * H, O outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import initializers

from lstm_jax.cells import get_cell
from lstm_jax.cells.cell import Cell
from lstm_jax.cells.linen import DenseParams
from lstm_jax.config.experiment import Experiment
from lstm_jax.tasks.task import Decoder, ModelSpec

Initializer = initializers.Initializer
Params = Any  # a Flax parameter tree: nested dicts of arrays


class ModelParams(nn.Module):
    """Declares all parameters, float32: a dense layer I -> H, the cells, a dense head to O.

    The names and initial values of the notebook's graph: `lstm` is one kernel [2H, 4H], inputs
    before state, gates i, g, f, o (`BasicLSTMCell`'s i, j, f, o). Symbols are looked up in a table
    [V, H] instead of the first dense layer.
    """

    experiment: Experiment  # its static fields alone
    spec: ModelSpec

    @nn.compact
    def __call__(self) -> None:
        experiment, spec = self.experiment, self.spec
        hidden, width = experiment.hidden_size, output_width(experiment)
        normal = experiment.kernel_init == "notebook"
        kernel_init = initializers.normal(1.0) if normal else initializers.lecun_normal()
        dense = kernel_init, initializers.constant(0.1)
        if spec.token_inputs:
            shape = spec.num_features, hidden
            self.param("embedding", table_init(experiment), shape, jnp.float32)
        else:
            DenseParams((spec.num_features, hidden), *dense, name="input")()
        cell = get_cell(experiment.cell)
        for index in range(experiment.layers):
            for name in layer_names(experiment, cell, index):
                CellParams(experiment, width if index else hidden, name=name)()
        if spec.decoder is not None:
            DecoderParams(experiment, spec.decoder, name="decoder")()
            width = hidden
        DenseParams((width, spec.num_outputs), *dense, name="output")()


class CellParams(nn.Module):
    """Declares the parameters of one recurrent layer; see `cells.cell.Cell`."""

    experiment: Experiment
    num_inputs: int

    @nn.compact
    def __call__(self) -> None:
        cell, hidden = get_cell(self.experiment.cell), self.experiment.hidden_size
        notebook = self.experiment.kernel_init == "notebook" and cell.recurrent_init is None
        init = initializers.glorot_uniform() if notebook else partial(_by_parts, cell)
        shape = self.num_inputs + cell.num_read * hidden, len(cell.columns) * hidden
        self.param("kernel", init, shape, jnp.float32)
        bias_init = _bias_init(cell, self.experiment.chrono_steps)
        self.param("bias", bias_init, (len(cell.blocks) * hidden,), jnp.float32)
        for name in cell.extra:
            self.param(name, initializers.zeros_init(), (hidden,), jnp.float32)


class DecoderParams(nn.Module):
    """Declares what a decoder has: a table [V, H], its recurrent layers, in one direction, and what
    `train/decoder.py` does beside them.
    """

    experiment: Experiment
    decoder: Decoder

    @nn.compact
    def __call__(self) -> None:
        hidden, width = self.experiment.hidden_size, output_width(self.experiment)
        shape = self.decoder.num_symbols, hidden
        self.param("embedding", table_init(self.experiment), shape, jnp.float32)
        dense = initializers.lecun_normal(), initializers.zeros_init()
        cell = get_cell(self.experiment.cell)
        for index in range(self.experiment.layers):
            name = layer_names(self.experiment, cell, index)[0]
            CellParams(self.experiment, hidden, name=name)()
            for state in bridged(self.experiment, cell):
                DenseParams((width, hidden), *dense, name=f"{name}_begin_{state}")()
        if self.decoder.attention != "none":
            self.param("score", dense[0], (hidden, width), jnp.float32)
            DenseParams((width + hidden, hidden), *dense, name="mix")()


def table_init(member: Experiment) -> Initializer:
    """Returns how a table of symbols starts: N(0, 1), or a tenth of that, so that a symbol that is
    rare in training says little.
    """
    return initializers.normal(1.0 if member.kernel_init == "notebook" else 0.1)


def bridged(member: Experiment, cell: Cell) -> tuple[str, ...]:
    """Returns the names of the states that go through a dense layer from encoder to decoder."""
    return cell.state if member.bidirectional else ()


def layer_names(member: Experiment, cell: Cell, index: int) -> list[str]:
    """Returns a layer's names in the parameter tree: `lstm`, `lstm_1`, ..., one for each direction
    of reading: `lstm_reverse` reads from the last row to the first.
    """
    name = f"{cell.name}_{index}" if index else cell.name
    return [name, f"{name}_reverse"] if member.bidirectional else [name]


def output_width(member: Experiment) -> int:
    """Returns how many numbers a layer hands on for each row: H of each direction."""
    return member.hidden_size * (2 if member.bidirectional else 1)


def init(member: Experiment, spec: ModelSpec, key: jax.Array) -> Params:
    """Returns the initial parameters."""
    return ModelParams(member.static_key, spec).init(key)["params"]


def _by_parts(cell: Cell, key: jax.Array, shape: Sequence[int], dtype: Any) -> jax.Array:
    """Inputs LeCun normal; recurrent parts orthogonal each, or the identity."""
    hidden, width = shape[1] // len(cell.columns), shape[1]
    num_inputs = shape[0] - cell.num_read * hidden
    input_key, *keys = jax.random.split(key, 1 + cell.num_read * len(cell.columns))
    if cell.recurrent_init == "identity":
        parts = [jnp.eye(hidden, dtype=dtype)] * len(keys)
    else:
        parts = [initializers.orthogonal()(k, (hidden, hidden), dtype) for k in keys]
    count = len(cell.columns)
    rows = [jnp.concatenate(parts[i : i + count], axis=1) for i in range(0, len(parts), count)]
    inputs = initializers.lecun_normal()(input_key, (num_inputs, width), dtype)
    return jnp.concatenate([inputs, *rows])


def _bias_init(cell: Cell, chrono_steps: int) -> Initializer:
    """Zeros, or those of Tallec and Ollivier, "Can recurrent neural networks warp time?" (2018),
    equation 16, where a cell has a gate that keeps its state: a forget gate, or the update gate of
    a GRU, to which their equation 10 leads.
    """
    keeps = cell.keeps or cell.forget
    if not chrono_steps or keeps is None:
        return initializers.zeros_init()

    def chrono(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        hidden = shape[0] // len(cell.blocks)
        forget_H = jnp.log(jax.random.uniform(key, (hidden,), dtype, 1.0, chrono_steps - 1.0))
        of_column = {keeps: forget_H, "i": -forget_H}
        zeros_H = jnp.zeros_like(forget_H)
        return jnp.concatenate([of_column.get(block.column, zeros_H) for block in cell.blocks])

    return chrono
