"""The figures of docs/comparison.md, drawn from the tables in `docs/comparison/`.

    python -m benchmarks.comparison_figures     # draws all of them, in seconds

The tables are those of `benchmarks/equal_terms.py`; `benchmarks/costs.py` measures what cells cost,
and `benchmarks/numerics.py` the errors of a linear recurrence.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from benchmarks import numerics
from benchmarks.comparison_tables import DOCS, YEARS, Score, read_scores, read_table, score_of
from benchmarks.costs import TIME_STEPS, WIDTHS
from lstm_jax.report import plots
from lstm_jax.report.drawing import COLOURS, INK, Drawing, draw
from lstm_jax.report.grid import shares
from lstm_jax.runs.files import write_bytes


class Task(NamedTuple):
    """A column: the table's name, its head, and the score of the best answer without a model."""

    table: str
    head: str
    trivial: float
    higher_is_better: bool = False


TASKS = (
    Task("selective_copying", "selective\ncopying\nrecall", 0.066, higher_is_better=True),
    Task("inside_the_block", "the same in\ntwo blocks\nrecall", 0.066, higher_is_better=True),
    Task("recall", "values\nof keys\nrecall", 0.037, higher_is_better=True),
    Task("pixels", "MNIST by\npixels\naccuracy", 0.114, higher_is_better=True),
    Task("long_adding", "adding, 200\ntime steps\nsquared error", 0.178),
    Task("eras_mackey_glass", "Mackey-\nGlass\nsquared error", 1.0),
    Task("eras_nyse", "NYSE\nvolume\nsquared error", 0.896),
    Task("eras_python", "Python's\nsource\nbits per char.", 4.56),
)


class Dots(NamedTuple):
    """A dot in each row of a figure, nan where a row has none, and perhaps half of its interval."""

    label: str
    colour: str
    means: Sequence[float]
    half_widths: Sequence[float] | None = None


def score_text(mean: float, half_width: float) -> str:
    """Returns a mean over its half width, which has one digit, or two if the first is 1 to 3."""
    decimals = max(0, -math.floor(math.log10(half_width)) + (f"{half_width:e}"[0] in "123"))
    return f"{mean:.{decimals}f}\n±{half_width:.{decimals}f}"


def draw_head() -> Drawing:
    """Returns the figure of cells by task: a row for each cell, and one that is trivial."""
    colours, notes = [], []
    for task in TASKS:
        scores = read_scores(task.table)
        means = [scores.get(cell, (math.nan, 0.0))[0] for cell in YEARS]
        colours.append([*shares(means, task.higher_is_better, task.trivial), 0.0])
        texts = [score_text(*scores[cell]) if cell in scores else "" for cell in YEARS]
        notes.append([*texts, f"{task.trivial:g}"])
    costs = {row["cell"]: f"{float(row['times_gru']):.2f}" for row in read_table("cost")}
    colours.append([math.nan] * len(notes[0]))
    notes.append([*(costs.get(cell, "") for cell in YEARS), ""])
    heads = [*(task.head for task in TASKS), "time of a\ntraining step,\nGRU = 1"]
    return plots.draw_result_map(np.array(colours).T, notes, [*_dated(YEARS), "trivial"], heads)


def draw_blocks() -> Drawing:
    """Returns the figure of the era of the cell by that of the block around it, on two tasks."""
    nothing = Score(math.nan, math.nan)
    copying = {
        "bare, one layer": read_scores("selective_copying"),
        "in two residual blocks": read_scores("inside_the_block"),
    }
    ladder: dict[str, dict[str, Score]] = {}
    names = {"": "bare", "1.0": "residual, norm", "2.0": "wider, convolution"}
    for row in read_table("ladder"):
        ladder.setdefault(names[row["block.expand"]], {})[row["cell"]] = score_of(row)

    def paint(axes: Sequence[Axes]) -> None:
        panels = (
            (copying, "recall, selective copying", TASKS[0].trivial),
            (ladder, "bits per character of enwik8 (trivial 5.10)", math.nan),
        )
        for each, (kinds, label, trivial) in zip(axes, panels, strict=True):
            cells = [cell for cell in YEARS if any(cell in scores for scores in kinds.values())]
            dots = []
            for colour, (kind, scores) in zip((1, 0, 2), kinds.items(), strict=False):
                columns = zip(*(scores.get(cell, nothing) for cell in cells), strict=True)
                dots.append(Dots(kind, COLOURS[colour], *columns))
            _dots_in_rows(each, _dated(cells), dots, label, trivial)
        axes[0].set_xlim(left=0)

    return draw(paint, grid=(2, 1), size=(5.2, 3.3))


