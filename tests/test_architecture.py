"""The house: a room imports only from the rooms before it."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "lstm_jax"
ROOMS = (
    *("errors", "signals", "fields", "plugins", "cells", "data", "tasks", "config", "model"),
    *("train", "runs", "predict", "export", "report", "api", "cli"),
)
DOORS = {PACKAGE / "__init__.py", PACKAGE / "__main__.py"}
FILES = sorted(set(PACKAGE.rglob("*.py")) - DOORS)


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_from_the_rooms_before_it(path):
    own = room_of(path)
    assert own in ROOMS, f"{path} is in no room of the house: put it into its order here"
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            several = node.module == "lstm_jax"
            names = [f"lstm_jax.{n.name}" for n in node.names] if several else [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith("lstm_jax."):
                assert ROOMS.index(name.split(".")[1]) <= ROOMS.index(own), (own, name)
