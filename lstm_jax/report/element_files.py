"""The figures and tables of a page as files beside it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lstm_jax.report.drawing import Figure, TextTable
from lstm_jax.runs.files import write_bytes, write_text


def write_files(folder: Path, elements: Iterable[Figure | TextTable]) -> None:
    """Writes what takes no time: each figure as SVG, its points as CSV, each table in its forms."""
    for each in elements:
        if isinstance(each, TextTable):
            for name, content in each.files.items():
                write_text(folder / name, content, sync=False)
            continue
        write_text(folder / f"{each.name}.svg", each.drawing.svg)
        if each.drawing.csv:
            write_text(folder / f"{each.name}.csv", each.drawing.csv)


def write_pictures(folder: Path, figures: Iterable[Figure]) -> None:
    """Writes each figure as PDF and PNG, which is slower than to make the page."""
    for figure in figures:
        for file_format in ("pdf", "png"):
            content = figure.drawing.to_bytes(file_format)
            write_bytes(folder / f"{figure.name}.{file_format}", content)
