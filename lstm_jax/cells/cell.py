"""What a cell is: the part of a recurrent network that is its own, its pointwise formula.

Axes: B batch, H hidden, G = blocks * H. All products belong to `recurrence.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

State = tuple[jax.Array, ...]  # [B,H] each, in the order of `Cell.state`
Extra = dict[str, jax.Array]  # per-unit weights, [H]; inside a cell [B,H]
Activations = dict[str, jax.Array]


@dataclass(frozen=True)
class Block:
    """One block of pre-activations, H wide: a part of the product [x, 1, r] @ kernel.

    `takes` has a letter for each source: x, the input, and names of state that is read back.
    Blocks that take from different sources may share a column of the parameters. Blocks that take
    from x alone come last: they are computed for all rows at once.
    """

    column: str
    takes: str = "xh"
    scale: float = 1.0  # fused into the kernel; 0.5 for what `gate` is applied to


@dataclass(frozen=True)
class Cell:
    """A recurrent cell: plain data and pure functions.

    Its parameters are a kernel [I + num_read * H, columns * H], inputs before state, a bias
    [blocks * H], and a vector [H] for each name in `extra`.
    """

    name: str
    columns: tuple[str, ...]  # of the kernel, H wide each
    pointwise: Callable[[jax.Array, State, Extra], State]  # (z_BG, state, extra) -> new state
    blocks: tuple[Block, ...] = ()  # none: one for each column, of everything, not scaled
    state: tuple[str, ...] = ("h",)  # single letters; h is the output
    read: tuple[str, ...] = ("h",)  # the state that is read back, r = its parts side by side
    extra: tuple[str, ...] = ()
    forget: str | None = None  # the column to whose bias a forget bias is added
    # The column of the gate that keeps the state as it is, where that is no forget gate: it is what
    # chrono initialisation opens.
    keeps: str | None = None
    recurrent_init: str | None = None  # "identity" where the cell's paper starts from it
    # (z_BG, state before, state after, extra) -> what a report draws, gates after activation.
    activations: Callable[[jax.Array, State, State, Extra], Activations] | None = None
    # A gradient by hand, for a cell without `extra`; `jax.vjp` of `pointwise` serves the others.
    # slopes: (z_BG, state) -> (new state, arrays that fill [B,G] side by side, other arrays);
    # backward: (those [B,G], the others, cotangents of the new state) -> (dz_BG, cotangents of
    # the state, None for a part that only the product reads).
    pointwise_fwd: Callable[[jax.Array, State], tuple[State, State, State]] | None = None
    pointwise_bwd: Callable[[jax.Array, State, State], tuple[jax.Array, tuple[Any, ...]]] | None = (
        None
    )

    def __post_init__(self) -> None:
        if not self.blocks:
            everything = "".join(("x", *self.read))
            object.__setattr__(self, "blocks", tuple(Block(c, everything) for c in self.columns))
        self._expect("h" in self.state, "its state has no output h")
        self._expect(set(self.read) <= set(self.state), f"reads {self.read} of {self.state}")
        self._expect({b.column for b in self.blocks} == set(self.columns), "blocks are not columns")
        unread = {source for block in self.blocks for source in block.takes} - {"x", *self.read}
        self._expect(not unread, f"a block takes {unread}, which is not read back")
        alone = [block.takes == "x" for block in self.blocks]
        self._expect(alone == sorted(alone), "blocks that take from x alone come last")
        for column in (self.forget, self.keeps):
            self._expect(column in (None, *self.columns), f"no column {column!r} to keep by")
        self._expect((self.pointwise_fwd is None) == (self.pointwise_bwd is None), "half a pair")
        self._expect(self.pointwise_fwd is None or not self.extra, "a pair has no extra weights")

    def _expect(self, holds: bool, problem: str) -> None:
        if not holds:
            raise ValueError(f"cell {self.name}: {problem}")

    @property
    def num_read(self) -> int:
        """Returns how many parts of the state, H wide each, are read back."""
        return len(self.read)

    @property
    def num_reading(self) -> int:
        """Returns how many blocks, the first ones, take from more than x."""
        return sum(block.takes != "x" for block in self.blocks)

    @property
    def output(self) -> int:
        """Returns the place of the output h in the state."""
        return self.state.index("h")

    @property
    def read_places(self) -> tuple[int, ...]:
        """Returns the places in the state of what is read back."""
        return tuple(self.state.index(name) for name in self.read)


def gate(z_BH: jax.Array) -> jax.Array:
    """Returns sigmoid(2 z): the sigmoid of a block whose scale is 0.5.

    XLA's CPU backend would compute the tanh again in every consumer; the barrier prevents it.
    """
    return 0.5 * lax.optimization_barrier(jnp.tanh(z_BH)) + 0.5
