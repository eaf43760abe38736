"""The figures of docs/comparison.md, drawn from the tables in `docs/comparison/`.

    python -m benchmarks.comparison_figures     # draws all of them, in seconds

The tables are those of `benchmarks/equal_terms.py`; `benchmarks/costs.py` measures what cells cost,
and `benchmarks/numerics.py` the errors of a linear recurrence.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from benchmarks import numerics
from benchmarks.comparison_tables import (
    DOCS,
    TABLES,
    YEARS,
    Score,
    read_scores,
    read_table,
    score_of,
)
from benchmarks.costs import TIME_STEPS, WIDTHS
from lstm_jax.report import plots
from lstm_jax.report.drawing import COLOURS, INK, Drawing, draw
from lstm_jax.report.grid import shares
from lstm_jax.runs.files import write_bytes


class Task(NamedTuple):
    """A column of the head figure: its table and, of several conditions there, the one it shows.

    `trivial` is the score of the best answer without a model.
    """

    head: str
    table: str
    trivial: float
    higher_is_better: bool = False
    condition: Mapping[str, str] = MappingProxyType({})

    def read(self) -> dict[str, Score]:
        """Returns the score of each cell."""
        rows = (row for row in read_table(self.table) if row.items() >= self.condition.items())
        return {row["cell"]: score_of(row) for row in rows}


TASKS = (
    Task("state tracking, S3", "state_tracking", 0.19, True, {"task.problem": "s3"}),
    Task("selective copying", "selective_copying", 0.066, True),
    Task("the same, two blocks", "inside_the_block", 0.066, True),
    Task("associative recall", "recall", 0.037, True),
    Task("permuted MNIST", "pixels", 0.114, True),
    Task("adding", "long_adding", 0.178),
    Task("Mackey-Glass", "eras_mackey_glass", 1.0),
    Task("NYSE volume", "eras_nyse", 0.896),
    Task("Python's source", "eras_python", 4.56),
)


# Tables of one task at other sizes, readings and lengths, and what they are called in a figure.
VARIANTS = {
    "pixels": {
        "pixels": "16,000 parameters, shuffled",
        "pixels_minutes": "the same, a GRU's time",
        "pixels_34k": "34,000, shuffled",
        "pixels_69k": "69,000, shuffled",
        "pixels_sequential": "16,000, in order",
    },
    "long_adding": {
        "long_adding": "200 time steps",
        "long_adding_500": "500",
        "long_adding_1000": "1,000",
    },
}
WIDTH = 4.6  # inches of a figure that can be read on a phone
SMALL = 9  # points
LENGTHS = "40", "256"  # symbols: as in training, and the longest
TRIVIAL = {task.table: task.trivial for task in TASKS}


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
    return f"{value:.2f}" if value >= 0.01 else _without_zero(f"{value:.0e}")


def with_interval(score: Score) -> str:
    """Returns a mean, and half of its interval's width below it, in few characters."""
    return f"{short(score.mean)}\n± {short(score.half_width)}"


def _without_zero(number: str) -> str:
    """Returns a number whose exponent has one digit where one is enough: 3e-5, not 3e-05."""
    return number.replace("e-0", "e-")


def draw_head() -> Drawing:
    """Returns the figure of cells by task: a row for each cell, and one that is trivial, with what
    a training step costs in the last column.
    """
    columns = [
        Column(f"{task.head} {'↑' if task.higher_is_better else '↓'}", task.read(), task.trivial,
               task.higher_is_better)
        for task in TASKS
    ]  # fmt: skip
    costs = {row["cell"]: short(float(row["times_gru"])) for row in read_table("cost")}
    return _score_map(columns, [*YEARS], {"time, GRU = 1": costs})


def draw_lengths() -> Drawing:
    """Returns the figure of state tracking by length: problems at the trained length and beyond."""
    scores: dict[tuple[str, str], dict[str, Score]] = {}
    trivial = {}
    for row in read_table("state_tracking_lengths"):
        key = row["task.problem"], row["length"]
        if row["length"] in LENGTHS:
            scores.setdefault(key, {})[row["cell"]] = score_of(row)
            trivial[key] = float(row["trivial"])
    columns = [
        Column(f"{problem}, {length}", of_cell, trivial[problem, length], True)
        for (problem, length), of_cell in scores.items()
    ]
    return _score_map(columns, _cells_in({column.head: column.scores for column in columns}))


