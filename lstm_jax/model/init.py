"""The parameters of a model and their initial values.

Flax Linen modules declare them here; they compute nothing.

Axes: I input, H hidden, V symbols, O outputs.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import initializers

from lstm_jax.cells import get_cell
from lstm_jax.cells.linen import DenseParams
from lstm_jax.config.blocks import Residual
from lstm_jax.config.experiment import Experiment
from lstm_jax.errors import UserError
from lstm_jax.model.block import make_blocks
from lstm_jax.model.layer import Initializer, Params
from lstm_jax.tasks.task import DecoderSpec, ModelSpec


def init_params(member: Experiment, spec: ModelSpec, key: jax.Array) -> Params:
    """Returns the initial parameters, float32.

    Raises RuntimeError where the number of parameters is given, and the hidden size is not known.
    """
    if member.parameters is not None and not member.widths:
        raise RuntimeError("the hidden size is not chosen yet; call with_widths first")
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
        hidden = experiment.hidden_size
        normal = experiment.kernel_init == "notebook"
        kernel_init = initializers.normal(1.0) if normal else initializers.lecun_normal()
        dense = kernel_init, initializers.constant(0.1)
        if spec.token_inputs:
            shape = spec.num_features, hidden
            self.param("embedding", embedding_init(experiment), shape, jnp.float32)
        else:
            DenseParams((spec.num_features, hidden), *dense, name="input")()
        blocks = make_blocks(experiment)
        for block in blocks:
            block.declare()
        width = blocks[-1].width
        if spec.decoder is not None:
            width = DecoderParams(experiment, spec.decoder, width, name="decoder")()
        DenseParams((width, spec.num_outputs), *dense, name="output")()


class DecoderParams(nn.Module):
    """Declares a decoder: a table [V, H], its recurrent layers, the dense layers between the
    encoder's states and its own, and attention. `model/attention.py` runs it.
    """

    experiment: Experiment
    decoder: DecoderSpec
    num_encoded: int  # numbers that the encoder puts out at a time step

    @nn.compact
    def __call__(self) -> int:
        """Returns how many numbers the head reads."""
        hidden, width = self.experiment.hidden_size, self.num_encoded
        shape = self.decoder.num_symbols, hidden
        self.param("embedding", embedding_init(self.experiment), shape, jnp.float32)
        dense = initializers.lecun_normal(), initializers.zeros_init()
        bridges, blocks = bridge_names(self.experiment), make_blocks(self.experiment, decoder=True)
        for index, block in enumerate(blocks):
            block.declare()
            units = block.layers[0].width
            for name in bridges[index] if bridges else ():
                DenseParams((2 * units, units), *dense, name=name)()
        if self.decoder.attention == "none":
            return blocks[-1].width
        self.param("score", dense[0], (blocks[-1].width, width), jnp.float32)
        DenseParams((width + blocks[-1].width, hidden), *dense, name="mix")()
        return hidden


def embedding_init(member: Experiment) -> Initializer:
    """Returns the initialiser of a table of symbols.

    It is N(0, 1), or with other `kernel_init` than the notebook's a tenth of that, so that a symbol
    that is rare in training has little effect.
    """
    return initializers.normal(1.0 if member.kernel_init == "notebook" else 0.1)


def bridge_names(member: Experiment) -> tuple[tuple[str, ...], ...]:
    """Returns, for each layer, the names of the dense layers through which the encoder's last
    states go to the decoder; nothing where an encoder reads in one direction and hands them over.
    """
    if not member.bidirectional:
        return ()
    if isinstance(member.block, Residual) and member.block.conv:
        raise UserError(
            "block.conv: an encoder that reads in both directions has no last inputs to hand over "
            "to a decoder; use 0"
        )
    names = (block.layers[0].name for block in make_blocks(member, decoder=True))
    return tuple(
        tuple(f"{name}_begin_{state}" for state in get_cell(member.cell).state) for name in names
    )
