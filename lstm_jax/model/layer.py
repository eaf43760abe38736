"""A recurrent layer in one direction: its parameters, their initial values, and how it runs.

Axes: T time steps, B batch, I input, H hidden, W numbers that a layer puts out at a time step,
D = one more than the inputs of a dense layer, for its bias, G = blocks * H, K = I + 1 + the state
that is read back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import initializers

from lstm_jax.cells import scan
from lstm_jax.cells.cell import Activations, Cell, Extra, State
from lstm_jax.cells.cudnn import lstm_last_cudnn
from lstm_jax.cells.decay import decay_factors
from lstm_jax.cells.kernel_form import full_kernels, kernel_rows
from lstm_jax.cells.linear_cell import LinearCell
from lstm_jax.cells.zoneout import KEEP, draw_masks, run_with_masks, with_zoneout
from lstm_jax.config.experiment import Experiment
from lstm_jax.errors import UserError

Initializer = initializers.Initializer
Params = Any  # a Flax parameter tree: nested dicts of arrays


class LayerOutputs(NamedTuple):
    """The results of one recurrent layer, or of several, one upon the other."""

    h_TBW: Any  # outputs of the last layer at all time steps; None where they are not kept
    last_BW: jax.Array  # its outputs at the last time step of each sequence
    carry: Any  # what the layer hands to the time step after the last; of several layers a tuple


class FusedLayer(NamedTuple):
    """The weights of a recurrent layer in one direction, ready to run."""

    kernel_KG: jax.Array  # from `scan.stack_kernels`, the forget bias included
    extra: dict[str, jax.Array]  # the cell's further weights


@dataclass(frozen=True)
class CellLayer:
    """A layer of one cell, read in one direction. Its carry is the cell's state."""

    member: Experiment
    cell: Cell
    name: str  # in the parameter tree
    num_inputs: int
    hidden_size: int
    reverse: bool = False  # it reads from the last time step to the first

    @property
    def width(self) -> int:
        """Returns W."""
        return self.hidden_size

    @property
    def sets_time_scales(self) -> bool:
        """Returns whether `chrono_steps` has an effect on the layer's initial values."""
        return bool(self.cell.chrono_init)

    def declare(self) -> None:
        """Declares the layer's parameters in the Linen module that is being called."""
        CellParams(self.member, self.cell, self.num_inputs, self.hidden_size, name=self.name)()

    def fuse(self, params: Params, dense_DI: jax.Array | None = None) -> FusedLayer:
        """Returns the layer's weights as `run` takes them.

        `params` is the tree that holds the layer's name. `dense_DI`, [kernel; bias], is a dense
        layer below this one, which is multiplied into its kernel.
        """
        weights, cell, hidden = params[self.name], self.cell, self.hidden_size
        bias_G = _bias_of_blocks(cell, weights)
        input_kernel_IW, recurrent_RW = full_kernels(cell, weights["kernel"], self.num_inputs)
        if dense_DI is not None:
            input_DW = dense_DI @ input_kernel_IW
            input_kernel_IW = input_DW[:-1]
            bias_G = scan.columns_to_blocks(cell, "x", input_DW[-1]) + bias_G
        is_forget_G = jnp.repeat(jnp.array([b.column == cell.forget for b in cell.blocks]), hidden)
        forget_bias = jnp.asarray(self.member.forget_bias, jnp.float32)
        bias_G = bias_G + jnp.where(is_forget_G, forget_bias, jnp.float32(0))
        kernel_KG = scan.stack_kernels(cell, input_kernel_IW, recurrent_RW, bias_G)
        return FusedLayer(kernel_KG, {name: weights[name] for name in cell.extra})

    def run(
        self,
        fused: FusedLayer,
        x_TBI: jax.Array,
        lengths_B: jax.Array | None = None,
        carry: State | None = None,
        *,
        keep_outputs: bool = True,
        key: jax.Array | None = None,
    ) -> LayerOutputs:
        """Runs the layer over all time steps, from `carry` or zeros. `key` is one of zoneout in
        training; without it the states are the expectations.

        Raises UserError where the member's backend cannot run it; it never takes another backend
        instead.
        """
        if self.member.backend == "cudnn":
            if keep_outputs or lengths_B is not None or carry is not None:
                raise UserError(
                    f"backend: cudnn gives the last output of sequences of one length; the task "
                    f"{self.member.task.name} asks for more, use scan"
                )
            c_BH, h_BH = lstm_last_cudnn(x_TBI, fused.kernel_KG)
            return LayerOutputs(None, h_BH, (c_BH, h_BH))
        cell, extra = self.evaluated(fused)
        run = partial(scan.run, cell, fused.kernel_KG, x_TBI, extra)
        if key is not None and self.member.zoneout is not None:
            (num_steps, batch, _), cell = x_TBI.shape, with_zoneout(self.cell)
            shape = num_steps, batch, self.hidden_size
            masks = draw_masks(self.cell, key, self.member.zoneout, shape)
            carry = self.initial_carry(batch) if carry is None else carry
            run = partial(run_with_masks, cell, fused.kernel_KG, x_TBI, fused.extra, masks)
        h_TBH, state = run(
            lengths_B=lengths_B, reverse=self.reverse, initial=carry, keep_outputs=keep_outputs,
            associative=self.member.backend == "associative",
        )  # fmt: skip
        if self.reverse and keep_outputs:
            h_TBH = scan.flip(h_TBH, lengths_B)
        return LayerOutputs(h_TBH, state[self.cell.output_index], state)

    def step(self, fused: FusedLayer, x_BI: jax.Array, carry: State) -> tuple[jax.Array, State]:
        """Runs the layer over one time step: returns its output, [B,W], and the new carry."""
        ran = self.run(fused, x_BI[None], carry=carry, keep_outputs=False)
        return ran.last_BW, ran.carry

    def initial_carry(self, batch: int) -> State:
        """Returns the carry before the first time step, all zeros."""
        zeros_BH = jnp.zeros((batch, self.hidden_size), jnp.float32)
        return (zeros_BH,) * len(self.cell.state)

    def trace(
        self, fused: FusedLayer, x_TBI: jax.Array, perturbation_TBH: jax.Array | None
    ) -> Activations:
        """Returns the activations at all time steps, [T,B,H] each; see `scan.trace`."""
        cell, extra = self.evaluated(fused)
        return scan.trace(cell, fused.kernel_KG, x_TBI, extra, perturbation_TBH)

    def evaluated(self, fused: FusedLayer) -> tuple[Cell, Extra]:
        """Returns the cell as evaluation runs it, and its further weights."""
        if self.member.zoneout is None:
            return self.cell, fused.extra
        keep_H = jnp.full(self.hidden_size, self.member.zoneout, jnp.float32)
        return with_zoneout(self.cell), fused.extra | {KEEP: keep_H}

    def decay_factors(self, fused: FusedLayer, x_TBI: jax.Array) -> jax.Array | None:
        """Returns how much each unit keeps over each time step, [T,B,H], or [1,1,H]; None where
        that has no meaning. See `cells.decay`.
        """
        cell, extra = self.evaluated(fused)
        factors = decay_factors(cell, fused.kernel_KG, x_TBI, extra)
        if factors is None or self.member.zoneout is None or isinstance(cell, LinearCell):
            return factors
        return factors + self.member.zoneout * (1 - factors)  # of a gate, which zoneout is behind

    def enlarge_recurrent(self, params: Params, factor: float) -> Params:
        """Returns the parameter tree with the layer's recurrent kernel multiplied by the factor."""
        weights = params[self.name]
        rows, _ = kernel_rows(self.cell, self.num_inputs, self.hidden_size)
        kernel = weights["kernel"].at[rows:].multiply(factor)
        return {**params, self.name: {**weights, "kernel": kernel}}


