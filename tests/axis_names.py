"""Checks of array axes by argument names: B has the same size in `x_TBI` and in `h_BH`.

A test wraps a function in `checked`. jaxtyping and beartype check its arguments while it is traced.
"""

import functools
import inspect
import re

import jax
from beartype import beartype
from jaxtyping import Shaped, jaxtyped

NAMED = re.compile(r"[a-z0-9_]*_([A-Z][A-Z0-9]*|[a-z])")


def annotation(name):
    """Returns Shaped[Array, "T B I"] for `x_TBI`, and None for a name without axes.

    Digits stand for themselves.
    """
    match = NAMED.fullmatch(name)
    return None if match is None else Shaped[jax.Array, " ".join(match[1])]


def checked(function):
    """Returns the function with its arguments' axes checked in each call; None passes."""
    signature = inspect.signature(function)
    types = {name: annotation(name) for name in signature.parameters}
    types = {name: shaped | None for name, shaped in types.items() if shaped is not None}
    assert types, f"{function.__name__} names no axes"

    scope = {}
    exec(f"def check(*, {', '.join(types)}): pass", scope)
    scope["check"].__annotations__ = types
    check = jaxtyped(typechecker=beartype)(scope["check"])

    @functools.wraps(function)
    def wrapped(*args, **options):
        bound = signature.bind(*args, **options)
        bound.apply_defaults()
        check(**{name: bound.arguments[name] for name in types})
        return function(*args, **options)

    return wrapped