def draw_blocks() -> Drawing:
    """Returns the figure of the era of the cell by that of the block around it, on two tasks."""
    copying = {
        "bare": read_scores("selective_copying"),
        "in two residual blocks": read_scores("inside_the_block"),
    }
    ladder: dict[str, dict[str, Score]] = {}
    names = {"": "bare", "1.0": "residual, norm", "2.0": "wider, convolution"}
    for row in read_table("ladder"):
        ladder.setdefault(names[row["block.expand"]], {})[row["cell"]] = score_of(row)
    colours = COLOURS[1], COLOURS[0], COLOURS[2]
    heights = [1.2 + 0.3 * len(_cells_in(kinds)) for kinds in (copying, ladder)]

    def paint(axes: Sequence[Axes]) -> None:
        _panel_heights(axes, heights)
        label = "recall, selective copying"
        _scores_in_rows(axes[0], copying, colours, label, TRIVIAL["selective_copying"])
        axes[0].set_xlim(left=0)
        label = "bits per character of enwik8 (trivial 5.10)"
        _scores_in_rows(axes[1], ladder, colours, label)

    return draw(paint, grid=(2, 1), size=(WIDTH, sum(heights) / 2))


def draw_variants() -> Drawing:
    """Returns the figure of one task at several sizes, readings or lengths, a panel for each task.

    Draws every table whose name begins with that of the task, one that is not in `VARIANTS` by its
    file's name, and prints which of `VARIANTS` are missing.
    """
    panels = {}
    for name in VARIANTS:
        found = {path.stem for path in TABLES.glob(f"{name}*.csv")}
        for missing in VARIANTS[name].keys() - found:
            print(f"{missing}.csv is not in {TABLES}: comparison/variants.png has none of it")
        names = [*(each for each in VARIANTS[name] if each in found),
                 *sorted(found - VARIANTS[name].keys())]  # fmt: skip
        labels = (VARIANTS[name].get(each, each) for each in names)
        panels[name] = dict(zip(labels, map(read_scores, names), strict=True))
    heights = [1.2 + 0.3 * len(_cells_in(kinds)) for kinds in panels.values()]

    def paint(axes: Sequence[Axes]) -> None:
        _panel_heights(axes, heights)
        for each, (name, kinds) in zip(axes, panels.items(), strict=True):
            is_error = name == "long_adding"
            label = "squared error, adding" if is_error else "accuracy, pixels of MNIST"
            _scores_in_rows(each, kinds, COLOURS, label, TRIVIAL[name])
            if is_error:
                plots.logarithmic(each)
                each.xaxis.set_major_formatter(lambda value, _: _without_zero(f"{value:g}"))

    return draw(paint, grid=(len(panels), 1), size=(WIDTH, sum(heights) / len(panels)))


def draw_time_scales() -> Drawing:
    """Returns the figure of the error by the longest time scale that the units start with."""
    rows = read_table("time_scales")
    steps = list(dict.fromkeys(row["chrono_steps"] for row in rows))
    curves = {}
    for cell in dict.fromkeys(row["cell"] for row in rows):
        each_NS = [row["each_seed"].split() for row in rows if row["cell"] == cell]
        curves[f"cell {cell}"] = np.arange(len(steps)), np.array(each_NS, float).T
    trivial = TRIVIAL["long_adding"]

    def paint(axes: Axes) -> None:
        labels = "chrono steps: the longest time scale at the start", "squared error"
        plots.curves(axes, curves, labels, log=True)
        legend = axes.get_legend()
        assert legend is not None
        for text in legend.get_texts():
            text.set_fontsize(SMALL)
        axes.set_xticks(range(len(steps)), ["none", *steps[1:]])
        axes.axhline(trivial, color=INK, linewidth=0.8, linestyle=":")
        axes.text(len(steps) - 1, trivial, "trivial", fontsize=SMALL, va="bottom", ha="right")

    return draw(paint, size=(WIDTH, 4.2))


def draw_published() -> Drawing:
    """Returns the figure of published numbers beside ours: a row for each of them."""
    kinds = {"yes": "The same task", "no": "A smaller task of its kind"}
    rows: list[dict[str, str]] = []  # those of each kind below its name
    for same_task, words in kinds.items():
        found = [row for row in read_table("published") if row["same_task"] == same_task]
        rows += [{"kind": words}, *found]

    def column(name: str) -> list[float]:
        return [float(row.get(name) or "nan") for row in rows]

    def paint(axes: Axes) -> None:
        pair = (
            Dots("published", COLOURS[1], column("published"), column("published_half_width")),
            Dots("here", COLOURS[0], column("ours"), column("half_width")),
        )
        _dots_in_rows(axes, [""] * len(rows), pair, "accuracy, recall or R²", column("trivial"))
        axes.set_ylim(top=-0.4)
        axes.tick_params(axis="y", length=0)
        for y, row in enumerate(rows):
            kind = row.get("kind")
            words = kind or f"{row['what']}: {row['paper']}"
            axes.text(0, y if kind else y - 0.36, words, fontsize=SMALL, va="center",
                      weight="bold" if kind else "normal")  # fmt: skip

    return draw(paint, size=(WIDTH, 0.9 + 0.44 * len(rows)))


