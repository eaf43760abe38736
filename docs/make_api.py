"""Writes docs/api.md from the signatures and docstrings of the package: `make docs`."""

import inspect
import re
from pathlib import Path

import lstm_jax
from lstm_jax.fields import field_specs
from lstm_jax.predict.trained import TrainedModel

PAGE = Path(__file__).parent / "api.md"
BEGIN = """# The Python interface

`make docs` writes this page from the code. Each entry has its signature and the first paragraph of
its documentation; `help(lstm_jax.run)` shows all of it, with shapes and errors. A field of an
experiment or of a task takes one value or several, and its option on the command line has its name.
"""
GROUPS = {
    "Experiments": "lstm_jax.config",
    "Runs": ("lstm_jax.api", "lstm_jax.runs", "lstm_jax.predict"),
    "Tasks": "lstm_jax.tasks",
    "Data": "lstm_jax.data",
    "Layers and recurrences": "lstm_jax.cells",
    "Errors": "lstm_jax.errors",
}


def first_paragraph(documented):
    return " ".join((inspect.getdoc(documented) or "").split("\n\n")[0].split())


def signature(function, name):
    """Returns the call as one writes it; a default that is a function or an object is `...`."""
    parameters, arguments = inspect.signature(function).parameters, []
    for each in parameters.values():
        if each.kind is each.KEYWORD_ONLY and "*" not in arguments:
            arguments.append("*")
        is_plain = isinstance(each.default, (str, int, float, tuple, type(None)))
        default = f"={each.default!r}" if is_plain else "=..."
        stars = "**" if each.kind is each.VAR_KEYWORD else ""
        is_of_flax = "parent" in parameters and each.name in ("parent", "name")
        if each.name != "self" and not is_of_flax:
            arguments.append(f"{stars}{each.name}{'' if each.default is each.empty else default}")
    return f"{name}({', '.join(arguments)})"


def meaning(spec):
    """Returns what a field means in a few words; where its help explains choices, all of it."""
    text = spec.help if spec.choices else re.split("[;:] ", re.sub(r" \([^)]*\)", "", spec.help))[0]
    return text.replace("|", "\\|")


def methods(cls):
    """Yields a line for each public method and property that the class itself defines."""
    for name, member in vars(cls).items():
        function = getattr(member, "func", None) or getattr(member, "fget", None) or member
        if name.startswith("_") or not inspect.isfunction(function) or not function.__doc__:
            continue
        call = signature(function, f".{name}") if function is member else f".{name}"
        yield f"- `{call}`: {first_paragraph(function)}"


def entry(name, value):
    """Yields the paragraphs of one name."""
    yield f"### {name}"
    if specs := field_specs(value) if hasattr(value, "__dataclass_fields__") else {}:
        yield first_paragraph(value)
        rows = ["| field | default | meaning |", "|---|---|---|"]
        for field, spec in specs.items():
            default = value.__dataclass_fields__[field].default
            default = (
                default if isinstance(default, (int, float, str, type(None))) else default.name
            )
            rows.append(f"| `{field}` | `{default}` | {meaning(spec)} |")
        yield "\n".join(rows)
        return
    if not (isinstance(value, type) and issubclass(value, (Exception, tuple, TrainedModel))):
        yield f"```text\n{signature(value, name)}\n```"
    yield first_paragraph(value)
    if value.__module__.startswith(GROUPS["Runs"]) and isinstance(value, type):
        yield "\n".join(methods(value))


def api_page():
    """Returns the text of the page."""
    values = {name: getattr(lstm_jax, name) for name in lstm_jax.__all__}
    values["TrainedModel"] = TrainedModel
    paragraphs = [BEGIN.strip()]
    for title, modules in GROUPS.items():
        paragraphs.append(f"## {title}")
        for name, value in values.items():
            if value.__module__.startswith(modules):
                paragraphs.extend(filter(None, entry(name, value)))
    return "\n\n".join(paragraphs) + "\n"


if __name__ == "__main__":
    PAGE.write_text(api_page())