class CellParams(nn.Module):
    """Declares the parameters of one recurrent layer in one direction; see `cells.cell.Cell`."""

    experiment: Experiment
    cell: Cell
    num_inputs: int
    hidden_size: int

    @nn.compact
    def __call__(self) -> None:
        cell, hidden = self.cell, self.hidden_size
        notebook = self.experiment.kernel_init == "notebook" and cell.recurrent_init is None
        kernel_init = initializers.glorot_uniform() if notebook else partial(_init_kernel, cell)
        kernel_init = cell.kernel_init or kernel_init
        rows = kernel_rows(cell, self.num_inputs, hidden)
        shape = sum(rows), len(cell.columns) * hidden
        self.param("kernel", kernel_init, shape, jnp.float32)
        if count := sum(block.bias for block in cell.blocks):
            bias_init = _bias_init(cell, self.experiment.chrono_steps)
            self.param("bias", bias_init, (count * hidden,), jnp.float32)
        for name, weight in cell.extra.items():
            init = weight.init
            if self.experiment.chrono_steps and name in cell.chrono_init:
                init = _chrono_init(cell.chrono_init[name], self.experiment.chrono_steps)
            self.param(name, init, weight.shape(hidden), jnp.float32)


def _init_kernel(cell: Cell, key: jax.Array, shape: Sequence[int], dtype: Any) -> jax.Array:
    """Returns a kernel: inputs LeCun normal, each recurrent [H,H], or each head of it, orthogonal
    or as the cell says.
    """
    (num_rows, width), count = shape, len(cell.columns)
    hidden = width // count
    heads = cell.recurrent_heads
    num_inputs = num_rows - cell.num_read * hidden // heads
    input_key, *keys = jax.random.split(key, 1 + cell.num_read * count * heads)
    size = hidden // heads
    if cell.recurrent_init == "identity":
        squares = [jnp.eye(size, dtype=dtype)] * len(keys)
    elif cell.recurrent_init == "zeros":
        squares = [jnp.zeros((size, size), dtype)] * len(keys)
    else:
        squares = [initializers.orthogonal()(k, (size, size), dtype) for k in keys]
    side = count * heads
    states = [jnp.concatenate(squares[i : i + side], axis=1) for i in range(0, len(keys), side)]
    inputs = initializers.lecun_normal()(input_key, (num_inputs, width), dtype)
    return jnp.concatenate([inputs, *states])


