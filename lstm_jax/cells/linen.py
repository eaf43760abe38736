"""Flax Linen modules: `LSTM`, `GRU` and `RNN` replace `nn.RNN(cell)`; `MinGRU`, `LRU` and `SLSTM`
are layers that Flax does not have, as are those of `linen_matrices.py`.

Axes: T time steps, B batch, I input, H hidden, W = gates * H, G = blocks * H.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import initializers
from flax.linen.dtypes import promote_dtype

from lstm_jax.cells.cell import Cell, Extra
from lstm_jax.cells.gru import gru_cell
from lstm_jax.cells.linear_gated import mingru_cell
from lstm_jax.cells.lstm import lstm_cell
from lstm_jax.cells.rnn import rnn_cell
from lstm_jax.cells.scan import flip, run_unstacked
from lstm_jax.cells.slstm import slstm_cell
from lstm_jax.cells.state_space import lru_cell

Initializer = initializers.Initializer


class DenseParams(nn.Module):
    """Declares a kernel, and a bias where `bias_init` is given."""

    shape: tuple[int, int]
    kernel_init: Initializer
    bias_init: Initializer | None = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self) -> tuple[jax.Array, Any]:
        """Returns the kernel, and the bias or None."""
        kernel = self.param("kernel", self.kernel_init, self.shape, self.param_dtype)
        if self.bias_init is None:
            return kernel, None
        return kernel, self.param("bias", self.bias_init, self.shape[1:], self.param_dtype)


class FlaxCellParams(nn.Module):
    """Declares the parameters of a cell of Flax, under the same names.

    For each gate there is a dense layer of the input, "i" + gate, and one of the state, "h" + gate.
    """

    features: int
    gates: tuple[str, ...]  # Flax's names, in the order of our columns
    biases: tuple[str, ...]  # dense layers that have a bias, in the order of our blocks
    kernel_init: Initializer
    recurrent_kernel_init: Initializer
    bias_init: Initializer
    param_dtype: Any

    @nn.compact
    def __call__(self, num_inputs: int) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns the input kernel [I,W], the recurrent kernel [H,W] and the bias [G]."""
        hidden = self.features
        biases, kernels = {}, []
        for source, width, init in (
            ("i", num_inputs, self.kernel_init),
            ("h", hidden, self.recurrent_kernel_init),
        ):
            columns = []
            for name in (source + gate for gate in self.gates):
                bias_init = self.bias_init if name in self.biases else None
                dense = DenseParams((width, hidden), init, bias_init, self.param_dtype, name=name)
                kernel, biases[name] = dense()
                columns.append(kernel)
            kernels.append(jnp.concatenate(columns, axis=1))
        return kernels[0], kernels[1], jnp.concatenate([biases[name] for name in self.biases])


class CellParams(nn.Module):
    """Declares the parameters of a cell: a kernel of the input, a kernel of the states that its
    products read, a bias, and the cell's further weights, all as the cell says.
    """

    cell: Cell
    features: int
    kernel_init: Initializer
    recurrent_kernel_init: Initializer
    bias_init: Initializer
    param_dtype: Any

    @nn.compact
    def __call__(self, num_inputs: int) -> tuple[tuple[jax.Array, jax.Array, jax.Array], Extra]:
        """Returns the input kernel [I,W], the recurrent kernel [R,W], the bias [G]; and the extra
        weights.
        """
        cell, hidden, dtype = self.cell, self.features, self.param_dtype
        width, num_read = len(cell.columns) * hidden, cell.num_read * hidden

        def bias_init(key: jax.Array, shape: Sequence[int], dtype: Any) -> jax.Array:
            keys = jax.random.split(key, len(cell.blocks))
            inits = (cell.bias_init.get(block.column, self.bias_init) for block in cell.blocks)
            pairs = zip(inits, keys, strict=True)
            return jnp.concatenate([init(key, (hidden,), dtype) for init, key in pairs])

        input_kernel_IW = self.param("kernel", self.kernel_init, (num_inputs, width), dtype)
        recurrent_RW = jnp.zeros((0, width), dtype)
        if cell.read:
            init = self.recurrent_kernel_init
            recurrent_RW = self.param("recurrent_kernel", init, (num_read, width), dtype)
        bias_G = self.param("bias", bias_init, (len(cell.blocks) * hidden,), dtype)
        extra = {
            name: self.param(name, weight.init, weight.shape(hidden), dtype)
            for name, weight in cell.extra.items()
        }
        return (input_kernel_IW, recurrent_RW, bias_G), extra


