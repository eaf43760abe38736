"""Fields and their values as text."""

from typing import Any

from lstm_jax.components import Component


def field_label(path: str) -> str:
    """Returns a path as plain words: `learning rate`."""
    return path.removeprefix("task.").replace(".", " ").replace("_", " ")


def format_value(value: Any) -> str:
    """Returns a value as text that the command line takes back: `0.001`, `none`, `true`."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Component):
        fields = ", ".join(f"{k} {format_value(v)}" for k, v in value.overrides.items())
        return f"{value.name} ({fields})" if fields else value.name
    return f"{value:g}" if isinstance(value, float) else str(value)
