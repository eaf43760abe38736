"""A cell: the pointwise formula of a recurrent network, as data and pure functions.

Axes: B batch, I input, H hidden, G = blocks * H. `scan.py` owns all matrix products.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

State = tuple[jax.Array, ...]  # [B,H] each, in the order of `Cell.state`
Extra = dict[str, jax.Array]  # further weights by name: [H]; inside a pointwise formula [B,H]
Activations = dict[str, jax.Array]  # values to look at, by name, [B,H] each
# (key, shape, dtype) -> initial values, as in `jax.nn.initializers`.
Init = Callable[..., jax.Array]


class Weight(NamedTuple):
    """A further weight of a cell: its initial values, and its number of axes, each H long."""

    init: Init
    rank: int = 1  # 2: a matrix [H,H], for the read-out of a linear cell

    def shape(self, hidden: int) -> tuple[int, ...]:
        """Returns its shape in a layer of so many units."""
        return (hidden,) * self.rank


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
    bias: bool = True  # whether the parameters have a bias b for this block


@dataclass(frozen=True, eq=False)
class Cell:
    """A recurrent cell: plain data and pure functions.

    Its parameters are a kernel [I + num_read * H, columns * H], inputs before states, a bias
    [H] for each block that has one, and the weights in `extra`. Two cells are equal if they are one
    object.

    Raises ValueError where the fields contradict each other.
    """

    name: str
    columns: tuple[str, ...]  # names of the kernel's columns, H wide each
    # (z_BG, state, extra) -> new state. z_BG: the pre-activations, block beside block. Only a
    # `LinearCell` and a `StagedCell` have none.
    pointwise: Callable[[jax.Array, State, Extra], State] | None = None
    blocks: tuple[Block, ...] = ()  # default: one for each column, which reads x and all of `read`
    state: tuple[str, ...] = ("h",)  # names of the states, one letter each; h is the output
    read: tuple[str, ...] = ("h",)  # the states that the products read; may be none
    extra: Mapping[str, Weight] = field(default_factory=dict)  # further weights, by name
    bias_init: Mapping[str, Init] = field(default_factory=dict)  # by column; others start at zero
    forget: str | None = None  # the column to whose bias the forget bias is added
    # The column of the gate that keeps the state, where that is not `forget`.
    keeps: str | None = None
    # Chrono initialisation: functions that return the initial values, [H], of a column's bias or of
    # a further weight, from the time scales of the units in time steps, [H]. Default: log of them
    # for the gate that keeps, and minus that for a column "i". Empty: it cannot set time scales.
    chrono_init: Mapping[str, Callable[[jax.Array], jax.Array]] = field(default_factory=dict)
    # "identity" or "zeros", where the cell's paper starts from it.
    recurrent_init: str | None = None
    # Initial values of the whole kernel, inputs before states, where the paper has its own.
    kernel_init: Init | None = None
    # The input kernel, or the recurrent one, is block-diagonal in so many heads: the units of a
    # head read the inputs of theirs, or each other. The parameters hold the blocks alone.
    input_heads: int = 1
    recurrent_heads: int = 1
    # The recurrent kernel that runs, [R,W], from that of the parameters; see `orthogonal.py`.
    recurrent_map: Callable[[jax.Array], jax.Array] | None = None
    # (z_BG, state before, state after, extra) -> values for a report, gates after activation.
    activations: Callable[[jax.Array, State, State, Extra], Activations] | None = None
    # Which of the activations is the factor by which a unit keeps its state over one time step. A
    # `LinearCell` needs none: its factor is a.
    decay: str | None = None
    # Whether a mean of two states is a state, as zoneout needs it.
    has_means: bool = True
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
        biased = {block.column for block in self.blocks if block.bias}
        if (keeps := self.keeps or self.forget) and not self.chrono_init:
            closes = {"i": minus_log} if "i" in biased else {}
            object.__setattr__(self, "chrono_init", {keeps: jnp.log, **closes})
        gates = {self.forget, self.keeps} - {None, *biased}
        by_hand = self.pointwise_fwd is not None
        matrices = [name for name, weight in self.extra.items() if weight.rank != 1]
        for condition, problem in (
            (
                self.pointwise is not None or type(self) is not Cell,
                "it has no pointwise formula",
            ),
            (not wrong, f"a state's name is one letter other than x, the input; got {wrong}"),
            (len({*self.state}) == len(self.state), f"a name occurs twice in state {self.state}"),
            ("h" in self.state, f"its state {self.state} has no output h"),
            ({*self.read} <= {*self.state}, f"it reads {self.read}, its state is {self.state}"),
            (columns == {*self.columns}, f"blocks of {columns}, columns {self.columns}"),
            (not unread, f"a block reads {unread}, which is not in `read`, {self.read}"),
            (only_x == sorted(only_x), "blocks that read only x come last"),
            (not gates, f"`forget` and `keeps` have a bias; got {gates}, not in {sorted(biased)}"),
            (
                by_hand == (self.pointwise_bwd is not None),
                "pointwise_fwd and pointwise_bwd need each other",
            ),
            (not by_hand or not self.extra, "pointwise_fwd allows no extra weights"),
            (not by_hand or self.read, "pointwise_fwd needs products that read a state"),
            (not self.pointwise or not matrices, f"extra weights are vectors; got {matrices}"),
            (
                {*self.bias_init} <= biased,
                f"bias_init of {[*self.bias_init]}; the columns with a bias are {sorted(biased)}",
            ),
            (
                self.decay is None or self.activations is not None,
                f"its decay is the activation {self.decay!r}, and it has no activations",
            ),
            (
                {*self.chrono_init} <= {*biased, *self.extra},
                f"chrono_init of {[*self.chrono_init]}; it has a bias for {sorted(biased)} and the "
                f"further weights {[*self.extra]}",
            ),
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


def minus_log(tau_H: jax.Array) -> jax.Array:
    """Returns -log(tau), [H]."""
    return -jnp.log(tau_H)


def gate(z_BH: jax.Array) -> jax.Array:
    """Returns sigmoid(2 z), [B,H]: the sigmoid of a block whose scale is 0.5.

    XLA's CPU backend would compute the tanh again in every consumer; the barrier prevents it.
    """
    return 0.5 * lax.optimization_barrier(jnp.tanh(z_BH)) + 0.5
