"""What cells cost: time and memory of training one layer alone.

    python -m benchmarks.costs             # two minutes; prints two tables in Markdown
    python -m benchmarks.costs --write     # writes docs/comparison/cost*.csv as well

The layer reads 196 time steps in microbatches of 16 examples. The time is the CPU time of one, for
which all cells take turns in one process, so that other programs on the machine change their ratios
little; the memory is what the compiled program needs beside its inputs and results. `cost.csv` has
each cell with as many units as it has among 16,000 parameters, `cost_by_width.csv` all of them with
256, 128 and 64 units. `python -m benchmarks.comparison_figures` draws both.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from statistics import median

import numpy as np

from benchmarks.comparison_tables import TABLES, YEARS, read_table
from lstm_jax.report import tables
from lstm_jax.runs.files import write_csv

TIME_STEPS = 196  # those of `pixels`
ROUNDS = 9
WIDTHS = (256, 128, 64)


def measure(units: Mapping[str, int], rounds: int = ROUNDS) -> list[dict[str, float | int | str]]:
    """Returns for each cell its units, the CPU time of a microbatch in milliseconds and in
    multiples of the GRU's, and the memory that its gradients need.
    """
    from benchmarks import cells

    trainers = {
        cell: cells.trainer(cell, cells.ours(cell), hidden_size, TIME_STEPS)
        for cell, hidden_size in units.items()
    }
    seconds = cells.cpu_seconds(trainers, rounds)
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
    """Measures, prints both tables in Markdown, and writes them if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write docs/comparison/cost*.csv")
    options = parser.parse_args()
    units = {row["cell"]: int(row["hidden_size"]) for row in read_table("selective_copying")}
    costs = measure(units)
    rows = [(row["cell"], row["hidden_size"], f"{row['times_gru']:.2f}") for row in costs]
    print(tables.markdown(("cell", "units", "time of a training step, GRU = 1"), rows), end="")
    by_width = [row for width in WIDTHS for row in measure(dict.fromkeys(YEARS, width))]
    print("\n" + tables.markdown([*by_width[0]], [[*row.values()] for row in by_width]), end="")
    if options.write:
        write_csv(TABLES / "cost.csv", costs)
        write_csv(TABLES / "cost_by_width.csv", by_width)


if __name__ == "__main__":
    main()
