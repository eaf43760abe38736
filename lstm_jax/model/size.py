"""The number of parameters of a model, and the hidden size that leads to a number of them."""

from __future__ import annotations

import math
from functools import partial

import jax

from lstm_jax.cells import get_cell_or_layer
from lstm_jax.cells.cell import Cell
from lstm_jax.components import copy_with
from lstm_jax.config.experiment import Experiment
from lstm_jax.config.experiment_fields import MAX_HIDDEN_SIZE
from lstm_jax.errors import UserError
from lstm_jax.model.init import init_params
from lstm_jax.tasks.task import ModelSpec

TOLERANCE = 0.02  # of the number of parameters that was asked for


def num_parameters(member: Experiment, spec: ModelSpec) -> int:
    """Returns the number of parameters of a member's model. It computes shapes alone."""
    shapes = jax.eval_shape(partial(init_params, member, spec), jax.random.key(0))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


def choose_width(member: Experiment, spec: ModelSpec, target: int) -> tuple[int, int]:
    """Returns the hidden size whose number of parameters is closest to `target`, and that number.

    Raises UserError where it is more than 2 % off.
    """

    heads = _heads(member)  # a hidden size is a multiple of them

    def count(multiple: int) -> int:
        hidden_size = multiple * heads
        sizes = {"hidden_size": hidden_size, "widths": (("", hidden_size),)}
        return num_parameters(copy_with(member, sizes), spec)

    largest = MAX_HIDDEN_SIZE // heads
    below, above = 0, 1  # the largest that has too few, or exactly so many; the next candidate
    while above <= largest and count(above) <= target:
        below, above = above, 2 * above
    above = min(above, largest + 1)
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (middle, above) if count(middle) <= target else (below, middle)
    nearest = {heads * n: count(n) for n in (below, above) if 0 < n <= largest}
    width = min(nearest, key=lambda h: abs(nearest[h] - target))
    if abs(nearest[width] - target) > TOLERANCE * target:
        options = " and ".join(f"{number:,} with {h} units" for h, number in nearest.items())
        raise UserError(
            f"parameters: {member.cell} cannot have {target:,} within 2 %: it has {options}"
        )
    return width, nearest[width]


def _heads(member: Experiment) -> int:
    """Returns a number that divides every hidden size which the member's cell can have."""
    cell = get_cell_or_layer(member.cell)
    return math.lcm(cell.input_heads, cell.recurrent_heads) if isinstance(cell, Cell) else 1
