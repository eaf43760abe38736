"""A cell: the pointwise formula of a recurrent network, as data and pure functions.

Axes: B batch, I input, H hidden, G = blocks * H. `scan.py` owns all matrix products.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

State = tuple[jax.Array, ...]  # [B,H] each, in the order of `Cell.state`
Extra = dict[str, jax.Array]  # weights of the pointwise formula: [H]; inside a cell [B,H]
Activations = dict[str, jax.Array]  # values to look at, by name, [B,H] each


@dataclass(frozen=True)
class Block:
    """The pre-activations of one gate, [B,H]: x @ W + b + h @ U, without sources it does not read.

    `sources` has one letter for each array that the products read: x, the input, and names of
    states. Blocks with different sources may share a column of the parameters. Blocks that read
    only x come last: they are computed for all time steps at once.
    """

    column: str
    sources: str = "xh"
    scale: float = 1.0  # multiplied into the kernel; 0.5 for the argument of `gate`


@dataclass(frozen=True)
class Cell:
    """A recurrent cell: plain data and pure functions.

    Its parameters are a kernel [I + num_read * H, columns * H], inputs before states, a bias
    [blocks * H], and a vector [H] for each name in `extra`.

    Raises ValueError where the fields contradict each other.
    """

    name: str
    columns: tuple[str, ...]  # names of the kernel's columns, H wide each
    # (z_BG, state, extra) -> new state. z_BG: the pre-activations, block beside block.
    pointwise: Callable[[jax.Array, State, Extra], State]
    blocks: tuple[Block, ...] = ()  # default: one for each column, which reads x and all of `read`
    state: tuple[str, ...] = ("h",)  # names of the states, one letter each; h is the output
    read: tuple[str, ...] = ("h",)  # the states that the products read
    extra: tuple[str, ...] = ()  # names of further weights, [H] each
    forget: str | None = None  # the column to whose bias the forget bias is added
    # The column of the gate that keeps the state, where that is not `forget`. Chrono
    # initialisation opens it.
    keeps: str | None = None
    recurrent_init: str | None = None  # "identity", where the cell's paper starts from it
    # (z_BG, state before, state after, extra) -> values for a report, gates after activation.
    activations: Callable[[jax.Array, State, State, Extra], Activations] | None = None
    # A gradient by hand, for a cell without `extra`; other cells use `jax.vjp` of `pointwise`.
    # pointwise_fwd: (z_BG, state) -> (new state, derivatives, residuals). The derivatives fill
    # [B,G] side by side; the residuals are [B,H] each.
    pointwise_fwd: Callable[[jax.Array, State], tuple[State, State, State]] | None = None
    # pointwise_bwd: (derivatives_BG, residuals, gradient by the new state) -> (gradient by z_BG,
    # gradient by the state before). None stands for a state that only the products read.
    pointwise_bwd: Callable[[jax.Array, State, State], tuple[jax.Array, tuple[Any, ...]]] | None = (
        None
    )

    def __post_init__(self) -> None:
        if not self.blocks:
            sources = "".join(("x", *self.read))
            object.__setattr__(self, "blocks", tuple(Block(c, sources) for c in self.columns))
        wrong = [name for name in self.state if len(name) != 1 or name == "x"]
        columns = {block.column for block in self.blocks}
        unread = {source for block in self.blocks for source in block.sources} - {"x", *self.read}
        only_x = [block.sources == "x" for block in self.blocks]
        gates = {self.forget, self.keeps} - {None, *self.columns}
        by_hand = self.pointwise_fwd is not None
        for condition, problem in (
            (not wrong, f"a state's name is one letter other than x, the input; got {wrong}"),
            (len({*self.state}) == len(self.state), f"a name occurs twice in state {self.state}"),
            ("h" in self.state, f"its state {self.state} has no output h"),
            ({*self.read} <= {*self.state}, f"it reads {self.read}, its state is {self.state}"),
            (columns == {*self.columns}, f"blocks of {columns}, columns {self.columns}"),
            (not unread, f"a block reads {unread}, which is not in `read`, {self.read}"),
            (only_x == sorted(only_x), "blocks that read only x come last"),
            (not gates, f"`forget` and `keeps` are columns; got {gates}, not in {self.columns}"),
            (
                by_hand == (self.pointwise_bwd is not None),
                "pointwise_fwd and pointwise_bwd need each other",
            ),
            (not by_hand or not self.extra, "pointwise_fwd allows no extra weights"),
        ):
            if not condition:
                raise ValueError(f"cell {self.name}: {problem}")

    @property
    def num_read(self) -> int:
        """Returns the number of states that the products read."""
        return len(self.read)

    @property
    def num_state_blocks(self) -> int:
        """Returns the number of blocks that read a state; they come first."""
        return sum(block.sources != "x" for block in self.blocks)

    @property
    def output_index(self) -> int:
        """Returns the index of the output h in the state."""
        return self.state.index("h")

    @property
    def read_indices(self) -> tuple[int, ...]:
        """Returns the indices in the state of the states that the products read."""
        return tuple(self.state.index(name) for name in self.read)


def gate(z_BH: jax.Array) -> jax.Array:
    """Returns sigmoid(2 z), [B,H]: the sigmoid of a block whose scale is 0.5.

    XLA's CPU backend would compute the tanh again in every consumer; the barrier prevents it.
    """
    return 0.5 * lax.optimization_barrier(jnp.tanh(z_BH)) + 0.5
