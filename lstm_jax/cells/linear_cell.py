"""Cells that are linear in their state: `LinearCell`, and the path that runs them.

All products over x are taken at once, then one scan (`linear_scan.py`), then a read-out over all
rows. Nothing but the scan runs time step by time step.

Axes: T time steps, B batch, I input, H hidden, G = columns * H.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax.cells.cell import Activations, Cell, Extra, State
from lstm_jax.cells.linear_scan import Matrix, scan_states
from lstm_jax.cells.ordered_matmul import affine_rows


@dataclass(frozen=True, eq=False)
class LinearCell(Cell):
    """A cell whose new state is a h + b, where a and b depend on x alone.

    `coefficients` returns a and b from the pre-activations z_TBG and the weights in `extra`. They
    are [T,B,H] each; a may be [H], the same at all time steps. A cell with two states returns
    ((a_11, a_12), (a_21, a_22)) and (b_1, b_2).

    `read_out` returns the output h_TBH from the states at all time steps, [T,B,H] each, z_TBG and
    `extra`. Then h is the last name in `state`, and the others are those of the scan. Without a
    read-out the one state is the output.

    `activations` gets [T,B,H] in place of [B,H]. So that bits depend neither on
    threads nor on T, take `ordered_matmul.broadcast_rows` for a weight [H], and `matmul_rows` for
    one of [H,H].
    """

    read: tuple[str, ...] = ()
    _: KW_ONLY
    coefficients: Callable[[jax.Array, Extra], tuple[Any, Any]]
    read_out: Callable[[State, jax.Array, Extra], jax.Array] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        scanned = self.state[:-1] if self.read_out else self.state
        for condition, problem in (
            (self.pointwise is None, "a linear cell has no pointwise formula"),
            (not self.read, f"a linear cell reads x alone, not {self.read}"),
            (len(scanned) in (1, 2), f"its scan has {len(scanned)} states; expected 1 or 2"),
            (self.state[-1] == "h", f"the output h is the last of its states {self.state}"),
        ):
            if not condition:
                raise ValueError(f"cell {self.name}: {problem}")


def run_linear(
    cell: LinearCell,
    kernel_KG: jax.Array,
    x_TBI: jax.Array,
    extra: Extra,
    initial: State,
    lengths_B: jax.Array | None,
    *,
    keep_outputs: bool,
    associative: bool,
) -> tuple[jax.Array | None, State]:
    """Runs a linear cell over T time steps; see `scan.run`, which has checked the arguments."""
    z_TBG, a, b = coefficients(cell, kernel_KG, x_TBI, extra)
    start = initial[: len(b)]
    keep = keep_outputs or lengths_B is not None
    states, last = scan_states(associative, keep, a, b, start)
    last_z_BG = z_TBG[-1]
    if lengths_B is not None:
        assert states is not None
        last = tuple(_at_end(*pair, lengths_B) for pair in zip(states, start, strict=True))
        last_z_BG = _at_end(z_TBG, z_TBG[0], lengths_B)
    if cell.read_out is None:
        return states[0] if states is not None and keep_outputs else None, last
    h_TBH = None
    if keep_outputs:
        assert states is not None
        h_TBH = cell.read_out(states, z_TBG, extra)
    if h_TBH is not None and lengths_B is None:
        return h_TBH, (*last, h_TBH[-1])  # computed already, with the bits of the product below
    h_BH = cell.read_out(tuple(h[None] for h in last), last_z_BG[None], extra)[0]
    if lengths_B is not None:
        h_BH = jnp.where((lengths_B > 0)[:, None], h_BH, initial[-1])
    return h_TBH, (*last, h_BH)


def trace_linear(
    cell: LinearCell,
    kernel_KG: jax.Array,
    x_TBI: jax.Array,
    extra: Extra,
    perturbation_TBH: jax.Array,
) -> Activations:
    """Returns the activations at all time steps, with the outputs as "h"; see `scan.trace`.

    The perturbation is added to the first state, which the next time step reads.
    """
    z_TBG, a, b = coefficients(cell, kernel_KG, x_TBI, extra)
    zeros = tuple(jnp.zeros_like(b_TBH[0]) for b_TBH in b)
    states, _ = scan_states(False, True, a, (b[0] + perturbation_TBH, *b[1:]), zeros)
    assert states is not None
    before = tuple(jnp.pad(h[:-1], ((1, 0), (0, 0), (0, 0))) for h in states)
    activations = {}
    if cell.activations is not None:
        activations = cell.activations(z_TBG, before, states, extra)
    h_TBH = states[0] if cell.read_out is None else cell.read_out(states, z_TBG, extra)
    return activations | {"h": h_TBH}


def coefficients(
    cell: LinearCell, kernel_KG: jax.Array, x_TBI: jax.Array, extra: Extra
) -> tuple[jax.Array, Matrix, State]:
    """Returns the pre-activations z_TBG, and a and b as `scan_states` takes them."""
    # What depends on weights alone is moved out of a loop over microbatches, and then a product is
    # rounded that would otherwise be one instruction with a sum. One device has that loop, several
    # may have none. So the weights wait for z_TBG, which stays in the loop.
    z_TBG, extra = lax.optimization_barrier((affine_rows(x_TBI, kernel_KG), extra))
    a, b = cell.coefficients(z_TBG, extra)
    return (z_TBG, a, b) if isinstance(b, tuple) else (z_TBG, ((a,),), (b,))


def _at_end(h_TBH: jax.Array, initial_BH: jax.Array, lengths_B: jax.Array) -> jax.Array:
    """Returns the row at the last time step of each sequence; the initial one of an empty one."""
    t_1B1 = jnp.maximum(lengths_B - 1, 0)[None, :, None]
    last_BH = jnp.take_along_axis(h_TBH, t_1B1, axis=0)[0]
    return jnp.where((lengths_B > 0)[:, None], last_BH, initial_BH)
