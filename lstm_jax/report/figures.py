"""Figures, each as SVG and as PNG: readable without a script.

In the SVG text and axes take the colour of the page they are in (`currentColor`), light or dark;
the curves have colours that are told apart on both, also by most of those who do not see all
colours (Okabe and Ito, 2008). The PNG, for slides and notebooks, is black on white.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import LogLocator, NullFormatter

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#8c6bb1", "#999999")
INK = "#010203"  # becomes currentColor
PNG_DPI = 120
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


def log10(norms: Any) -> np.ndarray:
    """Of norms: less than 1e-12 as that, more than a float32 can hold as 1e38, nan not at all."""
    return np.log10(np.clip(np.asarray(norms, float), 1e-12, 1e38))


def draw(
    paint: Callable[..., None],
    *args: Any,
    grid: tuple[int, int] = (1, 1),
    size: tuple[float, float] = (5.2, 3.1),
) -> Drawing:
    """What `paint(axes, *args)` puts on its axes: one, or a list of those of a grid, by rows.

    grid is (rows, columns), size that of each of its axes in inches.
    """
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # Of a model that diverged there may be no number to make room for.
        warnings.filterwarnings("ignore", "constrained_layout not applied")
        rows, columns = grid
        figure = Canvas(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
        paint(axes[0] if len(axes) == 1 else axes, *args)
        text, pixels = io.StringIO(), io.BytesIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
        figure.set_layout_engine("none")  # as it was laid out: half of the time goes into that
        figure.savefig(pixels, format="png", dpi=PNG_DPI, facecolor="white")
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    return Drawing(svg, pixels.getvalue())


def curves(axes: Axes, lines: Mapping[str, tuple[Any, Any]], labels: tuple[str, str]) -> None:
    """Named lines (x, y); where y is [seeds, x], its mean and a band from least to most."""
    for name, (x, y) in lines.items():
        y = np.atleast_2d(np.asarray(y, float))
        alone = "o" if y.shape[1] == 1 else None
        (line,) = axes.plot(x, np.mean(y, axis=0), label=name, linewidth=1.4, marker=alone)
        if len(y) > 1:
            axes.fill_between(
                x, y.min(axis=0), y.max(axis=0), color=line.get_color(), alpha=0.18, linewidth=0
            )
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.grid(True, linewidth=0.5)
    if len(lines) > 3:  # too many to lie on the curves
        axes.legend(fontsize=8, ncols=2 + (len(lines) > 6), loc="lower left", bbox_to_anchor=(0, 1))
    elif len(lines) > 1:
        axes.legend(fontsize=8)


def bands(axes: Axes, lines: Mapping[str, tuple[Any, Any]], labels: tuple[str, str]) -> None:
    """Named means with their standard deviations around them, by row."""
    for name, (middle, sd) in lines.items():
        middle, sd = np.asarray(middle), np.asarray(sd)
        rows = np.arange(1, len(middle) + 1)
        (line,) = axes.plot(rows, middle, label=name, linewidth=1.4)
        axes.fill_between(rows, middle - sd, middle + sd, color=line.get_color(), alpha=0.15, lw=0)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.grid(True, linewidth=0.5)
    axes.legend(fontsize=8)


def heat_map(
    axes: Axes,
    values: np.ndarray,
    notes: Sequence[Sequence[str]],
    ticks: tuple[Sequence[str], Sequence[str]],
    labels: tuple[str, str],
    higher_is_better: bool,
) -> None:
    """values [x, y] as colours, the best bright, a note in each cell; nan where there is none.

    The worst tenth has one colour, so that what is near the best is told apart.
    """
    shown = np.ma.masked_invalid(values.T)
    ends = [0.1, 1.0] if higher_is_better else [0.0, 0.9]
    low, high = np.nanquantile(values, ends) if np.isfinite(values).any() else (0.0, 1.0)
    colours = "viridis" if higher_is_better else "viridis_r"
    axes.imshow(shown, origin="lower", aspect="auto", cmap=colours, vmin=low, vmax=high)
    for x in range(values.shape[0]):
        for y in range(values.shape[1]):
            if math.isfinite(values[x, y]):
                dark = (values[x, y] < (low + high) / 2) == higher_is_better
                axes.text(x, y, notes[x][y], ha="center", va="center", fontsize=7.5,
                          color="white" if dark else "black")  # fmt: skip
    axes.set_xticks(range(len(ticks[0])), ticks[0])
    axes.set_yticks(range(len(ticks[1])), ticks[1])
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])


def confusion(axes: Axes, counts_CC: np.ndarray) -> None:
    """How often which class was taken for which: rows are the labels."""
    wrong = counts_CC.astype(float)
    np.fill_diagonal(wrong, np.nan)
    axes.imshow(wrong, cmap="Oranges", vmin=0)
    for (label, answer), count in np.ndenumerate(counts_CC):
        if count:
            strong = label != answer and wrong[label, answer] > np.nanmax(wrong) / 2
            colour = INK if label == answer else ("white" if strong else "black")
            axes.text(answer, label, str(count), ha="center", va="center", fontsize=6.5,
                      color=colour)  # fmt: skip
    classes = range(len(counts_CC))
    axes.set_xticks(classes)
    axes.set_yticks(classes)
    axes.set_xlabel("answer")
    axes.set_ylabel("label")


def points(
    axes: Axes,
    x: Sequence[float],
    y: Sequence[float],
    half_widths: Sequence[float],
    labels: tuple[str, str],
    log: bool,
    names: Sequence[str] | None = None,
) -> None:
    """Points with intervals, none where half_widths is nan; names stand at x = 0, 1, ..."""
    axes.errorbar(x, y, yerr=half_widths, fmt="o", markersize=5, capsize=3, linewidth=1.2)
    if log:
        _logarithmic(axes)
    if names is not None:
        axes.set_xticks(range(len(names)), names)
        axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.grid(True, linewidth=0.5)


def scatter(axes: Axes, groups: Mapping[str, tuple[Any, Any]], labels: tuple[str, str]) -> None:
    """Named groups of points (x, y), x on a logarithmic scale."""
    for name, (x, y) in groups.items():
        axes.plot(x, y, "o", label=name, markersize=4, alpha=0.8)
    _logarithmic(axes)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.grid(True, linewidth=0.5)
    axes.legend(fontsize=8)


def _logarithmic(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def pictures(axes: Sequence[Axes], images: Sequence[np.ndarray], titles: Sequence[str]) -> None:
    """Grey images side by side."""
    for axis, image, title in zip(axes, images, titles, strict=False):
        axis.imshow(image, cmap="gray", vmin=0, vmax=255)
        axis.set_title(title, fontsize=8)
    for axis in axes:
        axis.set_axis_off()


def belief(axes: Sequence[Axes], image: np.ndarray, beliefs_TC: np.ndarray, title: str) -> None:
    """An image beside the class probabilities after each row of it."""
    picture, map_ = axes
    picture.imshow(image, cmap="gray", vmin=0, vmax=255, aspect="auto")
    picture.set_title(title, fontsize=8)
    picture.set_axis_off()
    map_.imshow(beliefs_TC, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    map_.set_xticks(range(beliefs_TC.shape[1]))
    map_.set_yticks([])
    map_.tick_params(labelsize=7)


def alignment(
    axes: Axes, shares_ST: np.ndarray, written: Sequence[str], read: Sequence[str]
) -> None:
    """How much of its attention each symbol written (downwards) gave to each row read."""
    axes.imshow(shares_ST, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    axes.set_yticks(range(len(written)), written)
    axes.set_xticks(range(len(read)), read, rotation=90)
    axes.tick_params(labelsize=7)
