"""The figure at the head of README: networks by year, tasks, and what each network costs.

    python -m benchmarks.head_figure              # draws docs/comparison.png
    python -m benchmarks.head_figure --measure    # first measures the costs anew: a minute

Reads the tables on equal terms in `docs/comparison/`. The colours of a task go from its trivial
score to its best mean, by the logarithm where an error becomes ten times less. The cost is the CPU
time of a training step of one layer with as many units as the network has among 16,000 parameters,
in multiples of the GRU's: all take turns in one process, so that other programs on the machine
change the ratios little. It lies in `cost.csv`.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from lstm_jax.report import plots
from lstm_jax.report.drawing import Drawing
from lstm_jax.report.grid import shares
from lstm_jax.runs.files import write_bytes, write_csv

DOCS = Path(__file__).parent.parent / "docs"
TABLES = DOCS / "comparison"
TIME_STEPS = 196  # those of `pixels`
ROUNDS = 15
YEARS = {"rnn": 1990, "lstm": 1997, "gru": 2014, "indrnn": 2018, "lru": 2023, "mingru": 2024,
         "rglru": 2024, "slstm": 2024, "paragru": 2025}  # fmt: skip


class Task(NamedTuple):
    """A column: the table's name, its head, and the score of the best answer without a model."""

    table: str
    head: str
    trivial: float
    higher_is_better: bool = False


TASKS = (
    Task("selective_copying", "selective\ncopying\nrecall", 0.066, higher_is_better=True),
    Task("inside_the_block", "the same in\ntwo blocks\nrecall", 0.066, higher_is_better=True),
    Task("pixels", "MNIST by\npixels\naccuracy", 0.114, higher_is_better=True),
    Task("long_adding", "adding, 200\ntime steps\nsquared error", 0.178),
    Task("eras_mackey_glass", "Mackey-\nGlass\nsquared error", 1.0),
    Task("eras_nyse", "NYSE\nvolume\nsquared error", 0.896),
    Task("eras_python", "Python's\nsource\nbits per char.", 4.56),
)


def read_scores(path: Path) -> dict[str, tuple[float, float]]:
    """Returns of each cell in a table the mean metric on the test and half of its interval."""
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    half = header.index("half_width")  # the metric, whose name differs, stands before it
    return {row[header.index("cell")]: (float(row[half - 1]), float(row[half])) for row in rows}


def score_text(mean: float, half_width: float) -> str:
    """Returns a mean over its half width, which has one digit, or two if the first is 1 to 3."""
    decimals = max(0, -math.floor(math.log10(half_width)) + (f"{half_width:e}"[0] in "123"))
    return f"{mean:.{decimals}f}\n±{half_width:.{decimals}f}"


def head_figure(tables: Path, costs: Mapping[str, float]) -> Drawing:
    """Returns the figure of the tables in a folder: a row for each cell, and one that is trivial.

    `costs` are the CPU times of the cells in multiples of the GRU's.
    """
    colours, notes = [], []
    for task in TASKS:
        scores = read_scores(tables / f"{task.table}.csv")
        means = [scores.get(cell, (math.nan, 0.0))[0] for cell in YEARS]
        colours.append([*shares(means, task.higher_is_better, task.trivial), 0.0])
        texts = [score_text(*scores[cell]) if cell in scores else "" for cell in YEARS]
        notes.append([*texts, f"{task.trivial:g}"])
    colours.append([math.nan] * len(notes[0]))
    notes.append([*(f"{costs[cell]:.2f}" for cell in YEARS), ""])
    rows = [*(f"{cell}  {year}" for cell, year in YEARS.items()), "trivial"]
    heads = [*(task.head for task in TASKS), "time of a\ntraining step,\nGRU = 1"]
    return plots.draw_result_map(np.array(colours).T, notes, rows, heads)


def measure_costs(units: Mapping[str, int]) -> list[dict[str, float | int | str]]:
    """Returns for each cell its units, and the CPU time of a microbatch in milliseconds and in
    multiples of the GRU's.
    """
    from benchmarks import cells

    trainers = {
        cell: cells.trainer(cell, cells.ours(cell), units[cell], TIME_STEPS) for cell in YEARS
    }
    seconds = cells.cpu_seconds(trainers, ROUNDS)
    return [
        {
            "cell": cell,
            "hidden_size": units[cell],
            "cpu_milliseconds": round(1e3 * median(taken), 3),
            "times_gru": round(median(np.divide(taken, seconds["gru"]).tolist()), 3),
        }
        for cell, taken in seconds.items()
    ]


def main() -> None:
    """Measures the costs where asked, and draws the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", action="store_true", help="measure the costs anew")
    if parser.parse_args().measure:
        with (TABLES / "selective_copying.csv").open(newline="") as file:
            units = {row["cell"]: int(row["hidden_size"]) for row in csv.DictReader(file)}
        write_csv(TABLES / "cost.csv", measure_costs(units))
    with (TABLES / "cost.csv").open(newline="") as file:
        costs = {row["cell"]: float(row["times_gru"]) for row in csv.DictReader(file)}
    write_bytes(DOCS / "comparison.png", head_figure(TABLES, costs).to_bytes("png"))


if __name__ == "__main__":
    main()
