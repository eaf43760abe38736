"""A table of cells on equal terms: the rate is chosen on validation, the result has fresh seeds.

    python -m benchmarks.equal_terms recall              # trains; again: resumes, or prints it
    python -m benchmarks.equal_terms recall --seed 0 1 2 3 4
    python -m benchmarks.equal_terms recall --cell gru mingru     # these rows alone
    python -m benchmarks.equal_terms pixels --name pixels_34k --parameters 34000

It takes the options of `lstm-jax run`; `--seed` means the seeds of the result. First trains
`experiments/NAME.py`, whose grid has several learning rates and one seed. Then, for everything else
that varies in it (the cell, as a rule), takes the rate with the best metric on validation and
trains it with other seeds. The table has the test metric of these: the seed that chose the rate has
no part in it. Where an experiment has one rate, there is nothing to choose, and the other seeds
alone are trained. Each member lies in `runs/NAME/` with its SHA-256, and `lstm-jax reproduce` makes
it again. The CSV file has the metric's name in the column `metric` and its mean in `score`. It says
besides at which commit, on which processor and with which versions a row was trained, since its
bits depend on these.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from lstm_jax import Experiment, run
from lstm_jax.cli.commands import Run
from lstm_jax.cli.parse import parse
from lstm_jax.errors import UserError
from lstm_jax.report import tables
from lstm_jax.runs.files import write_csv
from lstm_jax.runs.record import Record, read_run
from lstm_jax.runs.results import Result
from lstm_jax.runs.statistics import Summary, summarise


def best_rates(results: Sequence[Result]) -> list[Experiment]:
    """Returns, in the order of the grid, the member with the best rate of each other combination.

    A member that diverged is the worst one; the first of two equal ones is taken.
    """
    groups: dict[Experiment, list[Summary]] = {}
    for summary in summarise(results):  # the best first
        rest = summary.setting.apart_from("learning_rate", "seed")
        groups.setdefault(rest, []).append(summary)
    best = {rest: group[0].results[0].member for rest, group in groups.items()}
    order = {result.member.apart_from("learning_rate", "seed"): None for result in results}
    return [best[rest] for rest in order]


def with_seeds(member: Experiment, seeds: Sequence[int]) -> Experiment:
    """Returns a member with other seeds. Raises UserError where its own seed is among them."""
    if member.seed in seeds:
        raise UserError(f"seed: {member.seed} has chosen the rate; give others than it")
    width = {} if member.parameters is None else {"parameters": member.parameters}
    return member.replace({"seed": tuple(seeds), **width})


def row(grid: Experiment, results: Sequence[Result], name: str) -> dict[str, Any]:
    """Returns the row of a setting in the run `name`: its values, its size, its test metric."""
    (summary,) = summarise(results)
    first, test = summary.results[0].member, summary.test
    axes = [path for path in grid.axes if path not in ("learning_rate", "seed")]
    seconds = [result.seconds for result in summary.results if result.seconds is not None]
    return {
        "cell": first.cell,
        # A field of a component that this row has not, such as the width of a block, is empty.
        **{path: first.values.get(path, "") for path in axes},
        "hidden_size": first.hidden_size,
        "parameters": summary.results[0].num_parameters,
        "learning_rate": first.learning_rate,
        "metric": first.task.metric,
        "score": test.mean,
        "half_width": test.half_width,
        "seeds": test.n,
        "diverged": summary.diverged,
        "seconds_each": sum(seconds) / len(seconds) if seconds else None,
        "run": name,
        "seed": " ".join(str(result.member.seed) for result in summary.results),
        "each_seed": " ".join(str(result.test_metric) for result in summary.results),
        "parameters_sha256": " ".join(r.parameters_sha256 or "" for r in summary.results),
    }


def printed(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns rows as a table in Markdown, in which the metric is the head of the scores."""
    names = list(rows[0])
    shown = [name for name in names[: names.index("seed")] if name != "metric"]
    metric = " or ".join(dict.fromkeys(each["metric"] for each in rows))
    header = [metric if name == "score" else name for name in shown]
    return tables.markdown(header, [[each[name] for name in shown] for each in rows])


def origin(record: Record) -> dict[str, str]:
    """Returns the commits, processors and versions under which a run was trained."""
    identities = record.identities.values()
    versions = [" ".join(f"{n} {v}" for n, v in each["versions"].items()) for each in identities]
    commits = [str(session.get("commit")) for session in record.sessions]
    processors = [str(each.get("processor") or each.get("device_kind")) for each in identities]
    columns = {"commit": commits, "processor": processors, "versions": versions}
    return {name: "; ".join(dict.fromkeys(values)) for name, values in columns.items()}


def main() -> None:
    """Trains both stages, prints the table, and writes it to `runs/NAME/equal_terms.csv`."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--seed", type=int, nargs="+", default=[0, 1, 2])
    options, words = parser.parse_known_args()
    command = parse(["run", *words])
    assert isinstance(command, Run)  # a word of `lstm-jax run` makes nothing else
    command.prepare(words)
    grid, name, runs_dir = command.study.experiment, command.stem, command.runs_dir
    members = list(grid.members())
    if len({member.learning_rate for member in members}) > 1:
        outcome = run(command.study, name=name, runs_dir=runs_dir, console=Console())
        members = best_rates(outcome.members)
    rows = []
    for member in members:
        seeds = with_seeds(member, options.seed)
        outcome = run(seeds, name=name, runs_dir=runs_dir, silent=True)
        here = row(grid, outcome.members, f"{name}/{outcome.directory.name}")
        rows.append(here | origin(read_run(outcome.directory)))
    print(printed(rows), end="")
    write_csv(runs_dir / name / "equal_terms.csv", rows)


if __name__ == "__main__":
    main()
