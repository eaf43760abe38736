"""The block `residual`: a norm, projections, a gate, a convolution and an MLP around a recurrent
layer. `config.blocks.Residual` has the formula.

Written for few passes over [T,B,W]: a projection that leads straight into a cell is multiplied into
the cell's kernel, and so is the model's dense layer where no norm stands between. Behind the last
layer of a model that is asked once a sequence, all that the recurrence does not need is computed
for the last time step alone.

Axes: T time steps, B batch, D hidden_size, E units of the recurrent layer, I inputs, W its outputs.
A dense layer is one kernel, with its bias as the last row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import initializers

from lstm_jax.cells.linen import DenseParams
from lstm_jax.cells.norm import normalise
from lstm_jax.cells.ordered_matmul import append_ones, matmul
from lstm_jax.cells.precision import product
from lstm_jax.config.blocks import Residual
from lstm_jax.config.experiment import Experiment
from lstm_jax.model.convolution import convolve_causally
from lstm_jax.model.directions import Directions, DrivenLayer
from lstm_jax.model.dropout import dropout
from lstm_jax.model.layer import LayerOutputs, Params, last_time_step


class FusedBlock(NamedTuple):
    """The weights of a block, ready to run; None for what the block does not have."""

    layer: Any
    input: jax.Array | None  # the model's dense layer before the first block, [I+1,D]
    project: jax.Array | None  # before the convolution, [D+1,E]
    conv: jax.Array | None  # [K,E]
    gate: jax.Array | None  # [D+1,W]
    out: jax.Array | None  # [W+1,D], or [W+1,2D] with a gated linear unit
    mlp_in: jax.Array | None
    mlp_out: jax.Array | None


@dataclass(frozen=True)
class ResidualBlock:
    """A residual block around a recurrent layer.

    Its carry is the layer's, with a convolution after its last inputs: [B,K-1,E].
    """

    member: Experiment
    index: int
    inner: Directions
    is_last: bool  # a norm of its outputs stands before the head

    @property
    def settings(self) -> Residual:
        """Returns the component that the experiment has chosen."""
        assert isinstance(self.member.block, Residual)
        return self.member.block

    @property
    def name(self) -> str:
        """Returns the name in the parameter tree."""
        return f"block_{self.index}" if self.index else "block"

    @property
    def layers(self) -> Any:
        """Returns the recurrent layers of each direction."""
        return self.inner.layers

    @property
    def width(self) -> int:
        """Returns D."""
        return self.member.hidden_size

    @property
    def one_way(self) -> bool:
        """Returns False: the inputs reach the outputs without the layer too."""
        return False

    @property
    def layer_reads_inputs(self) -> bool:
        """Returns whether the layer's kernel takes in the dense layer before the block, if any."""
        return self.settings.norm == "none" and not self.settings.conv

    def declare(self) -> None:
        """Declares the block's parameters in the Linen module that is being called."""
        self.inner.declare()
        BlockParams(self, name=self.name)()

    def fuse(self, params: Params, dense_DI: jax.Array | None = None) -> FusedBlock:
        """Returns the block's weights as `run` takes them; see `CellLayer.fuse`."""
        weights, settings = params.get(self.name, {}), self.settings
        dense = {name: _stack(each) for name, each in weights.items() if "bias" in each}
        project = dense.get("in")
        if settings.conv:  # between the projection and the cell's kernel
            layer = self.inner.fuse(params)
        else:
            first = dense_DI if self.layer_reads_inputs else None
            layer, project = self.inner.fuse(params, _in_turn(first, project)), None
        conv = weights["conv"]["kernel"] if settings.conv else None
        of_name = (dense.get(name) for name in ("gate", "out", "mlp_in", "mlp_out"))
        return FusedBlock(layer, dense_DI, project, conv, *of_name)

    def run(
        self,
        fused: FusedBlock,
        x_TBI: jax.Array,
        lengths_B: jax.Array | None = None,
        carry: Any = None,
        *,
        keep_outputs: bool = True,
        key: jax.Array | None = None,
    ) -> LayerOutputs:
        """Runs the block over all time steps, from `carry` or zeros. `key` is one of dropout
        and zoneout.
        """
        before = None
        if self.settings.conv:
            before, carry = (None, None) if carry is None else carry
        x_TBD, v_TBD, u_TBE, before = self._before(fused, x_TBI, lengths_B, before)
        ran = self.inner.run(
            fused.layer, u_TBE, lengths_B, carry, keep_outputs=keep_outputs, key=key
        )
        h_TBD = self._after(fused, x_TBD, v_TBD, ran.h_TBW, key) if keep_outputs else None
        x_BD, v_BD = last_time_step(x_TBD, lengths_B), last_time_step(v_TBD, lengths_B)
        last_BD = self._after(fused, x_BD, v_BD, ran.last_BW, key)
        return LayerOutputs(
            h_TBD, last_BD, (before, ran.carry) if self.settings.conv else ran.carry
        )

    def step(self, fused: FusedBlock, x_BI: jax.Array, carry: Any) -> tuple[jax.Array, Any]:
        """Runs a block that reads forwards over one time step: returns [B,D] and the new carry."""
        x_BD = v_BD = u_BE = x_BI
        if not self.layer_reads_inputs:
            x_BD = _dense(fused.input, x_BI)
            v_BD = u_BE = normalise(self.settings.norm, x_BD)
        before = None
        if self.settings.conv:
            assert fused.conv is not None
            before, carry = carry
            u_1BE = _dense(fused.project, v_BD)[None]
            u_1BE, before = convolve_causally(u_1BE, fused.conv, None, before)
            u_BE = u_1BE[0]
        y_BW, carry = self.inner.step(fused.layer, u_BE, carry)
        h_BD = self._after(fused, x_BD, v_BD, y_BW, None)
        return h_BD, (before, carry) if self.settings.conv else carry

    def initial_carry(self, batch: int) -> Any:
        """Returns the carry before the first time step, all zeros."""
        carry, settings = self.inner.initial_carry(batch), self.settings
        if not settings.conv:
            return carry
        shape = batch, settings.conv - 1, self.layers[0].num_inputs
        return jnp.zeros(shape, jnp.float32), carry

    def driven_layers(
        self, fused: FusedBlock, x_TBI: jax.Array, lengths_B: jax.Array | None
    ) -> list[DrivenLayer]:
        """Returns the layer of each direction with its inputs, for these inputs of the block."""
        _, _, u_TBE, _ = self._before(fused, x_TBI, lengths_B, None)
        return self.inner.driven_layers(fused.layer, u_TBE, lengths_B)

    def _before(
        self, fused: FusedBlock, x_TBI: jax.Array, lengths_B: jax.Array | None, before: Any
    ) -> tuple[jax.Array, jax.Array, jax.Array, Any]:
        """Returns x and norm(x), [T,B,D], the layer's inputs [T,B,E], and the last inputs of the
        convolution, for those `before` the first time step.

        Where the layer reads the block's inputs, the first three are these.
        """
        if self.layer_reads_inputs:
            return x_TBI, x_TBI, x_TBI, before
        x_TBD = _dense(fused.input, x_TBI)
        v_TBD = u_TBE = normalise(self.settings.norm, x_TBD)
        if self.settings.conv:
            assert fused.conv is not None
            u_TBE = _dense(fused.project, v_TBD)
            u_TBE, before = convolve_causally(u_TBE, fused.conv, lengths_B, before)
        return x_TBD, v_TBD, u_TBE, before

    def _after(
        self, fused: FusedBlock, x: jax.Array, v: jax.Array, y: jax.Array, key: jax.Array | None
    ) -> jax.Array:
        """Returns the outputs, [..., D], from what `_before` returns and the layer's outputs y."""
        settings = self.settings
        if self.layer_reads_inputs:
            x = v = _dense(fused.input, x)
        keys = (None, None) if key is None else tuple(jax.random.split(key))
        if settings.gate == "silu":
            y = y * jax.nn.silu(_dense(fused.gate, v))
        y = _dense(fused.out, y)
        if settings.gate == "glu":
            y, gate = jnp.split(y, 2, axis=-1)
            y = y * jax.nn.sigmoid(gate)
        x = x + dropout(self.member, keys[0], y)
        if settings.mlp:
            z, gate = jnp.split(_dense(fused.mlp_in, normalise(settings.norm, x)), 2, axis=-1)
            z = _dense(fused.mlp_out, z * jax.nn.gelu(gate))
            x = x + dropout(self.member, keys[1], z)
        return normalise(settings.norm, x) if self.is_last else x


