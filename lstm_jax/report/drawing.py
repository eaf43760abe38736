"""Figures, each as SVG and as PNG: readable without a script.

In the SVG text and axes take the colour of the page they are in (`currentColor`), light or dark;
the curves have colours that are told apart on both, also by most of those who do not see all
colours (Okabe and Ito, 2008). The PNG, for slides and notebooks, is black on white.
"""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#8c6bb1", "#999999")
INK = "#010203"  # becomes currentColor
PNG_DPI = 120
WIDE = 8  # inches
STYLE: Any = {
    "svg.fonttype": "none",
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
    svg: str
    png: bytes
    csv: str  # the points of its curves; empty where it has none
    wide: bool = False  # so that it would be too small in half a page


class Figure(NamedTuple):
    """One figure of a page: its files' name, what it shows, of what, and the drawing."""

    name: str
    title: str
    caption: str
    drawing: Drawing


class Table(NamedTuple):
    """Examples of a page that one reads: a title, what it shows, and rows of text."""

    name: str
    title: str
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def draw(
    paint: Callable[..., None],
    *args: Any,
    grid: tuple[int, int] = (1, 1),
    size: tuple[float, float] = (5.2, 3.1),
    **options: Any,
) -> Drawing:
    """What `paint(axes, *args, **options)` puts on its axes: one, or a list of a grid's, by rows.

    grid is (rows, columns), size that of each of its axes in inches.
    """
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # Of a model that diverged there may be no number to make room for.
        warnings.filterwarnings("ignore", "constrained_layout not applied")
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # drawn as boxes
        rows, columns = grid
        figure = Canvas(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
        paint(axes[0] if len(axes) == 1 else axes, *args, **options)
        text, pixels = io.StringIO(), io.BytesIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
        figure.set_layout_engine("none")  # as it was laid out: half of the time goes into that
        figure.savefig(pixels, format="png", dpi=PNG_DPI, facecolor="white")
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    return Drawing(svg, pixels.getvalue(), _points_of(axes), size[0] * columns > WIDE)


def _points_of(axes: Sequence[Axes]) -> str:
    """The points of all curves, a line each: the panel's and the curve's name, x, y."""
    rows = [
        [each.get_title(), str(line.get_label()).removeprefix("_nolegend_"), x, y]
        for each in axes
        for line in each.get_lines()
        if line.get_marker() not in ("_", "|")  # the ends of an interval
        for x, y in np.asarray(line.get_xydata())
    ]
    if not rows:
        return ""
    text = io.StringIO()
    csv.writer(text).writerows([["panel", "curve", "x", "y"], *rows])
    return text.getvalue()
