"""Runs compared: the fields that differ, the results of their chosen settings, their curves."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from lstm_jax.config.experiment import Experiment, field_label, format_value
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.report import drawing, plots
from lstm_jax.report.curves import curves_by_setting, setting_name
from lstm_jax.report.drawing import Figure, render
from lstm_jax.report.plots import Curve
from lstm_jax.runs import provenance
from lstm_jax.runs.files import make_folder, write_text
from lstm_jax.runs.metrics_file import read_metrics
from lstm_jax.runs.progress import say
from lstm_jax.runs.record import Record, read_run
from lstm_jax.runs.statistics import Summary, lead_on_validation, summarise

MAX_RUNS = 8  # whose curves can be told apart


class ComparedRun(NamedTuple):
    """A run with what is compared of it."""

    title: str
    record: Record
    best: Summary | None  # None: no member is finished
    curves: dict[str, Curve]  # of the best setting, by metric


def compare(
    directories: Sequence[Path], console: Console, runs_dir: Path, *, other_code: bool = False
) -> Path:
    """Prints a comparison of runs, writes it as a page in `runs_dir/compare` and returns its path.

    Each run is compared with the first one. Raises UserError where runs cannot be compared, and
    EnvironmentProblem where members with the same fields were trained by different code; with
    `other_code` the page says so instead.
    """
    runs = _read(directories, console)
    programs: dict[Experiment, set[str]] = {}
    for run in runs:
        for result in run.record.results.values():
            trained_by = provenance.programs(run.record.identities, result.identity)
            programs.setdefault(result.member.static_key, set()).update(trained_by)
    warnings = []
    if different := [key for key, digests in programs.items() if len(digests) > 1]:
        label = ", ".join(dict.fromkeys(key.cell for key in different))
        message = f"members with the same fields (cell {label}) were trained by different code"
        if not other_code:
            raise EnvironmentProblem(f"{message}: give --other-code to compare them all the same")
        warnings.append(message)
    titles = [run.title for run in runs]
    fields, scores, leads, notes = _field_rows(runs), _score_rows(runs), _leads(runs), _notes(runs)
    notes = [*warnings, *notes]
    table = Table("", *titles, box=SIMPLE)
    for row in fields:
        table.add_row(*row)
    table.add_section()
    for row in scores:
        table.add_row(*row)
    console.print(table, highlight=False, markup=False)
    for message in (*leads, *notes):
        say(console, message)
    page = render(
        "compare.html", titles=titles, fields=fields, scores=scores, leads=leads, notes=notes,
        figures=_figures(runs),
    )  # fmt: skip
    names = "\n".join(f"{path.parent.name}/{path.name}" for path in directories)
    path = runs_dir / "compare" / f"{hashlib.sha256(names.encode()).hexdigest()[:12]}.html"
    make_folder(path.parent)
    write_text(path, page)
    say(console, f"comparison: {path}")
    return path


def _read(directories: Sequence[Path], console: Console) -> list[ComparedRun]:
    """Returns the runs. Raises UserError for a run given twice and for metrics that differ."""
    paths = [path.resolve() for path in directories]
    if repeated := [path for path in paths if paths.count(path) > 1]:
        name = f"{repeated[0].parent.name}/{repeated[0].name[:6]}"
        raise UserError(f"compare: {name} is given twice; `lstm-jax list` shows the other runs")
    if not 2 <= len(paths) <= MAX_RUNS:
        raise UserError(f"compare: give two to {MAX_RUNS} runs")
    runs = []
    for path in paths:
        record = read_run(path)
        rows = read_metrics(path, lambda message: say(console, message))
        summaries = summarise(record.results.values())
        curves = {
            name: curve
            for name in ("loss", record.study.experiment.task.metric)
            for curve in curves_by_setting(record, rows, name, 1).values()
        }
        title = f"{path.parent.name}/{path.name[:6]}"
        runs.append(ComparedRun(title, record, summaries[0] if summaries else None, curves))
    if len(metrics := {run.record.study.experiment.task.metric for run in runs}) > 1:
        raise UserError(f"compare: {' and '.join(sorted(metrics))} cannot be compared")
    return runs


def _field_rows(runs: Sequence[ComparedRun]) -> list[list[str]]:
    """Returns a row for each field whose values are not the same in all runs."""
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


def _score_rows(runs: Sequence[ComparedRun]) -> list[list[str]]:
    """Returns a row for each score of the chosen settings and for the members done."""
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


def _leads(runs: Sequence[ComparedRun]) -> list[str]:
    """Returns for each other run how far its chosen setting is ahead of the first run's or behind
    it, paired over common seeds, with a warning where the comparison is not reliable.
    """
    first, metric = runs[0], field_label(runs[0].record.study.experiment.task.metric)
    messages = []
    for run in runs[1:]:
        if first.best is None or run.best is None:
            continue
        ahead, behind, lead = run, first, lead_on_validation(run.best, first.best)
        if lead is not None and lead.mean < 0:
            ahead, behind, lead = first, run, lead_on_validation(first.best, run.best)
        if lead is None:
            messages.append(
                f"{run.title} and {first.title} cannot be paired: they have no seed in common, or "
                "a member diverged"
            )
            continue
        seeds = "seed" if lead.n == 1 else "seeds"
        paired = f"validation {metric}, paired over {lead.n} common {seeds}"
        if not lead.mean > 0:
            messages.append(f"{ahead.title} and {behind.title} are equal: {paired}")
            continue
        warning = ""
        if lead.n < 3:
            warning = "; too few seeds to tell the two apart"
        elif lead.low <= 0:
            warning = "; the interval contains 0: the two cannot be told apart"
        messages.append(f"{ahead.title} is ahead of {behind.title} by {lead}: {paired}{warning}")
    return messages


def _notes(runs: Sequence[ComparedRun]) -> list[str]:
    """Returns what else may make the numbers differ: versions, devices, data."""
    identities = [
        # Programs differ with the cell and the task, so they are compared by static key above.
        [i | {"data": i["data"][:12], "program": ""} for i in run.record.identities.values()]
        for run in runs
    ]
    return [
        f"{runs[0].title} and {run.title}: {change} in the second"
        for run, other in zip(runs[1:], identities[1:], strict=True)
        if other and identities[0]
        for change in provenance.changed(identities[0][-1], other[-1])
    ]


def _figures(runs: Sequence[ComparedRun]) -> list[Figure]:
    """Returns the curves of loss and metric, one for each run that has them."""
    figures = []
    for name in ("loss", runs[0].record.study.experiment.task.metric):
        curves = {run.title: run.curves[name] for run in runs if name in run.curves}
        if curves:
            plot = drawing.draw(plots.curves, curves, ("step", field_label(name)), size=(7.0, 4.0))
            title = f"{field_label(name).capitalize()} while training"
            caption = "training batches; the chosen setting of each run; mean over its seeds, band "
            figures.append(Figure(name, title, f"{caption}from lowest to highest", plot))
    return figures
