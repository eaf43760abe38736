"""The blocks of a model: `make_blocks` says which it has, and everything else asks them."""

from __future__ import annotations

from lstm_jax.config.blocks import Plain, Residual
from lstm_jax.config.experiment import Experiment
from lstm_jax.errors import UserError
from lstm_jax.model.directions import Directions, make_directions
from lstm_jax.model.layer import CellLayer, Params
from lstm_jax.model.residual_block import ResidualBlock

Block = Directions | ResidualBlock


def make_blocks(member: Experiment, *, decoder: bool = False) -> tuple[Block, ...]:
    """Returns the blocks of a member, the lowest first. Those of its decoder read forwards only."""
    if not isinstance(member.block, Plain | Residual):
        raise UserError(
            f"block: {member.block.name} is neither plain nor residual; a block of your own is a "
            "class that extends Residual"
        )
    blocks, hidden = list[Block](), member.hidden_size
    both = member.bidirectional and not decoder
    for index in range(member.layers):
        is_last = index == member.layers - 1
        if isinstance(member.block, Residual):
            units = max(1, round(member.block.expand * hidden))
            num_inputs = units if member.block.projects else hidden
            layer = make_directions(member, index, num_inputs, units, both=both)
            blocks.append(ResidualBlock(member, index, layer, is_last))
        else:
            num_inputs = blocks[-1].width if blocks else hidden
            blocks.append(
                make_directions(
                    member, index, num_inputs, hidden, both=both, drops_outputs=not is_last
                )
            )
    return tuple(blocks)


def sets_time_scales(member: Experiment) -> bool:
    """Returns whether `chrono_steps` has an effect on the initial values of a member's layers."""
    return all(layer.sets_time_scales for block in make_blocks(member) for layer in block.layers)


def enlarge_recurrent(member: Experiment, params: Params, factor: float) -> Params:
    """Returns the parameters with the recurrent kernels of all cells multiplied by the factor."""
    for block in make_blocks(member):
        for layer in block.layers:
            if isinstance(layer, CellLayer):
                params = layer.enlarge_recurrent(params, factor)
    return params