class BlockParams(nn.Module):
    """Declares the parameters around the layer: LeCun normal kernels, biases of zero."""

    block: ResidualBlock

    @nn.compact
    def __call__(self) -> None:
        settings, width = self.block.settings, self.block.width
        num_outputs, num_units = self.block.inner.width, self.block.layers[0].num_inputs
        shapes = {}
        if settings.projects:
            shapes["in"] = width, num_units
        if settings.gate == "silu":
            shapes["gate"] = width, num_outputs
        if settings.gate == "glu":
            shapes["out"] = num_outputs, 2 * width
        elif num_outputs != width:
            shapes["out"] = num_outputs, width
        if settings.mlp:
            between = round(settings.mlp * width)
            shapes |= {"mlp_in": (width, 2 * between), "mlp_out": (between, width)}
        for name, shape in shapes.items():
            DenseParams(shape, initializers.lecun_normal(), initializers.zeros_init(), name=name)()
        if settings.conv:
            DenseParams((settings.conv, num_units), initializers.lecun_normal(), name="conv")()


def _stack(dense: Params) -> jax.Array:
    return jnp.concatenate([dense["kernel"], dense["bias"][None]])


def _in_turn(first_DI: jax.Array | None, second_EI: jax.Array | None) -> jax.Array | None:
    """Returns the kernel of two dense layers in turn; None stands for no layer."""
    if first_DI is None or second_EI is None:
        return second_EI if first_DI is None else first_DI
    return (first_DI @ second_EI[:-1]).at[-1].add(second_EI[-1])


def _dense(kernel: jax.Array | None, x: jax.Array) -> jax.Array:
    """Returns [x, 1] @ kernel, for x [B, ...] or [T,B, ...]; without a kernel x."""
    if kernel is None:
        return x
    return matmul(append_ones(x), kernel) if x.ndim == 3 else product(append_ones(x), kernel)
