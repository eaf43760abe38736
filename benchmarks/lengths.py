"""Length generalisation: the networks of a table on equal terms, scored at other lengths.

    python -m benchmarks.equal_terms state_tracking             # trains them at one length
    python -m benchmarks.lengths state_tracking 40 80 160 256   # scores them at four

It scores every member of each row of `runs/NAME/equal_terms.csv` on new test examples of each
length, prints a table, and writes it to `runs/NAME/lengths.csv`.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from lstm_jax.cli.main import exit_codes
from lstm_jax.errors import UserError
from lstm_jax.predict.scores import score
from lstm_jax.report import tables
from lstm_jax.runs.devices import prepare_jax
from lstm_jax.runs.files import write_csv
from lstm_jax.runs.statistics import estimate

ROW = "cell", "task.problem", "metric"  # what a row is called, of the table's columns


def read_rows(folder: Path) -> list[dict[str, str]]:
    """Returns the rows of the table in a run's folder. Raises UserError where there is none."""
    path = folder / "equal_terms.csv"
    if not path.is_file():
        raise UserError(f"{path}: no such table; python -m benchmarks.equal_terms makes it")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def score_row(
    row: dict[str, str], runs_dir: Path, lengths: Sequence[int], console: Console
) -> Iterable[dict[str, str | int | float]]:
    """Yields the mean metric of a row's members at each length, and half of its 95 % interval."""
    scored = score(runs_dir / row["run"], {"length": lengths}, console)
    for length in lengths:
        here = [each for each in scored if each.task["length"] == length]
        values = [float(each.test[row["metric"]] or "nan") for each in here]
        trivial = here[0].trivial_score
        yield {
            **{name: row[name] for name in ROW if name in row},
            "length": length,
            "score": estimate(values).mean,
            "half_width": estimate(values).half_width,
            "each_seed": " ".join(map(str, values)),
            "trivial": "" if trivial is None else trivial,
        }


def main() -> None:
    """Scores all rows, prints the table and writes it. A mistake is one line and an exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="the name of the table's run")
    parser.add_argument("lengths", nargs="+", type=int, help="time steps of the test sequences")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"))
    options = parser.parse_args()
    with exit_codes(joined=False):
        prepare_jax("auto", partial(print, file=sys.stderr))
        rows, console = read_rows(options.runs_dir / options.name), Console()
        scores = [
            each
            for row in rows
            for each in score_row(row, options.runs_dir, options.lengths, console)
        ]
        shown = [name for name in scores[0] if name != "each_seed"]
        print(tables.markdown(shown, [[each[name] for name in shown] for each in scores]), end="")
        write_csv(options.runs_dir / options.name / "lengths.csv", scores)


if __name__ == "__main__":
    main()
