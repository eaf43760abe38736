"""A table in Markdown, LaTeX and CSV: a function of a header and rows for each form.

All take text and numbers. A cell such as `0.9440 ± 0.0435` is text and stays one cell. Needs
neither matplotlib nor JAX: the benchmarks print their tables with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from lstm_jax.runs.files import csv_text, printable

FORMS = MappingProxyType({"md": "Markdown", "tex": "LaTeX", "csv": "CSV"})  # by the file's ending
# Letters that Markdown reads as markup, which an underscore inside a word is not.
MARKUP = re.compile(r"[\\|*`<~]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)")
LATEX: Mapping[str, str] = MappingProxyType(
    {letter: f"\\{letter}" for letter in "&%$#_{}"}
    | {letter: f"${letter}$" for letter in "<>|"}
    | {letter: f"{{{letter}}}" for letter in "[]*"}  # at the start of a row they would be options
    | dict.fromkeys("\n\t\u3000", " ")
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"±": r"$\pm$", "\u00d7": r"$\times$", "²": "$^2$", "\xa0": "~"}
)


def cell_text(value: Any) -> str:
    """Returns a value as the text of a cell: four digits of a float, nothing for None."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else printable(str(value), but="\n\t\xa0\u3000")


def markdown(
    header: Sequence[Any], rows: Sequence[Sequence[Any]], bold: Collection[tuple[int, int]] = ()
) -> str:
    """Returns a table in Markdown, whose lines all end with a newline.

    `bold` holds the positions (row, column) of cells in bold. A table without a header gets an
    empty one, which Markdown asks for.
    """

    def cell(text: str, is_bold: bool) -> str:
        text = MARKUP.sub(lambda found: "\\" + found[0], text).replace("\n", "<br>")
        return f"**{text}**" if is_bold and text else text

    width = max(map(len, (header, *rows)))
    header = [*header, *[""] * (width - len(header))]
    lines = _cells([header, *rows], cell, {(row + 1, column) for row, column in bold})
    lines.insert(1, ["---"] * width)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def latex(
    header: Sequence[Any], rows: Sequence[Sequence[Any]], bold: Collection[tuple[int, int]] = ()
) -> str:
    """Returns a table in LaTeX: a `tabular` that needs no package, with three lines.

    `bold` holds the positions (row, column) of cells in bold.
    """

    def cell(text: str, is_bold: bool) -> str:
        text = "".join(LATEX.get(letter, letter) for letter in text)
        return rf"\textbf{{{text}}}" if is_bold and text else text

    head, body = _cells([header], cell, ()), _cells(rows, cell, bold)
    lines = [r"\hline", *(f"{' & '.join(line)} \\\\" for line in head if any(line)), r"\hline",
             *(f"{' & '.join(line)} \\\\" for line in body), r"\hline"]  # fmt: skip
    if not any(map(cell_text, header)):
        del lines[0]
    columns = "l" * max(map(len, (header, *rows)))
    return "\n".join([rf"\begin{{tabular}}{{{columns}}}", *lines, r"\end{tabular}", ""])


def all_forms(
    name: str,
    header: Sequence[Any],
    rows: Sequence[Sequence[Any]],
    bold: Collection[tuple[int, int]] = (),
) -> dict[str, str]:
    """Returns the table in all forms, by the names of files: `table_NAME.md` and so on."""
    has_header = any(map(cell_text, header))
    contents = {
        "md": markdown(header, rows, bold),
        "tex": latex(header, rows, bold),
        "csv": csv_text([*([header] if has_header else []), *rows]),
    }
    return {f"table_{name}.{form}": contents[form] for form in FORMS}


def _cells(
    rows: Sequence[Sequence[Any]],
    cell: Callable[[str, bool], str],
    bold: Collection[tuple[int, int]],
) -> list[list[str]]:
    """Returns what `cell(text, is_bold)` makes of each cell."""
    return [
        [cell(cell_text(value), (number, column) in bold) for column, value in enumerate(row)]
        for number, row in enumerate(rows)
    ]
