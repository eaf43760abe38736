"""A table of cells on equal terms: the rate is chosen on validation, the result has fresh seeds.

    python -m benchmarks.equal_terms recall              # trains; again: resumes, or prints it
    python -m benchmarks.equal_terms recall --seed 0 1 2 3 4
    python -m benchmarks.equal_terms recall --cell gru mingru     # these rows alone
    python -m benchmarks.equal_terms pixels --name pixels_34k --parameters 34000
    python -m benchmarks.equal_terms pixels --gru-time            # as long as a GRU takes

It takes the options of `lstm-jax run` that say what is trained and where; the others are refused.
`--seed` means the seeds of the result. First trains `experiments/NAME.py`, whose grid has several
learning rates and one seed. Then, for everything else that varies in it (the cell, as a rule),
takes the rate with the best metric on validation and trains it with other seeds. The table has the
test metric of these: the seed that chose the rate has no part in it. Where an experiment has one
rate, there is nothing to choose, and the other seeds alone are trained. Each member lies in
`runs/NAME/` with its SHA-256, and `lstm-jax reproduce` makes it again. The CSV file has the
metric's name in the column `metric` and its mean in `score`. It says besides at which commit, on
which processor and with which versions a row was trained, since its bits depend on these.

`--gru-time` makes the table of equal time: rates are chosen as before, and then each row trains as
many steps as a GRU's time allows, by the costs in `docs/comparison/cost.csv`.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from benchmarks.comparison_tables import read_table
from lstm_jax import Experiment, run
from lstm_jax.cli.commands import Run
from lstm_jax.cli.main import exit_codes
from lstm_jax.cli.parse import parse
from lstm_jax.errors import UserError
from lstm_jax.report import tables
from lstm_jax.report.curves import setting_name
from lstm_jax.runs.files import write_csv
from lstm_jax.runs.record import Record, read_run
from lstm_jax.runs.results import Result
from lstm_jax.runs.statistics import Summary, summarise

PASSED_ON = "platform", "fallback", "checkpoint_every", "index"  # to every run
# No report is written, so `--no-report` changes nothing.
TAKEN = {"name", "study", "run_name", "runs_dir", "report", *PASSED_ON}


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


def in_gru_time(member: Experiment) -> Experiment:
    """Returns a member whose budget its cell uses up in the time that a GRU takes for all of it.

    Raises UserError where `docs/comparison/cost.csv` does not know what the cell costs.
    """
    costs = {row["cell"]: float(row["times_gru"]) for row in read_table("cost")}
    if member.cell not in costs:
        raise UserError(
            f"--gru-time: docs/comparison/cost.csv has no cost of {member.cell}; "
            "benchmarks.costs measures those in the table of selective copying"
        )
    budget = member.values[member.budget] / costs[member.cell]  # steps, examples or epochs
    return member.replace({member.budget: budget if member.total_epochs else round(budget)})


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


def parse_words(words: Sequence[str]) -> tuple[Run, argparse.Namespace]:
    """Returns the command for the words of a command line, and the options of this program: `seed`,
    the seeds of the result, and `gru_time`.

    Raises UserError for a mistake, and for an option that would have no effect.
    """
    parser = argparse.ArgumentParser(prog="equal_terms", add_help=False, allow_abbrev=False)
    parser.add_argument("--seed", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--gru-time", action="store_true")
    options, rest = parser.parse_known_args(words)
    command = parse(["run", *rest])
    assert isinstance(command, Run)  # a word of `lstm-jax run` makes nothing else
    for field in dataclasses.fields(command):
        if field.name not in TAKEN and getattr(command, field.name) != field.default:
            raise UserError(
                f"--{field.name.replace('_', '-')} is not for equal_terms; leave it out"
            )
    return command, options


def train(
    command: Run, result_seeds: Sequence[int], *, gru_time: bool = False
) -> list[dict[str, Any]]:
    """Trains both stages and returns the rows of the table."""
    settings: dict[str, Any] = {option: getattr(command, option) for option in PASSED_ON}
    settings |= {"name": command.stem, "runs_dir": command.runs_dir}
    grid = command.study.experiment
    members = list(grid.members())
    if len({member.learning_rate for member in members}) > 1:
        outcome = run(command.study, **settings, console=Console())
        members = best_rates(outcome.members)
    if gru_time:
        members = [in_gru_time(member) for member in members]
    rows = []
    for number, member in enumerate(members, start=1):
        setting, seeds = setting_name(grid, member), " ".join(map(str, result_seeds))
        print(
            f"row {number} of {len(members)}: {setting or command.stem}, seeds {seeds}", flush=True
        )
        outcome = run(with_seeds(member, result_seeds), **settings, silent=True)
        here = row(grid, outcome.members, f"{command.stem}/{outcome.directory.name}")
        rows.append(here | origin(read_run(outcome.directory)))
    return rows


def main() -> None:
    """Trains both stages, prints the table, and writes it to `runs/NAME/equal_terms.csv`.

    A mistake is one line and an exit code, as of `lstm-jax`.
    """
    words = sys.argv[1:]
    if {"-h", "--help"} & {*words}:
        print(__doc__)
    with exit_codes(joined=False):
        command, options = parse_words(words)
        command.prepare(words)
        rows = train(command, options.seed, gru_time=options.gru_time)
        print(printed(rows), end="")
        name = "gru_time" if options.gru_time else "equal_terms"
        write_csv(command.runs_dir / command.stem / f"{name}.csv", rows)


if __name__ == "__main__":
    main()
