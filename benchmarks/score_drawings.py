"""How the figures of `benchmarks/comparison_figures.py` show scores: as maps of fields, and as
dots in rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from benchmarks.comparison_tables import YEARS, Score
from lstm_jax.report import plots
from lstm_jax.report.drawing import INK, Drawing, draw
from lstm_jax.report.grid import shares

SMALL = 9  # points


class Column(NamedTuple):
    """A column of a figure: the score of each cell, and that of the best answer without a model."""

    head: str
    scores: Mapping[str, Score]
    trivial: float
    higher_is_better: bool


class Dots(NamedTuple):
    """A dot in each row of a figure, nan where a row has none, and perhaps half of its interval."""

    label: str
    colour: str
    means: Sequence[float]
    half_widths: Sequence[float] | None = None


def short(value: float) -> str:
    """Returns a number in few characters: with two decimals, or below 0.01 as a power of ten."""
    if value == 0:
        return "0"
    return f"{value:.2f}" if value >= 0.01 else shorter_exponent(f"{value:.0e}")


def _with_interval(score: Score) -> str:
    """Returns a mean, and half of its interval's width below it, in few characters."""
    return f"{short(score.mean)}\n± {short(score.half_width)}"


def shorter_exponent(number: str) -> str:
    """Returns a number whose exponent has one digit where one is enough: 3e-5, not 3e-05."""
    return number.replace("e-0", "e-")


def score_map(
    columns: Sequence[Column],
    cells: Sequence[str],
    more: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
) -> Drawing:
    """Returns a figure of scores, with a row for each cell and one that is trivial.

    The best mean of a column is bold, and so are all whose interval meets that of the best, unless
    they are no better than the trivial score. `more` has columns of text, without colours.
    """
    colours, notes, bold, nothing = [], [], set(), Score(math.nan, 0.0)
    for number, (_, scores, trivial, higher_is_better) in enumerate(columns):
        means = [scores.get(cell, nothing).mean for cell in cells]
        colours.append([*shares(means, higher_is_better, trivial), 0.0])
        notes.append([_with_interval(scores[cell]) if cell in scores else "" for cell in cells])
        notes[-1].append(short(trivial))
        best, *_ = sorted(scores.values(), reverse=higher_is_better)
        bold |= {
            (row, number)
            for row, cell in enumerate(cells)
            if cell in scores
            and scores[cell].meets(best)
            and (scores[cell].mean > trivial if higher_is_better else scores[cell].mean < trivial)
        }
    for texts in more.values():
        colours.append([math.nan] * (len(cells) + 1))
        notes.append([*(texts.get(cell, "") for cell in cells), ""])
    heads = [*(column.head for column in columns), *more]
    rows = [*dated(cells), "trivial"]
    size = 1.7 + 0.52 * len(heads), 1.5 + 0.36 * len(rows)
    return draw(plots.result_map, np.array(colours).T, notes, rows, heads, bold, 9, 55, size=size)


def dated(cells: Iterable[str]) -> list[str]:
    """Returns the names of cells with their years."""
    return [f"{cell} {YEARS[cell]}" for cell in cells]


def cells_in(kinds: Mapping[str, Mapping[str, Score]]) -> list[str]:
    """Returns the cells that have a score of any kind, by year.

    Raises ValueError for a cell without one, which no figure would show.
    """
    cells = {cell for scores in kinds.values() for cell in scores}
    if unknown := cells - YEARS.keys():
        raise ValueError(f"comparison_tables.YEARS has no year of {', '.join(sorted(unknown))}")
    return sorted(cells, key=[*YEARS].index)


def panel_heights(axes: Sequence[Axes], heights: Sequence[float]) -> None:
    """Gives panels below each other these heights, in proportion."""
    grid = axes[0].get_gridspec()
    assert grid is not None
    grid.set_height_ratios(heights)


def scores_in_rows(
    axes: Axes,
    kinds: Mapping[str, Mapping[str, Score]],
    colours: Sequence[str],
    label: str,
    trivial: float = math.nan,
) -> None:
    """Draws the scores of each kind in rows of cells. Raises ValueError for too few colours."""
    nothing, cells = Score(math.nan, math.nan), cells_in(kinds)
    dots = []
    for colour, (kind, scores) in zip(colours[: len(kinds)], kinds.items(), strict=True):
        columns = zip(*(scores.get(cell, nothing) for cell in cells), strict=True)
        dots.append(Dots(kind, colour, *columns))
    dots_in_rows(axes, dated(cells), dots, label, trivial)


def dots_in_rows(
    axes: Axes,
    rows: Sequence[str],
    dots: Sequence[Dots],
    label: str,
    trivial: float | Sequence[float] = math.nan,
) -> None:
    """Draws dots of several kinds in named rows, with a line between those of a row."""
    y = np.arange(len(rows))
    means_KR = np.array([kind.means for kind in dots])
    low, high = np.fmin.reduce(means_KR), np.fmax.reduce(means_KR)
    axes.hlines(y, low, high, color="#99999988", linewidth=1.2, zorder=1)
    for number, kind in enumerate(dots):  # a later one is smaller, and lies above
        axes.errorbar(kind.means, y, xerr=kind.half_widths, fmt="o", label=kind.label,
                      color=kind.colour, markersize=3.5 + 2 * (len(dots) - number), capsize=2.5,
                      linewidth=1.1)  # fmt: skip
    if not np.all(np.isnan(trivial)):
        axes.plot(np.broadcast_to(trivial, len(rows)), y, "|", label="trivial", color=INK,
                  markersize=9, zorder=0)  # fmt: skip
    axes.set_yticks(y, rows)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(label)
    axes.grid(True, axis="x", linewidth=0.5)
    handles, labels = axes.get_legend_handles_labels()
    entries = sorted(zip(labels, handles, strict=True), key=lambda entry: entry[0] == "trivial")
    labels = [label for label, _ in entries]
    letters = sum(map(len, labels)) + 7 * len(labels)  # a mark is as wide as seven
    axes.legend([handle for _, handle in entries], labels, fontsize=SMALL,
                ncols=len(labels) if letters < 62 else 2, loc="lower right",
                bbox_to_anchor=(1, 1), columnspacing=1.2, handletextpad=0.3)  # fmt: skip
