"""Optax's optimisers as components of an experiment.

An optimiser turns a gradient into a direction d, and a training step changes the parameters by
-learning_rate * factor of the schedule * d. Clipping and the learning rate are fields of the
experiment, because every optimiser has them. The decay rates of moments are static: optax computes
with them in double precision before the program is compiled, and an array would have other bits.
`lamb`, `adafactor` and `muon` add up whole arrays, so their bits depend on the number of threads.

Optax is imported when a transformation is made: the command line reads only the fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from lstm_jax.components import Component
from lstm_jax.fields import Axis, axis

if TYPE_CHECKING:
    import optax

WEIGHT_DECAY: dict[str, Any] = {
    "help": "decoupled weight decay (Loshchilov and Hutter, 2019), multiplied by the learning rate",
    "low": 0.0, "high": 1e3, "traced": True, "log": True,
}  # fmt: skip
BETA: dict[str, Any] = {"low": 0.0, "high": 1 - 1e-9}
EPS: dict[str, Any] = {"help": "added to the denominator", "low": 0.0, "high": 1.0}
FIRST = "decay rate of the mean of gradients"
SECOND = "decay rate of the mean of squared gradients"


@dataclass(frozen=True)
class Optimizer(Component):
    """The base class of all optimisers."""

    role: ClassVar[str] = "optimizer"

    def transformation(self) -> optax.GradientTransformation:
        """Returns the transformation of a gradient into a direction, with weight decay if any.

        It must not multiply by a learning rate, nor change the sign: `optax.scale_by_adam()`
        rather than `optax.adam(...)`.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Adam(Optimizer):
    """Kingma and Ba, "Adam: A Method for Stochastic Optimization" (2015)."""

    name: ClassVar[str] = "adam"

    b1: Axis[float] = axis(0.9, FIRST, **BETA)
    b2: Axis[float] = axis(0.999, SECOND, **BETA)
    eps: Axis[float] = axis(1e-8, **EPS)

    def transformation(self) -> optax.GradientTransformation:
        import optax

        return optax.scale_by_adam(b1=self.b1, b2=self.b2, eps=self.eps)


