"""The order of imports: a folder of the package imports only from those before it."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "lstm_jax"
FOLDERS = (
    *(
        "errors",
        "signals",
        "fields",
        "plugins",
        "stand_ins",
        "components",
        "cells",
        "nnx",
        "data",
        "tasks",
    ),
    *("optim", "config", "model"),
    *("train", "runs", "predict", "export", "report", "api", "cli"),
)
ENTRY_POINTS = {PACKAGE / "__init__.py", PACKAGE / "__main__.py"}
FILES = sorted(set(PACKAGE.rglob("*.py")) - ENTRY_POINTS)


def folder_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_folder_imports_only_from_those_before_it(path):
    folder = folder_of(path)
    assert folder in FOLDERS, (
        f"{path} is in no folder of FOLDERS: put it into the order of imports here"
    )
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            is_package = node.module == "lstm_jax"
            names = [f"lstm_jax.{n.name}" for n in node.names] if is_package else [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith("lstm_jax."):
                assert FOLDERS.index(name.split(".")[1]) <= FOLDERS.index(folder), (folder, name)


def test_the_page_on_architecture_lists_the_folders_in_their_order():
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text().split("\n## ")[1]
    _, *listed = re.findall(r"^\| `(\w+)(?:/|\.py)` \|", page, re.MULTILINE)  # after the head
    assert listed == [*FOLDERS]
