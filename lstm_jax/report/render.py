"""Templates of this folder, filled in; all values are escaped unless a template says otherwise."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape


def render(template: str, **values: Any) -> str:
    """Returns the page."""
    loader = PackageLoader("lstm_jax", "report")
    environment = Environment(loader=loader, autoescape=select_autoescape())
    return environment.get_template(template).render(**values)