@dataclass(frozen=True)
class AdamW(Adam):
    """Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2019)."""

    name: ClassVar[str] = "adamw"

    weight_decay: Axis[float] = axis(0.0, **WEIGHT_DECAY)

    def transformation(self) -> optax.GradientTransformation:
        import optax

        decay = optax.add_decayed_weights(self.weight_decay)
        return optax.chain(super().transformation(), decay)


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent with momentum."""

    name: ClassVar[str] = "sgd"

    momentum: Axis[float] = axis(0.9, "momentum coefficient", low=0.0, high=1.0, traced=True)
    nesterov: Axis[bool] = axis(False, "Nesterov's momentum")
    weight_decay: Axis[float] = axis(0.0, **WEIGHT_DECAY)

    def transformation(self) -> optax.GradientTransformation:
        import optax

        momentum = optax.trace(decay=self.momentum, nesterov=self.nesterov)
        return optax.chain(momentum, optax.add_decayed_weights(self.weight_decay))


@dataclass(frozen=True)
class RMSProp(Optimizer):
    """Tieleman and Hinton, "Lecture 6.5: RMSProp" (2012)."""

    name: ClassVar[str] = "rmsprop"

    decay: Axis[float] = axis(0.9, SECOND, **BETA)
    eps: Axis[float] = axis(1e-8, **EPS)
    weight_decay: Axis[float] = axis(0.0, **WEIGHT_DECAY)

    def transformation(self) -> optax.GradientTransformation:
        import optax

        scale = optax.scale_by_rms(decay=self.decay, eps=self.eps)
        return optax.chain(scale, optax.add_decayed_weights(self.weight_decay))


@dataclass(frozen=True)
class Lion(Optimizer):
    """Chen et al., "Symbolic Discovery of Optimization Algorithms" (2023)."""

    name: ClassVar[str] = "lion"

    b1: Axis[float] = axis(0.9, "weight of the mean of gradients in a step", **BETA)
    b2: Axis[float] = axis(0.99, FIRST, **BETA)
    weight_decay: Axis[float] = axis(0.0, **WEIGHT_DECAY)

    def transformation(self) -> optax.GradientTransformation:
        import optax

        scale = optax.scale_by_lion(b1=self.b1, b2=self.b2)
        return optax.chain(scale, optax.add_decayed_weights(self.weight_decay))


@dataclass(frozen=True)
class Lamb(Optimizer):
    """You et al., "Large Batch Optimization for Deep Learning" (2020).

    The length of each array's step is in proportion to the length of the array.
    """

    name: ClassVar[str] = "lamb"

    b1: Axis[float] = axis(0.9, FIRST, **BETA)
    b2: Axis[float] = axis(0.999, SECOND, **BETA)
    eps: Axis[float] = axis(1e-6, **EPS)
    weight_decay: Axis[float] = axis(0.0, **WEIGHT_DECAY)

    def transformation(self) -> optax.GradientTransformation:
        import optax

        return optax.chain(
            optax.scale_by_adam(b1=self.b1, b2=self.b2, eps=self.eps),
            optax.add_decayed_weights(self.weight_decay),
            optax.scale_by_trust_ratio(),
        )


@dataclass(frozen=True)
class Adafactor(Optimizer):
    """Shazeer and Stern, "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost" (2018)."""

    name: ClassVar[str] = "adafactor"

    decay_rate: Axis[float] = axis(
        0.8, "exponent of the decay rate 1 - step^-decay_rate of squared gradients",
        low=0.0, high=1.0,
    )  # fmt: skip
    min_factored: Axis[int] = axis(
        128, "arrays whose two longest axes are at least this long keep means of rows and columns",
        low=1, high=10**6,
    )  # fmt: skip
    parameter_scale: Axis[bool] = axis(True, "multiplies a step by the size of the parameters")
    weight_decay: Axis[float] = axis(0.0, **WEIGHT_DECAY)

    def transformation(self) -> optax.GradientTransformation:
        import optax

        adafactor = optax.adafactor(
            decay_rate=self.decay_rate,
            min_dim_size_to_factor=self.min_factored,
            multiply_by_parameter_scale=self.parameter_scale,
        )
        decay = optax.add_decayed_weights(self.weight_decay)
        return optax.chain(adafactor, optax.scale(-1.0), decay)  # optax returns -d


@dataclass(frozen=True)
class Muon(Optimizer):
    """Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024).

    The momentum of each matrix is made orthogonal by Newton-Schulz iterations. Vectors are trained
    by Adam, with the same learning rate.
    """

    name: ClassVar[str] = "muon"

    beta: Axis[float] = axis(0.95, FIRST, **BETA)
    ns_steps: Axis[int] = axis(5, "number of Newton-Schulz iterations", low=1, high=50)
    nesterov: Axis[bool] = axis(True, "Nesterov's momentum")
    consistent_rms: Axis[float | None] = axis(
        None,
        "root mean square of a matrix's step; 0.2 is about Adam's, so that one learning rate suits "
        "both (Liu et al., 2025); none: it depends on the shape of the matrix",
        low=1e-6, high=1e6,
    )  # fmt: skip
    weight_decay: Axis[float] = axis(0.0, **WEIGHT_DECAY)

    def transformation(self) -> optax.GradientTransformation:
        import optax
        from optax.contrib import muon

        transformation = muon(
            1.0,
            beta=self.beta,
            ns_steps=self.ns_steps,
            nesterov=self.nesterov,
            consistent_rms=self.consistent_rms,
            weight_decay=self.weight_decay,
            adam_weight_decay=self.weight_decay,
        )
        return optax.chain(transformation, optax.scale(-1.0))  # optax returns -d
