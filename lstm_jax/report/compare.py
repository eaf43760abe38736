"""Runs compared: the fields that differ, the results of their chosen settings, their curves."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.labels import field_label, format_value
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.report import plots
from lstm_jax.report.curves import MAX_PANELS, curves_by_setting, setting_name
from lstm_jax.report.drawing import Figure
from lstm_jax.report.plots import Curve
from lstm_jax.report.template import render
from lstm_jax.runs import provenance
from lstm_jax.runs.files import make_folder, write_text
from lstm_jax.runs.metrics_file import read_metrics
from lstm_jax.runs.progress import say, text_table
from lstm_jax.runs.record import Record, read_run
from lstm_jax.runs.statistics import Summary, chosen, lead_on_validation, summarise

MAX_RUNS = 8  # whose curves can be told apart


Condition = tuple[tuple[str, Any], ...]  # `Experiment.condition`


class ComparedRun(NamedTuple):
    """A run with what is compared of it."""

    title: str
    record: Record
    best: dict[Condition, Summary]  # the chosen setting of each; empty: no member is finished
    curves: dict[str, dict[Condition, Curve]]  # of these settings, by metric

    @property
    def metric(self) -> str:
        """The name of the task's metric, in words."""
        return field_label(self.record.study.experiment.task.metric)


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
    console.print(text_table(["", *titles], fields, scores), highlight=False)
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
    if len(metrics := {run.record.study.experiment.task.metric for run in runs}) > 1:
        raise UserError(f"compare: {' and '.join(sorted(metrics))} cannot be compared")
    return runs


def _field_rows(runs: Sequence[ComparedRun]) -> list[list[str]]:
    """Returns a row for each field whose values are not the same in all runs."""
    experiments = [run.record.study.experiment for run in runs]
    rows = []
    named = {path for each in experiments for path in (*each.axes, *each.overrides)}
    for path in dict.fromkeys(path for each in experiments for path in each.values):
        values = [each.values_of(path) if path in each.values else () for each in experiments]
        if len(set(values)) > 1 and (path in named or () not in values):
            rows.append(
                [
                    field_label(path),
                    *(" ".join(map(format_value, value)) or "-" for value in values),
                ]
            )
    return rows


def _condition_labels(runs: Sequence[ComparedRun]) -> dict[Condition, str]:
    """Returns the conditions of all runs, each with a text of the values in which it differs from
    the others, followed by a colon; the text is empty where there is one condition.
    """
    conditions = list(dict.fromkeys(condition for run in runs for condition in run.best))
    values = [dict(condition) for condition in conditions]
    paths = [
        path
        for path in dict.fromkeys(path for each in values for path in each)
        if len({str(each.get(path)) for each in values}) > 1
    ]
    return {
        condition: ", ".join(
            f"{field_label(path)} {format_value(each[path])}" for path in paths if path in each
        )
        + (": " if paths else "")
        for condition, each in zip(conditions, values, strict=True)
    }


def _score_rows(runs: Sequence[ComparedRun]) -> list[list[str]]:
    """Returns a row for each score of the chosen settings, condition by condition, and for the
    members done.
    """
    metric = field_label(runs[0].record.study.experiment.task.metric)
    head = "setting chosen", "num parameters", f"validation {metric}", f"test {metric}", "diverged"
    rows = []
    for condition, label in _condition_labels(runs).items():
        columns = []
        for run in runs:
            best = run.best.get(condition)
            if best is None:
                columns.append(["none finished" if not run.best else "", "", "", "", ""])
                continue
            experiment = run.record.study.experiment
            setting = setting_name(experiment, best.setting, experiment.condition_axes)
            scores = best.num_parameters, str(best.validation), str(best.test), str(best.diverged)
            columns.append([setting or "the only one", *scores])
        rows += [[label + name, *row] for name, *row in zip(head, *columns, strict=True)]
    done = [f"{run.record.num_done} of {run.record.num_members}" for run in runs]
    return [*rows, ["members done", *done]]


def _leads(runs: Sequence[ComparedRun]) -> list[str]:
    """Returns for each other run how far its chosen settings are ahead of the first run's or behind
    them, in each condition that both have.
    """
    first, labels, messages = runs[0], _condition_labels(runs), []
    for run in runs[1:]:
        common = [condition for condition in labels if condition in first.best.keys() & run.best]
        messages += [labels[condition] + _lead(first, run, condition) for condition in common]
        if not common and first.best and run.best:
            asked = "; ".join(
                " and ".join(labels[condition].removesuffix(": ") for condition in each.best)
                for each in (run, first)
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
    """Returns the curves of loss and metric, one for each run that has them: a panel for each
    condition.
    """
    labels, figures = _condition_labels(runs), []
    for name in ("loss", runs[0].record.study.experiment.task.metric):
        panels: dict[str, dict[str, Curve]] = {}
        for run in runs:
            for condition, curve in run.curves[name].items():
                title = labels.get(condition, "").removesuffix(": ")
                panels.setdefault(title, {})[run.title] = curve
        if panels:
            panels = dict(list(panels.items())[:MAX_PANELS])
            plot = plots.draw_panels(panels, ("step", field_label(name)))
            title = f"{field_label(name).capitalize()} while training"
            caption = "training batches; the chosen setting of each run; mean over its seeds, band "
            figures.append(Figure(name, title, f"{caption}from lowest to highest", plot))
    return figures
