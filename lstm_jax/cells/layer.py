"""A layer of a user: any sequence model, as three pure functions.

A `Cell` is a pointwise formula, whose products and gradients the package owns. A `Layer` owns all
of it, and JAX derives its gradient: a scan over a tree, attention over a window, a Flax cell.

Axes: T time steps, B batch, I input, W numbers that the layer puts out at a time step.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp

Params = Any  # nested dicts of float32 arrays
Carry = Any  # a tree of arrays, [B, ...] each


class Layer(Protocol):
    """The functions of a layer. All are pure: they are traced by JAX.

    It may have a further one, `associative()`, which returns the layer that `--backend associative`
    trains: the same function of the same parameters, for an accelerator.

    Two more make it a layer whose memory can be set and measured. `with_time_scales(params, draw)`
    returns initial parameters for `--chrono-steps`: `draw(shape)` are time scales, in time steps.
    `decay_factors(params, x_TBI)` returns the share of the state that is kept over each time step,
    float32 [T,B, ...], of which a report draws the time scales.
    """

    def init(self, key: jax.Array, num_inputs: int, hidden_size: int) -> Params:
        """Returns the initial parameters: a dict of arrays or of such dicts."""

    def apply(
        self, params: Params, x_TBI: jax.Array, lengths_B: jax.Array | None, carry: Carry
    ) -> tuple[jax.Array, Carry]:
        """Returns the outputs, [T,B,W], and the carry after the last time step of each sequence.

        lengths_B: int32, the time steps of each sequence; None: all T. Outputs of padding are not
            read.
        carry: what this function returned for the time steps before; None stands for zeros, with
            which each sequence starts.
        """

    def step(self, params: Params, x_BI: jax.Array, carry: Carry) -> tuple[jax.Array, Carry]:
        """Returns the output of one time step, [B,W], and the new carry, as `apply` would."""


def is_layer(value: Any) -> bool:
    """Returns whether `as_layer` takes a value: an object with the three functions, a class of such
    objects that takes no arguments, or a class of cells of Flax.
    """
    is_flax = inspect.isclass(value) and issubclass(value, nn.RNNCellBase)
    is_base = value is nn.RNNCellBase or value is Layer
    return not is_base and (is_flax or not _missing(value))


def why_not_layer(value: Any) -> str:
    """Returns why a user's value is neither a cell nor a layer.

    The text follows the name of the value in an error.
    """
    bases = (value if inspect.isclass(value) else type(value)).__mro__
    if any(base.__module__.startswith("flax.") for base in bases):
        return "is a Flax module; wrap it in a Layer, see docs/extend.md"
    missing = " and no ".join(_missing(value)) or "functions of its own"
    return f"is no Cell, and as a layer it has no {missing}; see docs/extend.md"


def _missing(value: Any) -> list[str]:
    """Returns the functions of a layer that a value does not have."""
    return [n for n in ("init", "apply", "step") if not callable(getattr(value, n, None))]


def as_layer(value: Any, hidden_size: int) -> Layer:
    """Returns the layer that a user's value stands for."""
    layer: Any = value
    if inspect.isclass(value) and issubclass(value, nn.RNNCellBase):
        # No parents: this may run while another module declares its parameters.
        cell = value(features=hidden_size, parent=None)  # type: ignore[call-arg]
        layer = FlaxLayer(nn.RNN(cell, time_major=True, return_carry=True, parent=None))
    elif inspect.isclass(value):
        layer = value()
    made: Layer = layer
    return made


@dataclass(frozen=True)
class FlaxLayer:
    """A layer of a Flax cell."""

    rnn: nn.RNN

    def init(self, key: jax.Array, num_inputs: int, hidden_size: int) -> Params:
        """Returns the cell's initial parameters, under the name `cell`."""
        return self.rnn.init(key, jnp.zeros((1, 1, num_inputs), jnp.float32))["params"]

    def apply(
        self, params: Params, x_TBI: jax.Array, lengths_B: jax.Array | None, carry: Carry
    ) -> tuple[jax.Array, Carry]:
        """Returns the outputs, [T,B,W], and the cell's last carry; see `Layer.apply`."""
        ran: Any = self.rnn.apply(
            {"params": params}, x_TBI, initial_carry=carry, seq_lengths=lengths_B
        )
        carry, h_TBW = ran
        return h_TBW, carry

    def step(self, params: Params, x_BI: jax.Array, carry: Carry) -> tuple[jax.Array, Carry]:
        """Returns the output of one time step, [B,W], and the new carry."""
        h_1BW, carry = self.apply(params, x_BI[None], None, carry)
        return h_1BW[0], carry
