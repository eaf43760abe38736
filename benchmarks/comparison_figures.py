"""The figures of docs/comparison.md, drawn from the tables in `docs/comparison/`.

    python -m benchmarks.comparison_figures                    # draws all of them, in seconds
    python -m benchmarks.comparison_figures --measure costs    # first measures: three minutes
    python -m benchmarks.comparison_figures --measure errors   # half a minute

Costs are those of training one layer alone on 196 time steps, batch 16: the CPU time of a
microbatch, for which all cells take turns in one process, so that other programs on the machine
change their ratios little, and the memory that the compiled program needs beside its inputs and
results. `cost.csv` has each cell with as many units as it has among 16,000 parameters,
`cost_by_width.csv` all of them with 256, 128 and 64 units.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from benchmarks import numerics
from lstm_jax.report import plots
from lstm_jax.report.drawing import COLOURS, INK, Drawing, draw
from lstm_jax.report.grid import shares
from lstm_jax.runs.files import write_bytes, write_csv

DOCS = Path(__file__).parent.parent / "docs"
TABLES = DOCS / "comparison"
TIME_STEPS = 196  # those of `pixels`
ROUNDS = 9
WIDTHS = (256, 128, 64)
YEARS = {"rnn": 1990, "lstm": 1997, "gru": 2014, "indrnn": 2018, "lru": 2023, "mingru": 2024,
         "rglru": 2024, "slstm": 2024, "mlstm": 2024, "gated_deltanet": 2024,
         "paragru": 2025}  # fmt: skip


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


def read_table(name: str) -> list[dict[str, str]]:
    """Returns the rows of a table in `docs/comparison/`."""
    with (TABLES / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def read_scores(name: str) -> dict[str, tuple[float, float]]:
    """Returns of each cell in a table the mean metric on the test and half of its interval."""
    return {row["cell"]: _score(row) for row in read_table(name)}


def _score(row: Mapping[str, str]) -> tuple[float, float]:
    return float(row["score"]), float(row["half_width"])


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
    nothing = math.nan, math.nan
    copying = {
        "bare, one layer": read_scores("selective_copying"),
        "in two residual blocks": read_scores("inside_the_block"),
    }
    ladder: dict[str, dict[str, tuple[float, float]]] = {}
    names = {"": "bare", "1.0": "residual, norm", "2.0": "wider, convolution"}
    for row in read_table("ladder"):
        ladder.setdefault(names[row["block.expand"]], {})[row["cell"]] = _score(row)

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


def measure_costs(units: Mapping[str, int]) -> list[dict[str, float | int | str]]:
    """Returns for each cell its units, the CPU time of a microbatch in milliseconds and in
    multiples of the GRU's, and the memory that its gradients need.
    """
    from benchmarks import cells

    trainers = {
        cell: cells.trainer(cell, cells.ours(cell), hidden_size, TIME_STEPS)
        for cell, hidden_size in units.items()
    }
    seconds = cells.cpu_seconds(trainers, ROUNDS)
    return [
        {
            "cell": cell,
            "hidden_size": units[cell],
            "cpu_milliseconds": round(1e3 * median(taken), 3),
            "times_gru": round(median(np.divide(taken, seconds["gru"]).tolist()), 3),
            "megabytes": round(trainers[cell].temporary_bytes / 1e6, 2),
        }
        for cell, taken in seconds.items()
    ]


def main() -> None:
    """Measures what is asked for, and draws all figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", choices=("costs", "errors"), help="measure these anew")
    measured = parser.parse_args().measure
    if measured == "costs":
        units = {row["cell"]: int(row["hidden_size"]) for row in read_table("selective_copying")}
        costs = measure_costs(units)
        write_csv(TABLES / "cost.csv", costs)
        for each in costs:  # the rows of the table in docs/comparison.md
            print(f"| `{each['cell']}` | {each['hidden_size']} | {each['times_gru']:.2f} |")
        by_width = [row for w in WIDTHS for row in measure_costs(dict.fromkeys(YEARS, w))]
        write_csv(TABLES / "cost_by_width.csv", by_width)
    elif measured == "errors":
        write_csv(TABLES / "error.csv", numerics.measure())
    for name, figure in FIGURES.items():
        write_bytes(DOCS / name, figure().to_bytes("png"))


if __name__ == "__main__":
    main()
