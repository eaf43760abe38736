"""The figures of docs/comparison.md, drawn from the tables in `docs/comparison/`.

    python -m benchmarks.comparison_figures     # draws all of them, in seconds

The tables are those of `benchmarks/equal_terms.py`; `benchmarks/costs.py` measures what cells cost,
and `benchmarks/numerics.py` the errors of a linear recurrence.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
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
from benchmarks.score_drawings import (
    SMALL,
    Column,
    Dots,
    cells_in,
    dated,
    dots_in_rows,
    panel_heights,
    score_map,
    scores_in_rows,
    short,
    shorter_exponent,
)
from lstm_jax.report import plots
from lstm_jax.report.drawing import COLOURS, INK, Drawing, draw
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
        "pixels_784": "16,000, shuffled, 784 pixels",
        "pixels_sequential": "16,000, in order",
    },
    "long_adding": {
        "long_adding": "200 time steps",
        "long_adding_500": "500",
        "long_adding_1000": "1,000",
    },
}
WIDTH = 4.6  # inches of a figure that can be read on a phone
LENGTHS = "40", "256"  # symbols: as in training, and the longest
TRIVIAL = {task.table: task.trivial for task in TASKS}


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
    return score_map(columns, [*YEARS], {"time, GRU = 1": costs})


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
    return score_map(columns, cells_in({column.head: column.scores for column in columns}))


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
    heights = [1.2 + 0.3 * len(cells_in(kinds)) for kinds in (copying, ladder)]

    def paint(axes: Sequence[Axes]) -> None:
        panel_heights(axes, heights)
        label = "recall, selective copying"
        scores_in_rows(axes[0], copying, colours, label, TRIVIAL["selective_copying"])
        axes[0].set_xlim(left=0)
        label = "bits per character of enwik8 (trivial 5.10)"
        scores_in_rows(axes[1], ladder, colours, label)

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
    heights = [1.2 + 0.3 * len(cells_in(kinds)) for kinds in panels.values()]

    def paint(axes: Sequence[Axes]) -> None:
        panel_heights(axes, heights)
        for each, (name, kinds) in zip(axes, panels.items(), strict=True):
            is_error = name == "long_adding"
            label = "squared error, adding" if is_error else "accuracy, pixels of MNIST"
            scores_in_rows(each, kinds, COLOURS, label, TRIVIAL[name])
            if is_error:
                plots.logarithmic(each)
                each.xaxis.set_major_formatter(lambda value, _: shorter_exponent(f"{value:g}"))

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
        dots_in_rows(axes, [""] * len(rows), pair, "accuracy, recall or R²", column("trivial"))
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
            dots_in_rows(each, dated(cells), dots, label)
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


def main() -> None:
    """Draws all figures."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    for name, figure in FIGURES.items():
        write_bytes(DOCS / name, figure().to_bytes("png"))


if __name__ == "__main__":
    main()
