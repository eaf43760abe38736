"""Learning rate schedules as components of an experiment: warm-up, then a curve.

A schedule is a factor of the learning rate, from 0 to 1, at each step. Every schedule begins with
the warm-up: the factor rises linearly to 1. Optax is imported when a factor is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from lstm_jax.components import Component
from lstm_jax.errors import UserError
from lstm_jax.fields import Axis, axis

if TYPE_CHECKING:
    import jax
    import optax

STEPS: dict[str, Any] = {"low": 0, "high": 10**9}
SHARE: dict[str, Any] = {"low": 0.0, "high": 1.0}
FINAL_FACTOR: dict[str, Any] = {"help": "factor after the last step", "low": 0.0, "high": 1.0}


@dataclass(frozen=True)
class Schedule(Component):
    """The base class of all schedules."""

    role: ClassVar[str] = "schedule"

    warmup_steps: Axis[int] = axis(
        0, "number of steps over which the learning rate rises linearly from zero", **STEPS
    )
    warmup_share: Axis[float] = axis(
        0.0, "share of all steps over which it rises, instead of warmup_steps", **SHARE
    )

    def check(self) -> None:
        if self.warmup_steps and self.warmup_share:
            raise UserError(f"{self.role}: give warmup_steps or warmup_share, not both")

    def num_warmup_steps(self, num_steps: int) -> int:
        """Returns the number of steps of the warm-up, of `num_steps` in all."""
        return self.warmup_steps or round(self.warmup_share * num_steps)

    def check_steps(self, num_steps: int, budget: str) -> None:
        """Raises UserError where the warm-up does not fit into the steps that a budget allows."""
        warmup = self.num_warmup_steps(num_steps)
        if warmup >= num_steps:
            name = "warmup_steps" if self.warmup_steps else "warmup_share"
            raise UserError(
                f"{self.role}.{name}: {warmup} is not below the {num_steps} steps that {budget} "
                "allows"
            )

    def curve(self, num_steps: int, warmup: int) -> optax.Schedule:
        """Returns the factor after the warm-up, a function of the steps since its end.

        `num_steps` are all steps, and `warmup` are those of the warm-up.
        """
        raise NotImplementedError

    def factor(self, step: jax.Array, num_steps: int) -> jax.Array | float:
        """Returns the factor of the learning rate at a step of `num_steps`, float []."""
        import jax
        import optax

        warmup = self.num_warmup_steps(num_steps)
        factor = self.curve(num_steps, warmup)
        if warmup:
            # It counts from 1: with a rate of zero the first step would be wasted.
            flat = optax.constant_schedule(1.0)
            rise = optax.linear_schedule(1 / warmup, 1.0, warmup - 1) if warmup > 1 else flat
            factor = optax.join_schedules([rise, factor], [warmup])
        with jax.numpy_dtype_promotion("standard"):  # optax divides an int32 step
            return factor(step)


@dataclass(frozen=True)
class Constant(Schedule):
    """The learning rate stays as it is."""

    name: ClassVar[str] = "constant"

    def curve(self, num_steps: int, warmup: int) -> optax.Schedule:
        import optax

        return optax.constant_schedule(1.0)


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine (Loshchilov and Hutter, "SGDR", 2017, without restarts)."""

    name: ClassVar[str] = "cosine"

    final_factor: Axis[float] = axis(0.0, **FINAL_FACTOR)

    def curve(self, num_steps: int, warmup: int) -> optax.Schedule:
        import optax

        return optax.cosine_decay_schedule(1.0, num_steps - warmup, self.final_factor)


@dataclass(frozen=True)
class Linear(Schedule):
    """A straight line."""

    name: ClassVar[str] = "linear"

    final_factor: Axis[float] = axis(0.0, **FINAL_FACTOR)

    def curve(self, num_steps: int, warmup: int) -> optax.Schedule:
        import optax

        return optax.linear_schedule(1.0, self.final_factor, num_steps - warmup)


@dataclass(frozen=True)
class WarmupStableDecay(Schedule):
    """Constant after the warm-up, and a straight line at the end (Hu et al., "MiniCPM", 2024)."""

    name: ClassVar[str] = "warmup_stable_decay"

    decay_steps: Axis[int] = axis(
        0, "number of the last steps, over which the learning rate falls linearly", **STEPS
    )
    decay_share: Axis[float] = axis(
        0.2, "share of all steps over which it falls, where decay_steps is 0", **SHARE
    )
    final_factor: Axis[float] = axis(0.0, **FINAL_FACTOR)

    def check(self) -> None:
        super().check()
        if self.decay_steps and "decay_share" in self.overrides:
            raise UserError(f"{self.role}: give decay_steps or decay_share, not both")

    def num_decay_steps(self, num_steps: int) -> int:
        """Returns the number of steps of the decay, of `num_steps` in all."""
        return self.decay_steps or max(1, round(self.decay_share * num_steps))

    def check_steps(self, num_steps: int, budget: str) -> None:
        super().check_steps(num_steps, budget)
        warmup, decay = self.num_warmup_steps(num_steps), self.num_decay_steps(num_steps)
        if warmup + decay > num_steps:
            raise UserError(
                f"{self.role}: {warmup} steps of warm-up and {decay} of decay are more than the "
                f"{num_steps} steps that {budget} allows"
            )

    def curve(self, num_steps: int, warmup: int) -> optax.Schedule:
        import optax

        decay = self.num_decay_steps(num_steps)
        fall = optax.linear_schedule(1.0, self.final_factor, decay)
        return optax.join_schedules(
            [optax.constant_schedule(1.0), fall], [num_steps - warmup - decay]
        )
