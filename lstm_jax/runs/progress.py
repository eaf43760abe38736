"""Prints lines, and the results of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.labels import field_label, format_value
from lstm_jax.config.search import Study
from lstm_jax.runs.files import printable
from lstm_jax.runs.metrics_file import Row
from lstm_jax.runs.results import Result
from lstm_jax.runs.statistics import Summary, by_condition, lead_on_validation, summarise


def say(console: Console, line: str) -> None:
    """Prints one line without colours, markup and wrapping, its control characters escaped."""
    console.print(printable(line), highlight=False, soft_wrap=True, markup=False)


def text_table(header: Iterable[str], *sections: Iterable[Iterable[str]]) -> Table:
    """Returns a table of text without markup, its control characters escaped.

    A cell that is too long goes on in the next line, so that two paths never look the same. The
    rows of a section stand apart from those of the next one.
    """
    columns = (Column(header=Text(printable(name)), overflow="fold") for name in header)
    table = Table(*columns, box=SIMPLE)
    for rows in sections:
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        table.add_section()
    return table


def show_results(
    console: Console,
    study: Study,
    results: Sequence[Result],
    dropped: Sequence[Result],
    rows: Sequence[Row],
    trivial_score_of: Callable[[Experiment], float | None],
) -> None:
    """Prints the scores of a single run, or a table of a sweep's settings, the best one of each
    condition first.

    `rows` are the logged metrics of the finished members. The test metric of the best answer that
    needs no model stands beside theirs.
    """
    experiment, metric = study.experiment, study.experiment.task.metric
    if len(results) == 1 and not dropped:
        trivial = _trivial(trivial_score_of(results[0].member))
        _show_member(console, experiment, results[0], rows, trivial)
        return
    summaries = summarise(results)
    conditions = experiment.condition_axes
    fields = [path for path in experiment.axes if path not in ("seed", *conditions)]
    columns = [*map(field_label, [*conditions, *fields]), "num parameters"]
    any_diverged = any(summary.diverged for summary in summaries)
    any_stopped = any(summary.stopped_at for summary in summaries)

    def row(summary: Summary) -> list[str]:
        values = [format_value(summary.setting.values.get(p)) for p in (*conditions, *fields)]
        diverged = [str(summary.diverged or "")] * any_diverged
        return [
            *values,
            summary.num_parameters,
            str(summary.validation),
            *diverged,
            *[summary.stopped_at] * any_stopped,
        ]

    header = [
        *columns,
        f"validation {metric}",
        *["diverged"] * any_diverged,
        *["stopped at"] * any_stopped,
    ]
    groups = by_condition(summaries)
    console.print(text_table(header, *(map(row, group) for group in groups)), highlight=False)
    for step in sorted({result.steps for result in dropped}):
        count = sum(result.steps == step for result in dropped)
        say(console, f"dropped at step {step}: {count} members; see results.csv")
    for group in groups:
        best = group[0]
        condition = experiment.condition_label(best.setting)
        setting = ", ".join(
            f"{field_label(path)} {format_value(best.setting.values.get(path))}" for path in fields
        )
        chosen = f"chosen on validation: {setting}{best.tie_note}; its " if setting else ""
        trivial = _trivial(trivial_score_of(best.setting))
        start = f"{condition}: " if condition else ""
        say(console, f"{start}{chosen}test {metric} {best.test}{trivial}")
        say_others(console, best, start)
        if len(group) == 1 or best.num_tied:
            continue
        if (lead := lead_on_validation(*group[:2])) is not None:
            say(
                console, f"{start}on common seeds ahead of the next setting by {lead} on validation"
            )


def _show_member(
    console: Console, experiment: Experiment, result: Result, rows: Sequence[Row], trivial: str
) -> None:
    metric = experiment.task.metric
    say(console, f"batch {metric} every {result.member.log_every} steps:")
    logged = [row[metric] for row in rows if metric in row]
    values = [" nan " if value is None else f"{value:.3f}" for value in logged]
    for start in range(0, len(values), 10):
        say(console, "  " + " ".join(values[start : start + 10]))
    stopped = "" if result.stopped_at is None else f" of {result.member.num_steps}, stopped there"
    diverged = ""
    if result.diverged_at is not None:
        diverged = f", DIVERGED at step {result.diverged_at} and frozen there"
    say(
        console,
        f"{experiment.label(result.member)}: {result.num_parameters or 0:,} parameters, "
        f"{result.steps} steps{stopped}, "
        f"validation {metric} {result.validation_metric:.4f}, "
        f"test {metric} {result.test_metric:.4f}{trivial}{diverged}",
    )
    say_others(console, summarise([result])[0])
    say(console, f"parameters SHA-256 {result.parameters_sha256}")


def say_others(console: Console, summary: Summary, start: str = "") -> None:
    """Prints the metrics of a setting on the test beside the one that decides, if there are any."""
    values = [f"{field_label(name)} {each.mean:.4g}" for name, each in summary.other_tests.items()]
    if values:
        over = f", means over {summary.test.n} seeds" if summary.test.n > 1 else ""
        say(console, f"{start}also on the test: {', '.join(values)}{over}")


def _trivial(score: float | None) -> str:
    if score is None:
        return ""
    return f" (trivial {score:{'.4f' if abs(score) < 1e6 else '.4g'}})"
