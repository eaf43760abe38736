"""Runs compared: the fields that differ, the results of their chosen settings, their curves."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.experiment_fields import BUDGETS
from lstm_jax.config.labels import field_label, format_value
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.report import plots
from lstm_jax.report.curves import MAX_PANELS, curves_by_setting, setting_name
from lstm_jax.report.drawing import Figure, TextTable
from lstm_jax.report.element_files import write_files, write_pictures
from lstm_jax.report.grid import Condition, condition_labels, grid_elements
from lstm_jax.report.plots import Curve
from lstm_jax.report.template import render
from lstm_jax.runs import provenance
from lstm_jax.runs.files import make_folder, write_text
from lstm_jax.runs.metrics_file import read_metrics
from lstm_jax.runs.progress import say, text_table
from lstm_jax.runs.record import Record, read_run
from lstm_jax.runs.statistics import Summary, chosen, lead_on_validation, summarise
from lstm_jax.tasks.task import Task

MAX_RUNS = 8  # whose curves can be told apart


class ComparedRun(NamedTuple):
    """A run with what is compared of it."""

    title: str
    record: Record
    best: dict[Condition, Summary]  # the chosen setting of each; empty: no member is finished
    curves: dict[str, dict[Condition, Curve]]  # of these settings, by metric

    @property
    def task(self) -> Task:
        """The task of its members, whose conditions may differ."""
        return self.record.study.experiment.task

    @property
    def metric(self) -> str:
        """The name of the task's metric, in words."""
        return field_label(self.task.metric)


