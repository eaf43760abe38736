"""The templates of this folder, filled in. Needs no matplotlib, which takes a second to import."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape

from lstm_jax.runs.files import printable

SPACES = "\n\t\xa0\u3000"  # which a page may hold as they are


def render(template: str, **values: Any) -> str:
    """Returns a template of this folder filled in; values are escaped unless it says otherwise."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    """Returns the environment, which keeps the templates that it has compiled."""

    def visible(value: Any) -> Any:
        return printable(value, but=SPACES) if type(value) is str else value  # no Markup

    loader = PackageLoader("lstm_jax", "report")
    return Environment(loader=loader, autoescape=select_autoescape(), finalize=visible)