def _bias_init(cell: Cell, chrono_steps: int) -> Initializer:
    """Returns the initialiser of a layer's bias: that of its cell, and with `chrono_steps` the
    chrono one for the columns that have one.
    """
    columns = {*cell.bias_init, *(cell.chrono_init if chrono_steps else ())}
    if not columns & {block.column for block in cell.blocks if block.bias}:
        return initializers.zeros_init()

    def init(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        biased = [block.column for block in cell.blocks if block.bias]
        hidden = shape[0] // len(biased)
        of_column = {
            column: column_init(jax.random.fold_in(key, index), (hidden,), dtype)
            for index, (column, column_init) in enumerate(cell.bias_init.items())
        }
        if chrono_steps:  # one key, so that all columns of a unit have one time scale
            of_column |= {
                column: _chrono_init(of_time_scale, chrono_steps)(key, (hidden,), dtype)
                for column, of_time_scale in cell.chrono_init.items()
            }
        zeros_H = jnp.zeros(hidden, dtype)
        return jnp.concatenate([of_column.get(column, zeros_H) for column in biased])

    return init


def _chrono_init(of_time_scale: Callable[[jax.Array], jax.Array], steps: int) -> Initializer:
    """Returns the initialiser of a weight whose units have time scales uniform in 1 to `steps` - 1.

    Tallec and Ollivier, "Can recurrent neural networks warp time?" (2018), equation 16, for gates;
    `Cell.chrono_init` says what it is for other weights.
    """

    def init(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        return of_time_scale(chrono_time_scales(key, shape, dtype, steps=steps))

    return init


def chrono_time_scales(
    key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32, *, steps: int
) -> jax.Array:
    """Returns time scales that are uniform in 1 to `steps` - 1 time steps."""
    return jax.random.uniform(key, shape, dtype, 1.0, steps - 1.0)


def _bias_of_blocks(cell: Cell, weights: Params) -> jax.Array:
    """Returns the bias of all blocks, [G]: zeros for those that have none."""
    if all(block.bias for block in cell.blocks):
        bias_G: jax.Array = weights["bias"]
        return bias_G
    hidden = weights["kernel"].shape[1] // len(cell.columns)
    biases = iter(weights["bias"].reshape(-1, hidden) if "bias" in weights else ())
    zeros_H = jnp.zeros(hidden, jnp.float32)
    return jnp.concatenate([next(biases) if block.bias else zeros_H for block in cell.blocks])


def last_time_step(x_TBW: jax.Array, lengths_B: jax.Array | None) -> jax.Array:
    """Returns the last time step of each sequence, [B,W]; the first one of an empty sequence."""
    if lengths_B is None:
        return x_TBW[-1]
    t_1B1 = jnp.maximum(lengths_B.astype(jnp.int32) - 1, 0)[None, :, None]
    return jnp.take_along_axis(x_TBW, t_1B1, axis=0)[0]
