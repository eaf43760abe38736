"""A recurrent layer around a user's `cells.layer.Layer`, with the functions of a `CellLayer`.

Axes: T time steps, B batch, I input, W numbers that the layer puts out at a time step, D = one more
than the inputs of a dense layer, for its bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from lstm_jax.cells import scan
from lstm_jax.cells.argument_checks import describe_arrays
from lstm_jax.cells.layer import Layer
from lstm_jax.cells.ordered_matmul import append_ones, matmul
from lstm_jax.cells.precision import product
from lstm_jax.config.experiment import Experiment
from lstm_jax.errors import UserError
from lstm_jax.model.layer import LayerOutputs, Params, chrono_time_scales, last_time_step


@dataclass(frozen=True)
class CustomLayer:
    """A user's layer, read in one direction. Its carry is the user's."""

    member: Experiment
    layer: Layer
    name: str  # in the parameter tree
    num_inputs: int
    hidden_size: int
    reverse: bool = False  # it reads from the last time step to the first

    @property
    def sets_time_scales(self) -> bool:
        """Returns whether `chrono_steps` has an effect on the layer's initial values."""
        return hasattr(self.layer, "with_time_scales")

    @property
    def width(self) -> int:
        """Returns W. Raises UserError where `apply` does not return outputs and a carry."""
        h_TBW, _ = self._shapes(2)  # not 1, which would not tell [T,B,W] from [B,T,W]
        width: int = h_TBW.shape[2]
        return width

    def declare(self) -> None:
        """Declares the layer's parameters in the Linen module that is being called.

        Raises UserError where the layer's `step` returns other shapes than its `apply`.
        """
        self._compare_step()
        CustomParams(self, name=self.name)()

    def fuse(self, params: Params, dense_DI: jax.Array | None = None) -> tuple[Params, Any]:
        """Returns the layer's weights as `run` takes them: with the dense layer below, if any."""
        return params[self.name], dense_DI

    def run(
        self,
        fused: tuple[Params, Any],
        x_TBI: jax.Array,
        lengths_B: jax.Array | None = None,
        carry: Any = None,
        *,
        keep_outputs: bool = True,
        key: jax.Array | None = None,
    ) -> LayerOutputs:
        """Runs the layer over all time steps, from `carry` or zeros. It has no use for a key."""
        params, dense_DI = fused
        if dense_DI is not None:
            x_TBI = matmul(append_ones(x_TBI), dense_DI)
        if self.reverse:
            x_TBI = scan.flip(x_TBI, lengths_B)
        h_TBW, carry = self.layer.apply(params, x_TBI, lengths_B, carry)
        last_BW = last_time_step(h_TBW, lengths_B)
        if self.reverse:
            h_TBW = scan.flip(h_TBW, lengths_B)
        return LayerOutputs(h_TBW if keep_outputs else None, last_BW, carry)

    def step(self, fused: tuple[Params, Any], x_BI: jax.Array, carry: Any) -> tuple[jax.Array, Any]:
        """Runs the layer over one time step: returns its output, [B,W], and the new carry."""
        params, dense_DI = fused
        if dense_DI is not None:
            x_BI = product(append_ones(x_BI), dense_DI)
        return self.layer.step(params, x_BI, carry)

    def decay_factors(self, fused: tuple[Params, Any], x_TBI: jax.Array) -> jax.Array | None:
        """Returns how much of the state is kept over each time step, [T,B,N]; None where the layer
        does not say. N is a number of units or of heads.
        """
        params, dense_DI = fused
        if not hasattr(self.layer, "decay_factors"):
            return None
        if dense_DI is not None:
            x_TBI = matmul(append_ones(x_TBI), dense_DI)
        factors: jax.Array = self.layer.decay_factors(params, x_TBI)
        return factors.reshape(*factors.shape[:2], -1)

    def initial_carry(self, batch: int) -> Any:
        """Returns the carry before the first time step, all zeros."""
        _, carry = self._shapes(batch)
        return jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), carry)

    def init(self, key: jax.Array) -> Params:
        """Returns the initial parameters. Raises UserError where they are no dict of arrays."""
        params = self.layer.init(key, self.num_inputs, self.hidden_size)
        if not isinstance(params, dict) or not params:
            raise UserError(
                f"cell: {self.member.cell}.init returned {type(params).__name__}; expected a dict "
                "of float32 arrays, which may hold further dicts"
            )
        if (steps := self.member.chrono_steps) and self.sets_time_scales:
            draw = partial(chrono_time_scales, jax.random.fold_in(key, 1), steps=steps)
            custom: Any = self.layer
            params = custom.with_time_scales(params, draw)
        return params

    def _shapes(self, batch: int) -> tuple[Any, Any]:
        """Returns the shapes of the outputs of one time step, and those of the carry."""
        x_TBI = jax.ShapeDtypeStruct((1, batch, self.num_inputs), jnp.float32)
        params = jax.eval_shape(self.init, jax.eval_shape(partial(jax.random.key, 0)))
        result = jax.eval_shape(lambda p, x: self.layer.apply(p, x, None, None), params, x_TBI)
        if (
            not isinstance(result, tuple)
            or len(result) != 2
            or getattr(result[0], "shape", ())[:2] != (1, batch)
            or len(result[0].shape) != 3
        ):
            raise UserError(
                f"cell: {self.member.cell}.apply returned {describe_arrays(result)} for inputs of "
                f"shape {x_TBI.shape}; expected a tuple of outputs [T,B,W] and a carry"
            )
        return result

    def _compare_step(self) -> None:
        h_TBW, carry = self._shapes(1)
        h_BW = jax.ShapeDtypeStruct(h_TBW.shape[1:], h_TBW.dtype)
        x_BI = jax.ShapeDtypeStruct((1, self.num_inputs), jnp.float32)
        params = jax.eval_shape(self.init, jax.eval_shape(partial(jax.random.key, 0)))
        got = describe_arrays(jax.eval_shape(self.layer.step, params, x_BI, carry))
        if got != (expected := describe_arrays((h_BW, carry))):
            raise UserError(
                f"cell: {self.member.cell}.step returned {got}; expected the output [B,W] of a "
                f"time step and the carry, as `apply` has them: {expected}"
            )


class CustomParams(nn.Module):
    """Declares the parameters that a user's `init` returns, under the same names."""

    layer: CustomLayer

    @nn.compact
    def __call__(self) -> None:
        for name, value in self.layer.init(self.make_rng("params")).items():
            self.param(name, lambda key, value=value: value)