def draw_time_scales() -> Drawing:
    """Returns the figure of the error by the longest time scale that the units start with."""
    rows = read_table("time_scales")
    steps = list(dict.fromkeys(row["chrono_steps"] for row in rows))
    curves = {}
    for cell in dict.fromkeys(row["cell"] for row in rows):
        each_NS = [row["each_seed"].split() for row in rows if row["cell"] == cell]
        curves[f"cell {cell}"] = np.arange(len(steps)), np.array(each_NS, float).T
    trivial = next(task.trivial for task in TASKS if task.table == "long_adding")

    def paint(axes: Axes) -> None:
        labels = "chrono steps: the longest time scale at the start", "squared error"
        plots.curves(axes, curves, labels, log=True)
        axes.set_xticks(range(len(steps)), ["none", *steps[1:]])
        axes.axhline(trivial, color=INK, linewidth=0.8, linestyle=":")
        axes.text(len(steps) - 1, trivial, "trivial", fontsize=8, va="bottom", ha="right")

    return draw(paint, size=(5.2, 4.2))


def draw_published() -> Drawing:
    """Returns the figure of published numbers beside ours: a row for each of them."""
    rows = sorted(read_table("published"), key=lambda row: row["same_task"] == "no")
    num_same = sum(row["same_task"] == "yes" for row in rows)

    def column(name: str) -> list[float]:
        return [float(row[name] or "nan") for row in rows]

    def paint(axes: Axes) -> None:
        pair = (
            Dots("published", COLOURS[1], column("published"), column("published_half_width")),
            Dots("here", COLOURS[0], column("ours"), column("half_width")),
        )
        _dots_in_rows(axes, [""] * len(rows), pair, "accuracy, recall or R²", column("trivial"))
        axes.set_ylim(top=-0.8)
        axes.tick_params(axis="y", length=0)
        for y, row in enumerate(rows):
            axes.text(0, y - 0.32, f"{row['what']}: {row['paper']}", fontsize=8, va="center")
        axes.axhline(num_same - 0.6, color=INK, linewidth=0.8)
        for y, words in (0, "the same task"), (num_same, "a smaller task of its kind"):
            axes.text(1, y - 0.32, words, fontsize=8, va="center", ha="right", style="italic")

    return draw(paint, size=(5.2, 0.9 + 0.42 * len(rows)))


def draw_costs() -> Drawing:
    """Returns the figure of time and memory by cell and width."""
    rows = {(row["cell"], int(row["hidden_size"])): row for row in read_table("cost_by_width")}
    cells = [cell for cell in YEARS if (cell, WIDTHS[0]) in rows]
    quantities = (
        ("cpu_milliseconds", 1e3 / TIME_STEPS, "microseconds of a time step of 16 examples"),
        ("megabytes", 1.0, "MB for the gradients of 16 examples"),
    )

    def paint(axes: Sequence[Axes]) -> None:
        for each, (name, unit, label) in zip(axes, quantities, strict=True):
            dots = [
                Dots(f"{width} units", colour, [unit * float(rows[c, width][name]) for c in cells])
                for width, colour in zip(WIDTHS, COLOURS[:3], strict=True)
            ]
            _dots_in_rows(each, _dated(cells), dots, label)
            plots.logarithmic(each)

    return draw(paint, grid=(2, 1), size=(5.2, 3.4))


def draw_errors() -> Drawing:
    """Returns the figure of the errors of a linear recurrence in float32, a panel for each one."""
    panels: dict[str, dict[str, dict[int, float]]] = {}
    for row in read_table("error"):
        for way in numerics.WAYS:
            if row[way]:
                lines = panels.setdefault(row["recurrence"], {})
                lines.setdefault(way, {})[int(row["time steps"])] = float(row[way])

    def paint(axes: Sequence[Axes]) -> None:
        colours = plots.colours_of(numerics.WAYS)
        for each, (recurrence, lines) in zip(axes, panels.items(), strict=True):
            for way, values in lines.items():
                each.plot([*values], [*values.values()], "o-", label=way, color=colours[way])
            each.set(xscale="log", yscale="log", title=recurrence, ylim=(1e-7, 1e-2))
            each.set_ylabel("largest relative error", fontsize=8)
        axes[0].legend()
        axes[-1].set_xlabel("time steps")

    return draw(paint, grid=(len(panels), 1), size=(5.2, 2.4))


FIGURES = {
    "comparison.png": draw_head,
    "comparison/blocks.png": draw_blocks,
    "comparison/time_scales.png": draw_time_scales,
    "comparison/published.png": draw_published,
    "comparison/costs.png": draw_costs,
    "comparison/error.png": draw_errors,
}


def _dated(cells: Iterable[str]) -> list[str]:
    """Returns the names of cells with their years."""
    return [f"{cell}  {YEARS[cell]}" for cell in cells]


def _dots_in_rows(
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
    axes.legend(fontsize=8, ncols=4, loc="lower left", bbox_to_anchor=(0, 1))


def main() -> None:
    """Draws all figures."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    for name, figure in FIGURES.items():
        write_bytes(DOCS / name, figure().to_bytes("png"))


if __name__ == "__main__":
    main()