class RecurrentLayer(nn.Module):
    """The base of the layers. Arguments and results are those of `nn.RNN`, with two differences.

    The state is float32 even where all else is bfloat16. The final carry of a sequence of length 0
    is its initial carry.
    """

    features: int
    time_major: bool = False
    reverse: bool = False
    keep_order: bool = False
    return_carry: bool = False

    def carry_shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shape of each array of the carry, without the batch, by its name."""
        raise NotImplementedError

    def _run(
        self, x_TBI: jax.Array, carry: Any, lengths_B: jax.Array | None, reverse: bool
    ) -> tuple[jax.Array, Sequence[jax.Array]]:
        """Declares the parameters; returns the outputs [T,B,H] and the arrays of the carry.

        carry: a tuple of arrays, [B, ...] each, or None for zeros.
        """
        raise NotImplementedError

    @nn.compact
    def __call__(
        self,
        inputs: jax.Array,
        *,
        initial_carry: Any = None,
        init_key: jax.Array | None = None,
        seq_lengths: jax.Array | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
    ) -> Any:
        """Returns outputs [*batch, T, H], or with `return_carry` (carry, outputs).

        inputs: [*batch, T, I]; with `time_major` [T, *batch, I], and the outputs [T, *batch, H].
        initial_carry: the carry before the first time step, as `return_carry` gives it; in a cell
            of Flax, the carry of that cell, each array [*batch, H]. None stands for zeros.
        seq_lengths: integers [*batch], the time steps of each sequence; None: all T.
        return_carry, time_major, reverse, keep_order: take the place of the module's fields.

        Raises ValueError with the name of an argument whose shape does not fit.
        """
        del init_key  # the initial carry is zeros, not random
        return_carry = self.return_carry if return_carry is None else return_carry
        time_major = self.time_major if time_major is None else time_major
        reverse = self.reverse if reverse is None else reverse
        keep_order = self.keep_order if keep_order is None else keep_order
        if inputs.ndim < 2:
            raise ValueError(f"inputs has shape {inputs.shape}; expected [*batch, T, I]")
        x = inputs if time_major else jnp.moveaxis(inputs, -2, 0)
        num_steps, *batch, num_inputs = x.shape
        x_TBI = x.reshape(num_steps, math.prod(batch), num_inputs)
        shapes, state, lengths_B = self.carry_shapes(), None, seq_lengths
        if initial_carry is not None:
            leaves = jax.tree.leaves(initial_carry)
            if len(leaves) != len(shapes):
                raise ValueError(
                    f"initial_carry has {len(leaves)} arrays; expected {', '.join(shapes)}"
                )
            pairs = zip(leaves, shapes.values(), strict=True)
            state = tuple(_flatten_batch("initial_carry", a, batch, shape) for a, shape in pairs)
        if lengths_B is not None:
            lengths_B = _flatten_batch("seq_lengths", lengths_B, batch, ())
            lengths_B = jnp.clip(lengths_B, 0, num_steps)
        h_TBH, states = self._run(x_TBI, state, lengths_B, reverse)
        if reverse and keep_order:
            h_TBH = flip(h_TBH, lengths_B)
        outputs = h_TBH.reshape(num_steps, *batch, self.features)
        outputs = outputs if time_major else jnp.moveaxis(outputs, 0, -2)
        if not return_carry:
            return outputs
        carry = tuple(array.reshape(*batch, *array.shape[1:]) for array in states)
        return (carry if len(carry) > 1 else carry[0]), outputs

    def step(self, carry: Any, inputs: jax.Array) -> tuple[Any, jax.Array]:
        """Returns the carry after one time step, and its output, [*batch, H].

        carry: the one before, as `return_carry` gives it; None stands for zeros.
        inputs: [*batch, I].

        Call it by `layer.apply(variables, carry, inputs, method="step")`.
        """
        carry, outputs = self(
            inputs[..., None, :], initial_carry=carry, return_carry=True, time_major=False,
            reverse=False,
        )  # fmt: skip
        return carry, outputs[..., 0, :]


class CellLayer(RecurrentLayer):
    """The base of the layers of a `Cell`.

    Where Flax has such a cell, the parameters have the same names, shapes and initial values, so
    checkpoints load.
    """

    cell: ClassVar[Cell]
    gates: ClassVar[tuple[str, ...]] = ()  # Flax's names; none where Flax has no such cell
    biases: ClassVar[tuple[str, ...]] = ()

    kernel_init: Initializer = initializers.lecun_normal()
    recurrent_kernel_init: Initializer = initializers.orthogonal()
    bias_init: Initializer = initializers.zeros_init()
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def carry_shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns [H] for each state of the cell."""
        return dict.fromkeys(self.cell.state, (self.features,))

    def _run(
        self, x_TBI: jax.Array, carry: Any, lengths_B: jax.Array | None, reverse: bool
    ) -> tuple[jax.Array, Sequence[jax.Array]]:
        inits = self.kernel_init, self.recurrent_kernel_init, self.bias_init
        options: dict[str, Any] = {"param_dtype": self.param_dtype, "name": "cell"}
        extra: Extra = {}
        num_inputs = x_TBI.shape[-1]
        if self.gates:
            declared = FlaxCellParams(self.features, self.gates, self.biases, *inits, **options)
            kernels = declared(num_inputs)
        else:
            kernels, extra = CellParams(self.cell, self.features, *inits, **options)(num_inputs)
        if self.dtype is not None:
            x_TBI, *cast = promote_dtype(x_TBI, *kernels, dtype=self.dtype)
            kernels = cast[0], cast[1], cast[2]
        return run_unstacked(
            self.cell, x_TBI, *kernels, carry, lengths_B, extra=extra, reverse=reverse
        )


