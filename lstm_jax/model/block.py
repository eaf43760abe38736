"""A block of a model: a recurrent layer in one or both directions, and what stands around it.

`make_blocks` says which blocks a model has. Everything else asks them.

Axes: T time steps, B batch, I input, W numbers that a block puts out at a time step, D = one more
than the inputs of a dense layer, for its bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from lstm_jax.cells import get_cell
from lstm_jax.cells.cell import Activations
from lstm_jax.config.experiment import Experiment
from lstm_jax.model.layer import CellLayer, LayerOutputs, Params

Fused = tuple[Any, ...]  # the weights of a block, ready to run


def make_blocks(member: Experiment, *, decoder: bool = False) -> tuple[Block, ...]:
    """Returns the blocks of a member, the lowest first. Those of its decoder read forwards only.

    The names of their layers in the parameter tree are `lstm`, `lstm_1`, ...; `lstm_reverse` reads
    from the last time step to the first.
    """
    cell, blocks = get_cell(member.cell), list[Block]()
    both = member.bidirectional and not decoder
    for index in range(member.layers):
        name = f"{cell.name}_{index}" if index else cell.name
        num_inputs = blocks[-1].width if blocks else member.hidden_size
        directions = [CellLayer(member, cell, name, num_inputs)]
        if both:
            directions.append(CellLayer(member, cell, f"{name}_reverse", num_inputs, reverse=True))
        blocks.append(Block(tuple(directions), residual=member.residual and index > 0))
    return tuple(blocks)


@dataclass(frozen=True)
class Block:
    """A layer, or two of which one reads backwards, with a residual connection or without."""

    directions: tuple[CellLayer, ...]
    residual: bool  # the inputs are added to the outputs

    @property
    def width(self) -> int:
        """Returns W."""
        return sum(layer.width for layer in self.directions)

    @property
    def one_way(self) -> bool:
        """Returns whether an input reaches the output through one layer alone, read forwards."""
        return len(self.directions) == 1 and not self.residual

    def declare(self) -> None:
        """Declares the block's parameters in the Linen module that is being called."""
        for layer in self.directions:
            layer.declare()

    def fuse(self, params: Params, dense_DI: jax.Array | None = None) -> Fused:
        """Returns the block's weights as `run` takes them; see `CellLayer.fuse`."""
        return tuple(layer.fuse(params, dense_DI) for layer in self.directions)

    def run(
        self,
        fused: Fused,
        x_TBI: jax.Array,
        lengths_B: jax.Array | None = None,
        carry: Any = None,
        *,
        keep_outputs: bool = True,
    ) -> LayerOutputs:
        """Runs the block over all time steps, from `carry` or zeros.

        In both directions the carry has the arrays of both side by side, and no sequence is
        continued.
        """
        ran = [
            layer.run(weights, x_TBI, lengths_B, carry, keep_outputs=keep_outputs)
            for layer, weights in zip(self.directions, fused, strict=True)
        ]
        h_TBW = _side_by_side([one.h_TBW for one in ran]) if keep_outputs else None
        last_BW = _side_by_side([one.last_BW for one in ran])
        if self.residual:
            h_TBW = None if h_TBW is None else h_TBW + x_TBI
            last_BW = last_BW + last_time_step(x_TBI, lengths_B)
        carry = jax.tree.map(lambda *arrays: _side_by_side(arrays), *(one.carry for one in ran))
        return LayerOutputs(h_TBW, last_BW, carry)

    def step(self, fused: Fused, x_BI: jax.Array, carry: Any) -> tuple[jax.Array, Any]:
        """Runs a block that reads forwards over one time step: returns [B,W] and the new carry."""
        (layer,), (weights,) = self.directions, fused
        h_BW, carry = layer.step(weights, x_BI, carry)
        return (h_BW + x_BI if self.residual else h_BW), carry

    def initial_carry(self, batch: int) -> Any:
        """Returns the carry before the first time step of a block that reads forwards."""
        (layer,) = self.directions
        return layer.initial_carry(batch)

    def trace(
        self, fused: Fused, x_TBI: jax.Array, perturbation_TBH: jax.Array | None
    ) -> Activations:
        """Returns the activations of a block that is `one_way`; see `CellLayer.trace`."""
        (layer,), (weights,) = self.directions, fused
        return layer.trace(weights, x_TBI, perturbation_TBH)


def enlarge_recurrent(member: Experiment, params: Params, factor: float) -> Params:
    """Returns the parameters with the recurrent kernels of all layers multiplied by the factor."""
    for block in make_blocks(member):
        for layer in block.directions:
            params = layer.enlarge_recurrent(params, factor)
    return params


def _side_by_side(arrays: Sequence[jax.Array]) -> jax.Array:
    return arrays[0] if len(arrays) == 1 else jnp.concatenate(arrays, axis=-1)


def last_time_step(x_TBW: jax.Array, lengths_B: jax.Array | None) -> jax.Array:
    """Returns the last time step of each sequence, [B,W]; the first one of an empty sequence."""
    if lengths_B is None:
        return x_TBW[-1]
    t_1B1 = jnp.maximum(lengths_B.astype(jnp.int32) - 1, 0)[None, :, None]
    return jnp.take_along_axis(x_TBW, t_1B1, axis=0)[0]
