"""Runs beside each other: in what they differ, how their chosen settings do, their curves."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from lstm_jax.config.experiment import field_label, format_value
from lstm_jax.errors import UserError
from lstm_jax.report import drawing, plots
from lstm_jax.report.curves import Curve, by_setting, setting_name
from lstm_jax.report.drawing import Figure
from lstm_jax.report.render import render
from lstm_jax.runs import provenance
from lstm_jax.runs.files import make_folder, write_text
from lstm_jax.runs.metrics_file import read_metrics
from lstm_jax.runs.progress import say
from lstm_jax.runs.record import Record, read_run
from lstm_jax.runs.statistics import Estimate, Summary, lead_on_validation, summarise

MOST_RUNS = 8  # whose curves can be told apart


class Compared(NamedTuple):
    """A run and how it is called here."""

    title: str
    record: Record
    best: Summary | None  # None: no member is finished
    curves: dict[str, Curve]  # of the best setting, by what they show


def compare(directories: Sequence[Path], console: Console, runs_dir: Path) -> Path:
    """Prints the comparison, writes it as one page into `runs_dir/compare` and returns its path.

    Leads are over the first run. Raises UserError where runs cannot be compared.
    """
    runs = _read(directories, console)
    titles = [run.title for run in runs]
    fields, scores, leads, notes = _fields(runs), _scores(runs), _leads(runs), _notes(runs)
    table = Table("", *titles, box=SIMPLE)
    for row in fields:
        table.add_row(*row)
    table.add_section()
    for row in scores:
        table.add_row(*row)
    console.print(table, highlight=False, markup=False)
    for line in (*leads, *notes):
        say(console, line)
    page = render(
        "compare.html", titles=titles, fields=fields, scores=scores, leads=leads, notes=notes,
        figures=_figures(runs),
    )  # fmt: skip
    named = "\n".join(f"{path.parent.name}/{path.name}" for path in directories)
    path = runs_dir / "compare" / f"{hashlib.sha256(named.encode()).hexdigest()[:12]}.html"
    make_folder(path.parent)
    write_text(path, page)
    say(console, f"comparison: {path}")
    return path


def _read(directories: Sequence[Path], console: Console) -> list[Compared]:
    paths = [path.resolve() for path in directories]
    if twice := [path for path in paths if paths.count(path) > 1]:
        named = f"{twice[0].parent.name}/{twice[0].name[:6]}"
        raise UserError(f"compare: {named} is named twice; `lstm-jax list` shows the other runs")
    if not 2 <= len(paths) <= MOST_RUNS:
        raise UserError(f"compare: give two to {MOST_RUNS} runs")
    runs = []
    for path in paths:
        record = read_run(path)
        rows = read_metrics(path, lambda line: say(console, line))
        found = summarise(record.results.values())
        names = ("loss", record.study.experiment.task.metric)
        lines = {name: by_setting(record, rows, name, 1) for name in names}
        curves = {name: next(iter(line.values())) for name, line in lines.items() if line}
        title = f"{path.parent.name}/{path.name[:6]}"
        runs.append(Compared(title, record, found[0] if found else None, curves))
    if len(metrics := {run.record.study.experiment.task.metric for run in runs}) > 1:
        raise UserError(f"compare: {' and '.join(sorted(metrics))} cannot be compared")
    return runs


def _fields(runs: Sequence[Compared]) -> list[list[str]]:
    """A row for each field whose values are not the same in all runs."""
    experiments = [run.record.study.experiment for run in runs]
    rows = []
    for path in dict.fromkeys(path for each in experiments for path in each.values):
        values = [each.values_of(path) if path in each.values else () for each in experiments]
        if len(set(values)) > 1:
            rows.append(
                [
                    field_label(path),
                    *(" ".join(map(format_value, value)) or "-" for value in values),
                ]
            )
    return rows


def _scores(runs: Sequence[Compared]) -> list[list[str]]:
    """A row for each thing that is known of the runs' chosen settings."""
    metric = field_label(runs[0].record.study.experiment.task.metric)
    columns = []
    for run in runs:
        done = f"{run.record.num_done} of {run.record.num_members}"
        if run.best is None:
            columns.append(["none finished", "", "", "", done])
            continue
        setting = setting_name(run.record.study.experiment, run.best.setting) or "the only one"
        scores = [str(run.best.validation), str(run.best.test), str(run.best.diverged)]
        columns.append([setting, *scores, done])
    head = ("setting chosen", f"validation {metric}", f"test {metric}", "diverged", "members done")
    return [[name, *row] for name, row in zip(head, zip(*columns, strict=True), strict=True)]


def _leads(runs: Sequence[Compared]) -> list[str]:
    """How far which chosen setting is ahead of the first run's, paired over common seeds."""
    first, metric = runs[0], runs[0].record.study.experiment.task.metric
    lines = []
    for run in runs[1:]:
        if first.best is None or run.best is None:
            continue
        ahead, behind, lead = run, first, lead_on_validation(run.best, first.best)
        if lead is not None and lead.mean < 0:
            ahead, behind, lead = first, run, lead_on_validation(first.best, run.best)
        if lead is None:
            line = (
                f"{run.title} and {first.title} have no seed in common, or one diverged: not paired"
            )
        else:
            paired = (
                f"validation {field_label(metric)}, paired over {lead.n} common "
                f"{'seed' if lead.n == 1 else 'seeds'}"
            )
            line = f"{ahead.title} and {behind.title} are level: {paired}"
            if lead.mean > 0:
                line = f"{ahead.title} is ahead of {behind.title} by {lead}: {paired}{_doubt(lead)}"
        lines.append(line)
    return lines


def _doubt(lead: Estimate) -> str:
    """What keeps one from believing a lead, if anything does."""
    if lead.n < 3:
        return "; too few to tell the two apart"
    return "; the interval holds 0: they are not told apart" if lead.low <= 0 else ""


def _notes(runs: Sequence[Compared]) -> list[str]:
    """In what else the numbers may differ: versions, devices, data."""
    identities = [
        [one | {"data": one["data"][:12]} for one in run.record.identities.values()] for run in runs
    ]
    return [
        f"{runs[0].title} and {run.title}: {line} in the second"
        for run, mine in zip(runs[1:], identities[1:], strict=True)
        if mine and identities[0]
        for line in provenance.changed(identities[0][-1], mine[-1])
    ]


def _figures(runs: Sequence[Compared]) -> list[Figure]:
    metric = runs[0].record.study.experiment.task.metric
    found = []
    for name in ("loss", metric):
        lines = {run.title: run.curves[name] for run in runs if name in run.curves}
        if lines:
            curves = drawing.draw(plots.curves, lines, ("step", field_label(name)), size=(7.0, 4.0))
            title = f"{field_label(name).capitalize()} while training"
            caption = "Training batches; each run's chosen setting, mean over its seeds, band from "
            found.append(Figure(name, title, f"{caption}least to most", curves))
    return found
