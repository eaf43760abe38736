"""The elements of a page: figures, each as SVG, PDF and PNG, tables, and templates filled in.

All can be read without a script. In the SVG, text and axes take the colour of the page around them
(`currentColor`), light or dark. The colours of the curves can be told apart on both, also by most
people who do not see all colours (Okabe and Ito, 2008). The PDF, for papers, and the PNG, for
slides and notebooks, have black ink.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.figure import Figure as Canvas

from lstm_jax.report.tables import FORMS, all_forms
from lstm_jax.report.template import SPACES
from lstm_jax.runs.files import csv_text, printable

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#8c6bb1", "#999999")
INK = "#010203"  # becomes currentColor
PNG_DPI = 120
WIDE = 8  # inches
STYLE: Any = {
    "svg.fonttype": "none",
    "pdf.fonttype": 42,  # TrueType: conferences refuse fonts of type 3
    "svg.hashsalt": "lstm_jax",  # the same figure is the same text
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=COLOURS),
    "legend.frameon": False,
    "grid.color": "#88888855",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


class Drawing(NamedTuple):
    """A figure without its title and caption."""

    svg: str
    csv: str  # the points of its curves; empty where it has none
    wide: bool = False  # too wide for half a page
    canvas: Canvas | None = None  # what the other formats are made from

    def to_bytes(self, file_format: str) -> bytes:
        """Returns the figure as `pdf` or as `png`, black on white."""
        assert self.canvas is not None
        file = io.BytesIO()
        dates = {"CreationDate": None} if file_format == "pdf" else {}
        with matplotlib.rc_context(STYLE), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            self.canvas.savefig(
                file, format=file_format, dpi=PNG_DPI, facecolor="white", metadata=dates
            )
        return file.getvalue()


class Figure(NamedTuple):
    """A figure of a page. Its files have its name; its caption names the data and the model."""

    name: str
    title: str
    caption: str
    drawing: Drawing


class TextTable(NamedTuple):
    """A table of a page, whose cells are text.

    Without a header, the first cell of each row is its name.
    """

    name: str
    title: str
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    bold: Collection[tuple[int, int]] = ()  # (row, column) of cells in bold

    @property
    def files(self) -> dict[str, str]:
        """The table in Markdown, LaTeX and CSV, by the names of its files."""
        return all_forms(self.name, self.header, self.rows, self.bold)

    @property
    def links(self) -> dict[str, str]:
        """The names of these files, by the names of the forms."""
        return dict(zip(FORMS.values(), self.files, strict=True))


def draw(
    paint: Callable[..., None],
    *args: Any,
    grid: tuple[int, int] = (1, 1),
    size: tuple[float, float] = (5.2, 3.1),
    **options: Any,
) -> Drawing:
    """Returns the drawing that `paint(axes, *args, **options)` makes.

    `grid` is (rows, columns), `size` the size of each of its axes in inches. Of a grid with more
    than one axes, `paint` gets the list of them, row by row.
    """
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # The values of a model that diverged may leave no room to lay out.
        warnings.filterwarnings("ignore", "constrained_layout not applied")
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # drawn as boxes
        rows, columns = grid
        canvas = Canvas(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
        axes = canvas.subplots(rows, columns, squeeze=False).ravel().tolist()
        paint(axes[0] if len(axes) == 1 else axes, *args, **options)
        svg = io.StringIO()
        canvas.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        canvas.set_layout_engine("none")  # keep this layout: making it takes half of the time
    table = [
        [each.get_title(), str(line.get_label()).removeprefix("_nolegend_"), x, y]
        for each in axes
        for line in each.get_lines()
        if line.get_marker() not in ("_", "|")  # the caps of an interval
        for x, y in np.asarray(line.get_xydata())
    ]
    points = csv_text([["panel", "curve", "x", "y"], *table]) if table else ""
    text = printable(svg.getvalue(), but=SPACES)
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    return Drawing(text, points, size[0] * columns > WIDE, canvas)