def compare(
    directories: Sequence[Path], console: Console, runs_dir: Path, *, other_code: bool = False
) -> Path:
    """Prints a comparison of runs, writes it as a page in `runs_dir/compare` and returns its path.

    Each run is compared with the first one. Cells that were trained on several conditions stand in
    one table beside them. All tables and figures are files beside the page too. Raises UserError
    where runs cannot be compared, and EnvironmentProblem where members with the same fields were
    trained by different code; with `other_code` the page says so instead.
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
    console.print(text_table(["", *titles], fields, scores), highlight=False)
    for message in (*leads, *notes):
        say(console, message)
    grid = list(grid_elements([(run.title, run.record) for run in runs]))
    names = "\n".join(f"{path.parent.name}/{path.name}" for path in directories)
    digest = hashlib.sha256(names.encode()).hexdigest()[:12]
    path, folder = (runs_dir / "compare" / f"{digest}{end}" for end in (".html", "_files"))
    head = ["", *titles]
    tables = [TextTable("scores", "", "", head, scores), TextTable("fields", "", "", head, fields)]
    grid_tables = [each for each in grid if isinstance(each, TextTable)]
    maps = [each for each in grid if isinstance(each, Figure)]
    figures = _figures(runs)
    page = render(
        "compare.html", titles=titles, scores=tables[0], fields=tables[1], leads=leads, notes=notes,
        grid_tables=grid_tables, maps=maps, figures=figures, folder=f"{folder.name}/",
    )  # fmt: skip
    make_folder(path.parent)
    make_folder(folder)
    write_text(path, page)
    write_files(folder, [*tables, *grid_tables, *maps, *figures])
    say(console, f"comparison: {path}")
    write_pictures(folder, [*maps, *figures])
    return path


def _read(directories: Sequence[Path], console: Console) -> list[ComparedRun]:
    """Returns the runs. Raises UserError for a run given twice."""
    paths = [path.resolve() for path in directories]
    if repeated := [path for path in paths if paths.count(path) > 1]:
        name = f"{repeated[0].parent.name}/{repeated[0].name[:6]}"
        raise UserError(f"compare: {name} is given twice; `lstm-jax list` shows the other runs")
    if not 2 <= len(paths) <= MAX_RUNS:
        of_one = ""
        if len(paths) == 1:
            run = f"{paths[0].parent.name}/{paths[0].name[:6]}"
            of_one = (
                "; of one run, the report compares its cells and settings, paired where they have "
                f"two seeds or more in common: lstm-jax report {run}"
            )
        raise UserError(f"compare: give two to {MAX_RUNS} runs{of_one}")
    runs = []
    for path in paths:
        record = read_run(path)
        rows = read_metrics(path, lambda message: say(console, message))
        best = {s.setting.condition: s for s in chosen(summarise(record.results.values()))}
        experiment = record.study.experiment
        begun = [] if best else [record.study.members()[0].condition]  # the curve of one member
        curves = {
            name: {
                condition: curve
                for condition in [*best, *begun]
                for curve in curves_by_setting(
                    record, rows, name, [best[condition]] if best else [], max_curves=1
                ).values()
            }
            for name in ("loss", experiment.task.metric)
        }
        runs.append(ComparedRun(f"{path.parent.name}/{path.name[:6]}", record, best, curves))
    return runs


def _field_rows(runs: Sequence[ComparedRun]) -> list[list[str]]:
    """Returns a row for each field whose values are not the same in all runs."""
    experiments = [run.record.study.experiment for run in runs]
    tasks = [run.task.name for run in runs]
    rows = [["task", *tasks]] if len(set(tasks)) > 1 else []
    named = {path for each in experiments for path in (*each.axes, *each.overrides, each.budget)}
    used = [each.values.keys() - ({*BUDGETS} - {each.budget}) for each in experiments]
    for path in dict.fromkeys(path for each in experiments for path in each.values):
        values = [
            each.values_of(path) if path in paths else ()
            for each, paths in zip(experiments, used, strict=True)
        ]
        if len(set(values)) > 1 and (path in named or () not in values):
            rows.append(
                [
                    field_label(path),
                    *(" ".join(map(format_value, value)) or "-" for value in values),
                ]
            )
    return rows


def _score_rows(runs: Sequence[ComparedRun]) -> list[list[str]]:
    """Returns a row for each score of the chosen settings, condition by condition, and for the
    members done.
    """
    rows = []
    for condition, label in _labels(runs).items():
        metric = next(run.metric for run in runs if condition in run.best)
        splits = f"validation {metric}", f"test {metric}"
        head = "setting chosen", "num parameters", *splits, "diverged"
        columns = []
        for run in runs:
            best = run.best.get(condition)
            if best is None:
                columns.append(["none finished" if not run.best else "", "", "", "", ""])
                continue
            experiment = run.record.study.experiment
            setting = setting_name(experiment, best.setting, experiment.condition_axes)
            scores = best.num_parameters, str(best.validation), str(best.test), str(best.diverged)
            columns.append([(setting or "the only one") + best.tie_note, *scores])
        rows += [[_before(label) + name, *row] for name, *row in zip(head, *columns, strict=True)]
    done = [f"{run.record.num_done} of {run.record.num_members}" for run in runs]
    return [*rows, ["members done", *done]]


def _leads(runs: Sequence[ComparedRun]) -> list[str]:
    """Returns for each other run how far its chosen settings are ahead of the first run's or behind
    them, in each condition that both have.
    """
    first, labels, messages = runs[0], _labels(runs), []
    for run in runs[1:]:
        common = [condition for condition in labels if condition in first.best.keys() & run.best]
        messages += [_before(labels[each]) + _lead(first, run, each) for each in common]
        if not common and first.best and run.best:
            asked = "; ".join(
                " and ".join(labels[condition] for condition in each.best) for each in (run, first)
            )
            messages.append(
                f"{run.title} and {first.title} are not ranked: they answer different questions "
                f"({asked})"
            )
    return messages


def _lead(first: ComparedRun, run: ComparedRun, condition: Condition) -> str:
    """Returns how far a run's chosen setting is ahead of the first run's or behind it, paired over
    common seeds, with a warning where the comparison is not reliable.
    """
    best, others, metric = run.best[condition], first.best[condition], first.metric
    ahead, behind, lead = run, first, lead_on_validation(best, others)
    if lead is not None and lead.mean < 0:
        ahead, behind, lead = first, run, lead_on_validation(others, best)
    if lead is None:
        return (
            f"{run.title} and {first.title} cannot be paired: they have no seed in common, or a "
            "member diverged"
        )
    seeds = "seed" if lead.n == 1 else "seeds"
    paired = f"validation {metric}, paired over {lead.n} common {seeds}"
    if not lead.mean > 0:
        return f"{ahead.title} and {behind.title} are equal: {paired}"
    warning = ""
    if lead.n < 3:
        warning = "; too few seeds to tell the two apart"
    elif lead.low <= 0:
        warning = "; the interval contains 0: the two cannot be told apart"
    return f"{ahead.title} is ahead of {behind.title} by {lead}: {paired}{warning}"


def _notes(runs: Sequence[ComparedRun]) -> list[str]:
    """Returns what else may make the numbers differ: versions, devices, data of the same name."""
    first, notes = runs[0], []
    for run in runs[1:]:
        pair = [first.record, run.record]
        if not all(record.identities for record in pair):
            continue
        ours, theirs = (record.study.experiment.data_tasks().keys() for record in pair)
        identities = [
            # Programs differ with the cell and the task, so they are compared by static key above.
            identity | {"program": "", "data": identity["data"][:12] if ours & theirs else ""}
            for identity in (list(record.identities.values())[-1] for record in pair)
        ]
        notes += [
            f"{first.title} and {run.title}: {change} in the second"
            for change in provenance.changed(*identities)
        ]
    return notes


def _figures(runs: Sequence[ComparedRun]) -> list[Figure]:
    """Returns the curves of loss and metric of each task, one for each run that has them: a panel
    for each condition.
    """
    labels, figures = _labels(runs), []
    tasks = dict.fromkeys(run.task.name for run in runs)
    for task in tasks:
        asked = [run for run in runs if run.task.name == task]
        for name in ("loss", asked[0].task.metric):
            panels: dict[str, dict[str, Curve]] = {}
            for run in asked:
                for condition, curve in run.curves[name].items():
                    panels.setdefault(labels.get(condition, ""), {})[run.title] = curve
            if not panels:
                continue
            panels = dict(list(panels.items())[:MAX_PANELS])
            plot = plots.draw_panels(panels, ("step", field_label(name)))
            several = f", {task}" if len(tasks) > 1 else ""
            title = f"{field_label(name).capitalize()} while training{several}"
            caption = "training batches; the chosen setting of each run; mean over its seeds, band "
            file = re.sub(r"\W+", "_", f"{task}_{name}") if several else name
            figures.append(Figure(file, title, f"{caption}from lowest to highest", plot))
    return figures


def _labels(runs: Sequence[ComparedRun]) -> dict[Condition, str]:
    """Returns the conditions of all runs, each with its text."""
    return condition_labels(condition for run in runs for condition in run.best)


def _before(label: str) -> str:
    """Returns the text of a condition as it stands before what is said of it."""
    return f"{label}: " if label else ""