def draw_costs() -> Drawing:
    """Returns the figure of time and memory by cell and width."""
    rows = {(row["cell"], int(row["hidden_size"])): row for row in read_table("cost_by_width")}
    cells = [cell for cell in YEARS if (cell, WIDTHS[0]) in rows]
    quantities = (
        ("cpu_milliseconds", 1e3 / TIME_STEPS, "microseconds a time step, 16 examples"),
        ("megabytes", 1.0, "MB for gradients, 16 examples"),
    )

    def paint(axes: Sequence[Axes]) -> None:
        for each, (name, unit, label) in zip(axes, quantities, strict=True):
            dots = [
                Dots(f"{width} units", colour, [unit * float(rows[c, width][name]) for c in cells])
                for width, colour in zip(WIDTHS, COLOURS[:3], strict=True)
            ]
            _dots_in_rows(each, _dated(cells), dots, label)
            plots.logarithmic(each)

    return draw(paint, grid=(2, 1), size=(WIDTH, 3.4))


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
            each.set_ylabel("largest relative error", fontsize=SMALL)
        axes[0].legend()
        axes[-1].set_xlabel("time steps")

    return draw(paint, grid=(len(panels), 1), size=(WIDTH, 2.4))


FIGURES: dict[str, Callable[[], Drawing]] = {
    "comparison.png": draw_head,
    "comparison/lengths.png": draw_lengths,
    "comparison/blocks.png": draw_blocks,
    "comparison/variants.png": draw_variants,
    "comparison/time_scales.png": draw_time_scales,
    "comparison/published.png": draw_published,
    "comparison/costs.png": draw_costs,
    "comparison/error.png": draw_errors,
}


def _score_map(
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
        notes.append([with_interval(scores[cell]) if cell in scores else "" for cell in cells])
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
    rows = [*_dated(cells), "trivial"]
    size = 1.7 + 0.52 * len(heads), 1.5 + 0.36 * len(rows)
    return draw(plots.result_map, np.array(colours).T, notes, rows, heads, bold, 9, 55, size=size)


def _dated(cells: Iterable[str]) -> list[str]:
    """Returns the names of cells with their years."""
    return [f"{cell} {YEARS[cell]}" for cell in cells]


def _cells_in(kinds: Mapping[str, Mapping[str, Score]]) -> list[str]:
    """Returns the cells that have a score of any kind, by year.

    Raises ValueError for a cell without one, which no figure would show.
    """
    cells = {cell for scores in kinds.values() for cell in scores}
    if unknown := cells - YEARS.keys():
        raise ValueError(f"comparison_tables.YEARS has no year of {', '.join(sorted(unknown))}")
    return sorted(cells, key=[*YEARS].index)


def _panel_heights(axes: Sequence[Axes], heights: Sequence[float]) -> None:
    """Gives panels below each other these heights, in proportion."""
    grid = axes[0].get_gridspec()
    assert grid is not None
    grid.set_height_ratios(heights)


def _scores_in_rows(
    axes: Axes,
    kinds: Mapping[str, Mapping[str, Score]],
    colours: Sequence[str],
    label: str,
    trivial: float = math.nan,
) -> None:
    """Draws the scores of each kind in rows of cells. Raises ValueError for too few colours."""
    nothing, cells = Score(math.nan, math.nan), _cells_in(kinds)
    dots = []
    for colour, (kind, scores) in zip(colours[: len(kinds)], kinds.items(), strict=True):
        columns = zip(*(scores.get(cell, nothing) for cell in cells), strict=True)
        dots.append(Dots(kind, colour, *columns))
    _dots_in_rows(axes, _dated(cells), dots, label, trivial)


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
    handles, labels = axes.get_legend_handles_labels()
    entries = sorted(zip(labels, handles, strict=True), key=lambda entry: entry[0] == "trivial")
    labels = [label for label, _ in entries]
    letters = sum(map(len, labels)) + 7 * len(labels)  # a mark is as wide as seven
    axes.legend([handle for _, handle in entries], labels, fontsize=SMALL,
                ncols=len(labels) if letters < 62 else 2, loc="lower right",
                bbox_to_anchor=(1, 1), columnspacing=1.2, handletextpad=0.3)  # fmt: skip


def main() -> None:
    """Draws all figures."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    for name, figure in FIGURES.items():
        write_bytes(DOCS / name, figure().to_bytes("png"))


if __name__ == "__main__":
    main()
