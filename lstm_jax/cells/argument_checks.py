"""Checks of the recurrence's arguments, and conversions to one dtype and one set of mesh axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

Tree = TypeVar("Tree")


def expect_shape(name: str, array: Any, shape: tuple[int, ...], **known: Any) -> None:
    """Raises ValueError with the argument's name, and the shapes of `known`, for another shape."""
    if array.shape != shape:
        beside = "".join(f", beside {other} {a.shape}" for other, a in known.items())
        raise ValueError(f"{name} has shape {array.shape}; expected {shape}{beside}")


def expect_time_steps(x_TBI: Any) -> None:
    """Raises ValueError unless there are one or more time steps of one or more sequences."""
    if x_TBI.ndim != 3 or 0 in x_TBI.shape[:2]:
        raise ValueError(f"x_TBI has shape {x_TBI.shape}; expected [T, B, I], T and B at least 1")


def expect_new_state(cell: str, new: Any, state: Sequence[Any]) -> None:
    """Raises ValueError where a pointwise formula returns no tuple of arrays like the old state."""
    expected = describe_arrays(tuple(state))
    got = describe_arrays(tuple(new)) if isinstance(new, tuple) else type(new).__name__
    if got != expected:
        raise ValueError(
            f"pointwise of the cell {cell} returned {got}; expected the new state, a tuple like "
            f"the old one: {expected}"
        )


def describe_arrays(tree: Any) -> str:
    """Returns the types and shapes of a tree of arrays, such as (float32[1, 8], float32[1, 8])."""
    described = jax.tree.map(lambda a: f"{jnp.result_type(a)}{list(jnp.shape(a))}", tree)
    return str(described).replace("'", "")


def expect_state(
    names: Sequence[str], state: Sequence[Any] | None, hidden: int, x_TBI: Any, **known: Any
) -> None:
    """Raises ValueError or TypeError with the name of the array of an initial state that is wrong.

    None, which stands for zeros, passes.
    """
    if state is None:
        return
    if len(state) != len(names):
        raise ValueError(f"carry has {len(state)} arrays; expected {', '.join(names)}")
    for name, array in zip(names, state, strict=True):
        expect_shape(f"carry {name}_BH", array, (x_TBI.shape[1], hidden), x_TBI=x_TBI, **known)
        expect_floats(**{f"carry {name}_BH": array})


def expect_floats(**arrays: Any) -> None:
    """Raises TypeError with the name of the first array that does not hold floats."""
    for name, array in arrays.items():
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise TypeError(f"{name} of shape {array.shape} is {array.dtype}; expected floats")


def expect_lengths(lengths_B: Any, x_TBI: Any) -> None:
    """Raises ValueError or TypeError unless there is one integer for each sequence, or None."""
    if lengths_B is None:
        return
    expect_shape("lengths_B", lengths_B, (x_TBI.shape[1],), x_TBI=x_TBI)
    if not jnp.issubdtype(lengths_B.dtype, jnp.integer):
        raise TypeError(f"lengths_B is {lengths_B.dtype}; expected integers")


def promote_floats(tree: Tree) -> Tree:
    """Returns all arrays as float64 where any of them is float64, otherwise as float32."""
    double = any(array.dtype == jnp.float64 for array in jax.tree.leaves(tree))
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float64 if double else jnp.float32), tree)


def vary_alike(tree: Tree) -> Tree:
    """Returns the arrays, each varying over all mesh axes over which any of them varies.

    Inside `shard_map` a scan's carry must vary over the same axes before and after a time step.
    """
    varying = [jax.typeof(a).manual_axis_type.varying for a in jax.tree.leaves(tree)]
    axes = frozenset().union(*varying)

    def vary(array: jax.Array) -> jax.Array:
        missing = axes - jax.typeof(array).manual_axis_type.varying
        return lax.pcast(array, tuple(missing), to="varying")

    return jax.tree.map(vary, tree)
