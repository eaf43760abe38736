"""The parameters of a model and their initial values.

Flax Linen modules declare them here; they compute nothing.

Axes: I input, H hidden, V symbols, G = blocks * H, O outputs.
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
from lstm_jax.tasks.task import DecoderSpec, ModelSpec

Initializer = initializers.Initializer
Params = Any  # a Flax parameter tree: nested dicts of arrays


def init_params(member: Experiment, spec: ModelSpec, key: jax.Array) -> Params:
    """Returns the initial parameters, float32."""
    return ModelParams(member.static_key, spec).init(key)["params"]


class ModelParams(nn.Module):
    """Declares all parameters: a dense layer I -> H, the recurrent layers, a dense head to O.

    The names and initial values are those of the notebook's graph: `lstm` is one kernel [2H, 4H],
    inputs before state, gates i, g, f, o (i, j, f, o in `BasicLSTMCell`). Where a task reads
    symbols, a table [V, H] stands in the place of the first dense layer.
    """

    experiment: Experiment  # only its static fields
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
            self.param("embedding", embedding_init(experiment), shape, jnp.float32)
        else:
            DenseParams((spec.num_features, hidden), *dense, name="input")()
        cell = get_cell(experiment.cell)
        for index in range(experiment.layers):
            for name in layer_names(experiment, cell, index):
                LayerParams(experiment, width if index else hidden, name=name)()
        if spec.decoder is not None:
            DecoderParams(experiment, spec.decoder, name="decoder")()
            width = hidden
        DenseParams((width, spec.num_outputs), *dense, name="output")()


class LayerParams(nn.Module):
    """Declares the parameters of one recurrent layer in one direction; see `cells.cell.Cell`."""

    experiment: Experiment
    num_inputs: int

    @nn.compact
    def __call__(self) -> None:
        cell, hidden = get_cell(self.experiment.cell), self.experiment.hidden_size
        notebook = self.experiment.kernel_init == "notebook" and cell.recurrent_init is None
        kernel_init = initializers.glorot_uniform() if notebook else partial(_init_kernel, cell)
        shape = self.num_inputs + cell.num_read * hidden, len(cell.columns) * hidden
        self.param("kernel", kernel_init, shape, jnp.float32)
        bias_init = _bias_init(cell, self.experiment.chrono_steps)
        self.param("bias", bias_init, (len(cell.blocks) * hidden,), jnp.float32)
        for name in cell.extra:
            self.param(name, initializers.zeros_init(), (hidden,), jnp.float32)


class DecoderParams(nn.Module):
    """Declares a decoder: a table [V, H], its recurrent layers, the dense layers between the
    encoder's states and its own, and attention. `model/attention.py` runs it.
    """

    experiment: Experiment
    decoder: DecoderSpec

    @nn.compact
    def __call__(self) -> None:
        hidden, width = self.experiment.hidden_size, output_width(self.experiment)
        shape = self.decoder.num_symbols, hidden
        self.param("embedding", embedding_init(self.experiment), shape, jnp.float32)
        dense = initializers.lecun_normal(), initializers.zeros_init()
        cell = get_cell(self.experiment.cell)
        for index in range(self.experiment.layers):
            name = layer_names(self.experiment, cell, index)[0]
            LayerParams(self.experiment, hidden, name=name)()
            for state in bridged_states(self.experiment, cell):
                DenseParams((width, hidden), *dense, name=f"{name}_begin_{state}")()
        if self.decoder.attention != "none":
            self.param("score", dense[0], (hidden, width), jnp.float32)
            DenseParams((width + hidden, hidden), *dense, name="mix")()


def embedding_init(member: Experiment) -> Initializer:
    """Returns the initialiser of a table of symbols.

    It is N(0, 1), or with other `kernel_init` than the notebook's a tenth of that, so that a symbol
    that is rare in training has little effect.
    """
    return initializers.normal(1.0 if member.kernel_init == "notebook" else 0.1)


def bridged_states(member: Experiment, cell: Cell) -> tuple[str, ...]:
    """Returns the names of the states that go through a dense layer from encoder to decoder."""
    return cell.state if member.bidirectional else ()


def layer_names(member: Experiment, cell: Cell, index: int) -> list[str]:
    """Returns a layer's names in the parameter tree, one for each direction.

    They are `lstm`, `lstm_1`, ...; `lstm_reverse` reads from the last time step to the first.
    """
    name = f"{cell.name}_{index}" if index else cell.name
    return [name, f"{name}_reverse"] if member.bidirectional else [name]


def output_width(member: Experiment) -> int:
    """Returns how many numbers a layer puts out at a time step: H for each direction."""
    return member.hidden_size * (2 if member.bidirectional else 1)


def _init_kernel(cell: Cell, key: jax.Array, shape: Sequence[int], dtype: Any) -> jax.Array:
    """Returns a kernel: inputs LeCun normal, each recurrent [H,H] orthogonal or the identity."""
    (num_rows, width), count = shape, len(cell.columns)
    hidden = width // count
    num_inputs = num_rows - cell.num_read * hidden
    input_key, *keys = jax.random.split(key, 1 + cell.num_read * count)
    if cell.recurrent_init == "identity":
        squares = [jnp.eye(hidden, dtype=dtype)] * len(keys)
    else:
        squares = [initializers.orthogonal()(k, (hidden, hidden), dtype) for k in keys]
    states = [jnp.concatenate(squares[i : i + count], axis=1) for i in range(0, len(keys), count)]
    inputs = initializers.lecun_normal()(input_key, (num_inputs, width), dtype)
    return jnp.concatenate([inputs, *states])


def _bias_init(cell: Cell, chrono_steps: int) -> Initializer:
    """Returns the initialiser of a layer's bias: zeros, or with `chrono_steps` the chrono one.

    Tallec and Ollivier, "Can recurrent neural networks warp time?" (2018), equation 16. It needs a
    gate that keeps the state: a forget gate or, by their equation 10, a GRU's update gate.
    """
    keeps = cell.keeps or cell.forget
    if not chrono_steps or keeps is None:
        return initializers.zeros_init()

    def chrono(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        hidden = shape[0] // len(cell.blocks)
        keep_H = jnp.log(jax.random.uniform(key, (hidden,), dtype, 1.0, chrono_steps - 1.0))
        of_column = {keeps: keep_H, "i": -keep_H}
        zeros_H = jnp.zeros_like(keep_H)
        return jnp.concatenate([of_column.get(block.column, zeros_H) for block in cell.blocks])

    return chrono
