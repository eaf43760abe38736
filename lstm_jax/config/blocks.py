"""The table of blocks: what stands around a recurrent layer. Each is a component of an experiment.

`model/block.py` builds them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lstm_jax.components import Component, Table
from lstm_jax.fields import Axis, axis, check_value, field_specs


@dataclass(frozen=True)
class Block(Component):
    """The base class of all blocks."""

    role: ClassVar[str] = "block"


@dataclass(frozen=True)
class Plain(Block):
    """The recurrent layer alone: each reads the outputs of the one below."""

    name: ClassVar[str] = "plain"


@dataclass(frozen=True)
class Residual(Block):
    """A pre-norm residual block, as in LRU, Griffin and xLSTM.

        v = norm(x)                         x, h: hidden_size numbers
        y = layer(conv(v @ W_in + b_in))    expand * hidden_size units
        x = x + dropout(out(y, v))          silu: (y * silu(v @ W_gate + b)) @ W_out + b
                                            glu: (y @ W_1 + b) * sigmoid(y @ W_2 + b)
        x = x + dropout(((norm(x) @ W_3 + b) * gelu(norm(x) @ W_4 + b)) @ W_5 + b)    with `mlp`

    W_in is there with `expand` or `conv`, and W_out where the layer does not put out hidden_size
    numbers. The first block reads the inputs through the model's dense layer or embedding. Behind
    the last block stands the same norm. Norms have no scale and bias: the products after them do.
    """

    name: ClassVar[str] = "residual"

    norm: Axis[str] = axis(
        "none", "normalisation before the layer and the MLP, and before the head",
        choices=lambda: ("none", "layer", "rms"),
    )  # fmt: skip
    expand: Axis[float] = axis(
        1.0, "units of the recurrent layer, as a multiple of hidden_size", low=0.125, high=8.0
    )
    gate: Axis[str] = axis(
        "none",
        "`silu`: outputs times the SiLU of a projection of the inputs; `glu`: a gated linear unit "
        "of the outputs",
        choices=lambda: ("none", "silu", "glu"),
    )
    conv: Axis[int] = axis(
        0, "taps of a causal depthwise convolution before the layer; 0: none", low=0, high=64
    )
    mlp: Axis[float] = axis(
        0.0, "width of a gated MLP behind the layer, as a multiple of hidden_size; 0: none",
        low=0.0, high=16.0,
    )  # fmt: skip

    def check(self) -> None:
        # A user's class that extends this one may declare a field anew, without its choices.
        for name, spec in field_specs(Residual).items():
            check_value(f"block.{name}", getattr(self, name), spec)

    @property
    def projects(self) -> bool:
        """Returns whether a dense layer stands before the recurrent one."""
        return self.expand != 1 or self.conv > 0


BLOCKS = Table[Block](Block, Plain, Residual)
