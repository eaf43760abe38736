"""A recurrent layer in one direction, or two layers of which the second reads backwards.

Axes: T time steps, B batch, I input, W numbers that come out at a time step, D = one more than the
inputs of a dense layer, for its bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.cells import get_cell_or_layer, scan
from lstm_jax.cells.cell import Activations, Cell
from lstm_jax.cells.layer import as_layer
from lstm_jax.cells.linear_cell import LinearCell
from lstm_jax.config.experiment import Experiment
from lstm_jax.errors import UserError
from lstm_jax.model.custom_layer import CustomLayer
from lstm_jax.model.dropout import dropout, zoneout_keys
from lstm_jax.model.layer import CellLayer, LayerOutputs, Params

Fused = tuple[Any, ...]  # the weights of a layer in each direction, ready to run


class DrivenLayer(NamedTuple):
    """A recurrent layer of a model with its weights and with what it reads."""

    layer: CellLayer | CustomLayer
    weights: Any  # as its `run` and `step` take them
    x_TBI: jax.Array  # its inputs in the order in which it reads them


def make_directions(
    member: Experiment,
    index: int,
    num_inputs: int,
    hidden_size: int,
    *,
    both: bool,
    drops_outputs: bool = False,
) -> Directions:
    """Returns the member's layer with this index, which reads forwards, or in both directions.

    Its name in the parameter tree is `lstm`, `lstm_1`, ..., or `layer` for a user's layer;
    `lstm_reverse` reads from the last time step to the first. Raises UserError where the member's
    backend does not run the cell.
    """
    cell, layers = get_cell_or_layer(member.cell), list[CellLayer | CustomLayer]()
    associative = member.backend == "associative"
    if associative and not (isinstance(cell, LinearCell) or hasattr(cell, "associative")):
        raise UserError(
            f"backend: associative runs cells that are linear in their state, such as mingru and "
            f"lru, and mlstm and gated_deltanet, not {member.cell}; use scan"
        )
    if member.zoneout is not None and not (isinstance(cell, Cell) and cell.has_means):
        why = "its states have scales of their own, and no mean"
        if not isinstance(cell, Cell):
            why = "a layer keeps its states itself"
        raise UserError(f"zoneout: it does not fit {member.cell}: {why}; use dropout")
    name = cell.name if isinstance(cell, Cell) else "layer"
    for reverse in (False, True) if both else (False,):
        full_name = (f"{name}_{index}" if index else name) + ("_reverse" if reverse else "")
        arguments = full_name, num_inputs, hidden_size, reverse
        if isinstance(cell, Cell):
            layers.append(CellLayer(member, cell, *arguments))
        else:
            layer: Any = as_layer(cell, hidden_size)
            layer = layer.associative() if associative else layer
            layers.append(CustomLayer(member, layer, *arguments))
    return Directions(member, tuple(layers), drops_outputs)


@dataclass(frozen=True)
class Directions:
    """A layer, or two, the second of which reads backwards. It is the block `plain`."""

    member: Experiment
    layers: tuple[CellLayer | CustomLayer, ...]
    drops_outputs: bool = False  # outputs at all time steps are dropped in training

    @property
    def width(self) -> int:
        """Returns W."""
        return sum(layer.width for layer in self.layers)

    @property
    def one_way(self) -> bool:
        """Returns whether an input reaches the output through one cell alone, read forwards."""
        return len(self.layers) == 1 and isinstance(self.layers[0], CellLayer)

    def declare(self) -> None:
        """Declares the parameters of the layers in the Linen module that is being called."""
        for layer in self.layers:
            layer.declare()

    def fuse(self, params: Params, dense_DI: jax.Array | None = None) -> Fused:
        """Returns the weights as `run` takes them; see `CellLayer.fuse`."""
        return tuple(layer.fuse(params, dense_DI) for layer in self.layers)

    def run(
        self,
        fused: Fused,
        x_TBI: jax.Array,
        lengths_B: jax.Array | None = None,
        carry: Any = None,
        *,
        keep_outputs: bool = True,
        key: jax.Array | None = None,
    ) -> LayerOutputs:
        """Runs the layers over all time steps, from `carry` or zeros. `key` is one of dropout and
        zoneout.

        In both directions the carry has the arrays of both side by side, and no sequence is
        continued.
        """
        keys = zoneout_keys(self.member, key, len(self.layers))
        ran = [
            layer.run(weights, x_TBI, lengths_B, carry, keep_outputs=keep_outputs, key=key)
            for layer, weights, key in zip(self.layers, fused, keys, strict=True)
        ]
        h_TBW = _side_by_side([one.h_TBW for one in ran]) if keep_outputs else None
        last_BW = _side_by_side([one.last_BW for one in ran])
        carry = jax.tree.map(lambda *arrays: _side_by_side(arrays), *(one.carry for one in ran))
        if h_TBW is not None and self.drops_outputs:
            h_TBW = dropout(self.member, key, h_TBW)
        return LayerOutputs(h_TBW, last_BW, carry)

    def step(self, fused: Fused, x_BI: jax.Array, carry: Any) -> tuple[jax.Array, Any]:
        """Runs a layer that reads forwards over one time step: returns [B,W] and the new carry."""
        (layer,), (weights,) = self.layers, fused
        return layer.step(weights, x_BI, carry)

    def initial_carry(self, batch: int) -> Any:
        """Returns the carry before the first time step of a layer that reads forwards."""
        (layer,) = self.layers
        return layer.initial_carry(batch)

    def driven_layers(
        self, fused: Fused, x_TBI: jax.Array, lengths_B: jax.Array | None
    ) -> list[DrivenLayer]:
        """Returns the layer of each direction with its inputs, for these inputs of the block."""
        return [
            DrivenLayer(layer, weights, scan.flip(x_TBI, lengths_B) if layer.reverse else x_TBI)
            for layer, weights in zip(self.layers, fused, strict=True)
        ]

    def trace(
        self, fused: Fused, x_TBI: jax.Array, perturbation_TBH: jax.Array | None
    ) -> Activations:
        """Returns the activations of a layer that is `one_way`; see `CellLayer.trace`."""
        (layer,), (weights,) = self.layers, fused
        assert isinstance(layer, CellLayer), "only a cell has gates"
        return layer.trace(weights, x_TBI, perturbation_TBH)


def _side_by_side(arrays: Sequence[jax.Array]) -> jax.Array:
    return arrays[0] if len(arrays) == 1 else jnp.concatenate(arrays, axis=-1)
