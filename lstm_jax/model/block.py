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

from lstm_jax.cells import get_cell_or_layer
from lstm_jax.cells.cell import Activations, Cell
from lstm_jax.cells.layer import as_layer
from lstm_jax.config.experiment import Experiment
from lstm_jax.model.custom_layer import CustomLayer
from lstm_jax.model.layer import CellLayer, LayerOutputs, Params, last_time_step

Fused = tuple[Any, ...]  # the weights of a block, ready to run


def make_blocks(member: Experiment, *, decoder: bool = False) -> tuple[Block, ...]:
    """Returns the blocks of a member, the lowest first. Those of its decoder read forwards only.

    The names of their layers in the parameter tree are `lstm`, `lstm_1`, ..., or `layer` for a
    user's layer; `lstm_reverse` reads from the last time step to the first.
    """
    blocks = list[Block]()
    both = member.bidirectional and not decoder
    for index in range(member.layers):
        num_inputs = blocks[-1].width if blocks else member.hidden_size
        directions = tuple(
            _make_layer(member, index, num_inputs, reverse)
            for reverse in ((False, True) if both else (False,))
        )
        blocks.append(Block(directions, residual=member.residual and index > 0))
    return tuple(blocks)


def _make_layer(
    member: Experiment, index: int, num_inputs: int, reverse: bool
) -> CellLayer | CustomLayer:
    cell = get_cell_or_layer(member.cell)
    name = cell.name if isinstance(cell, Cell) else "layer"
    name = f"{name}_{index}" if index else name
    name = f"{name}_reverse" if reverse else name
    if isinstance(cell, Cell):
        return CellLayer(member, cell, name, num_inputs, reverse)
    return CustomLayer(member, as_layer(cell, member.hidden_size), name, num_inputs, reverse)


@dataclass(frozen=True)
class Block:
    """A layer, or two of which one reads backwards, with a residual connection or without."""

    directions: tuple[CellLayer | CustomLayer, ...]
    residual: bool  # the inputs are added to the outputs

    @property
    def width(self) -> int:
        """Returns W."""
        return sum(layer.width for layer in self.directions)

    @property
    def one_way(self) -> bool:
        """Returns whether an input reaches the output through one cell alone, read forwards."""
        (layer, *others), residual = self.directions, self.residual
        return isinstance(layer, CellLayer) and not others and not residual

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
        assert isinstance(layer, CellLayer), "only a cell has gates"
        return layer.trace(weights, x_TBI, perturbation_TBH)


def enlarge_recurrent(member: Experiment, params: Params, factor: float) -> Params:
    """Returns the parameters with the recurrent kernels of all cells multiplied by the factor."""
    for block in make_blocks(member):
        for layer in block.directions:
            if isinstance(layer, CellLayer):
                params = layer.enlarge_recurrent(params, factor)
    return params


def _side_by_side(arrays: Sequence[jax.Array]) -> jax.Array:
    return arrays[0] if len(arrays) == 1 else jnp.concatenate(arrays, axis=-1)
