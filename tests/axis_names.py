"""Array axes held against their names: of arguments `x_TBI` and `h_BH`, B is one size.

Around a function for the length of a test; what jaxtyping and beartype check while it is traced.
"""

import functools
import inspect
import re

import jax
from beartype import beartype
from jaxtyping import Shaped, jaxtyped

NAMED = re.compile(r"[a-z0-9_]*_([A-Z][A-Z0-9]*|[a-z])")


def annotation(name):
    """`x_TBI` -> Shaped[Array, "T B I"]; digits stand for themselves, or None."""
    match = NAMED.fullmatch(name)
    return None if match is None else Shaped[jax.Array, " ".join(match[1])]


def checked(function):
    """The function, its arguments' axes checked in each call; an argument may be None."""
    signature = inspect.signature(function)
    named = {name: annotation(name) for name in signature.parameters}
    kinds = {name: kind | None for name, kind in named.items() if kind is not None}
    assert kinds, f"{function.__name__} names no axes"

    source = f"def check(*, {', '.join(kinds)}): pass"
    scope = {}
    exec(source, scope)
    scope["check"].__annotations__ = kinds
    check = jaxtyped(typechecker=beartype)(scope["check"])

    @functools.wraps(function)
    def wrapped(*args, **options):
        bound = signature.bind(*args, **options)
        bound.apply_defaults()
        check(**{name: bound.arguments[name] for name in kinds})
        return function(*args, **options)

    return wrapped