class LSTM(CellLayer):
    """A layer that replaces `nn.RNN(nn.OptimizedLSTMCell(features))`, or `nn.LSTMCell`."""

    cell = lstm_cell
    gates = ("i", "g", "f", "o")
    biases = ("hi", "hg", "hf", "ho")


class GRU(CellLayer):
    """A layer that replaces `nn.RNN(nn.GRUCell(features))`."""

    cell = gru_cell
    gates = ("r", "z", "n")
    biases = ("ir", "iz", "hn", "in")


class RNN(CellLayer):
    """A layer that replaces `nn.RNN(nn.SimpleCell(features))`."""

    cell = rnn_cell
    gates = ("",)
    biases = ("i",)


class MinGRU(CellLayer):
    """A layer of `mingru`; see `cells/linear_gated.py`. Its carry is h."""

    cell = mingru_cell


class LRU(CellLayer):
    """A layer of `lru`; see `cells/state_space.py`. Its carry is (real, imaginary, h)."""

    cell = lru_cell


class SLSTM(CellLayer):
    """A layer of `slstm`; see `cells/slstm.py`. Its carry is (c, n, m, h)."""

    cell = slstm_cell
    recurrent_kernel_init: Initializer = initializers.zeros_init()


def _flatten_batch(
    name: str, array: jax.Array, batch: Sequence[int], shape: Sequence[int]
) -> jax.Array:
    """Returns an array [*batch, *shape] with all axes of the batch made one.

    Raises ValueError with its name where it does not have the shape.
    """
    if array.shape != (*batch, *shape):
        raise ValueError(f"{name} has shape {array.shape}; expected {(*batch, *shape)}")
    return array.reshape(-1, *shape)
