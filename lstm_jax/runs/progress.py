"""Prints the progress and the results: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import nan
from statistics import mean
from typing import NamedTuple

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as RichProgress
from rich.table import Column, Table
from rich.text import Text

from lstm_jax.config.experiment import Experiment, field_label, format_value
from lstm_jax.config.search import Study
from lstm_jax.config.shards import work
from lstm_jax.runs.files import printable
from lstm_jax.runs.metrics_file import Row
from lstm_jax.runs.results import Result, Score
from lstm_jax.runs.statistics import Summary, by_condition, lead_on_validation, summarise


def say(console: Console, line: str) -> None:
    """Prints one line without colours, markup and wrapping, its control characters escaped."""
    console.print(printable(line), highlight=False, soft_wrap=True, markup=False)


def text_table(header: Iterable[str], *sections: Iterable[Iterable[str]]) -> Table:
    """Returns a table of text without markup, its control characters escaped.

    The rows of a section stand apart from those of the next one.
    """
    table = Table(*(Column(header=Text(printable(name))) for name in header), box=SIMPLE)
    for rows in sections:
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        table.add_section()
    return table


class Progress(NamedTuple):
    """The progress of members that train side by side, after a segment."""

    members: Sequence[Experiment]
    steps: int  # of each member in this segment
    step: int  # at the end of the segment
    loss: float  # of the last batch, mean over members
    metric: float  # of the last batch, mean over members
    evaluation: Sequence[Score] | None = None  # on validation, before this segment


class ProgressBar:
    """Measures the training of all members of a run: the rate and the time left."""

    def __init__(self, console: Console, display: RichProgress, study: Study) -> None:
        self.console, self.display, self.study = console, display, study
        self.examples, self.seconds = 0, 0.0
        self.status, self.group, self.evaluation = "compiling", "", ""
        self.members: Sequence[Experiment] = ()  # of the last update
        self._members_done = 0
        mean_work = mean(work(member) * member.num_steps for member in study.members())
        self.work_done, self.work_left = 0.0, mean_work * study.num_members * study.work_share()
        self.task = display.add_task("", total=self.work_left, text=self.status)
        self.start()

    def skip(self, steps: Iterable[tuple[Experiment, int]]) -> None:
        """Subtracts steps that were done earlier from the work that is left."""
        self.work_left -= sum(work(member) * count for member, count in steps)

    def start(self) -> None:
        """Starts the clock, so that compiling and scoring do not count as training."""
        self.started = time.perf_counter()

    def update(self, progress: Progress) -> None:
        """Shows the state after a segment."""
        now = time.perf_counter()
        self.seconds, self.started = self.seconds + now - self.started, now
        first, count = progress.members[0], progress.steps * len(progress.members)
        self.examples += count * first.batch_size
        segment_work = count * work(first)
        self.work_done += segment_work
        self.work_left -= segment_work
        seconds_left = max(self.work_left, 0.0) * self.seconds / self.work_done
        self.group = "".join(  # the values that all members of this group share
            f"  {field_label(path)} {format_value(first.values[path])}"
            for path in self.study.experiment.axes
            if first.static_key.values[path] == first.values[path]
        )
        status = (
            f"step {progress.step}/{first.num_steps}  loss {progress.loss:.3f}  "
            f"{field_label(first.task.metric)} {progress.metric:.3f}  {self.rate:,.0f}"
        )
        self.status = f"{status}/s  {seconds_left:.0f} s left"
        if progress.members != self.members:  # the last evaluation was of other members
            self.members, self.evaluation = progress.members, ""
        if progress.evaluation:
            metrics = [score[first.task.metric] for score in progress.evaluation]
            metric = mean(nan if metric is None else metric for metric in metrics)
            self.evaluation = f"validation {metric:.3f} at step {progress.step - progress.steps}"
        self._show()
        if not self.console.is_terminal:
            line = f"{self.group.lstrip()}  {status} examples/s  {seconds_left:.0f} s left".lstrip()
            evaluation = [self.evaluation] if progress.evaluation else []
            say(self.console, "  ".join([line, *evaluation, *self._members_text()]))

    @property
    def members_done(self) -> int:
        """The number of members that are finished or dropped."""
        return self._members_done

    @members_done.setter
    def members_done(self, count: int) -> None:
        self._members_done = count
        self._show()

    def end(self) -> None:
        """Shows the bar as complete: the work may have been less than estimated."""
        self.work_left = 0.0
        self._show()
        if not self.console.is_terminal:
            for line in self._members_text():
                say(self.console, line)

    def _show(self) -> None:
        """Updates the bar: one line of 80 columns, and a second one if there is more to show."""
        details = "  ".join(filter(None, [self.evaluation, *self._members_text()])) + self.group
        self.display.update(
            self.task,
            completed=self.work_done,
            total=self.work_done + self.work_left,
            text=f"{self.status}\n{details.strip()}".rstrip(),
        )

    def _members_text(self) -> list[str]:
        total = self.study.num_members
        return [f"{self.members_done} of {total} members done"] if total > 1 else []

    @property
    def rate(self) -> float:
        """Training examples per second, over all members."""
        return self.examples / self.seconds if self.seconds else 0.0


@contextmanager
def progress_bar(console: Console, study: Study) -> Iterator[ProgressBar]:
    """Shows a bar of all that a run has to train while the block runs."""
    percent = TextColumn("{task.percentage:>3.0f} %")
    text = TextColumn("{task.fields[text]}", markup=False)
    columns = BarColumn(bar_width=8), percent, text
    with RichProgress(*columns, console=console, disable=not console.is_terminal) as display:
        bar = ProgressBar(console, display, study)
        yield bar
        bar.end()


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
    ignores the input stands beside theirs.
    """
    experiment, metric = study.experiment, study.experiment.task.metric
    if len(results) == 1 and not dropped:
        trivial = _trivial(trivial_score_of(results[0].member))
        _show_member(console, experiment, results[0], rows, trivial)
        return
    summaries = summarise(results)
    conditions = experiment.condition_axes
    fields = [path for path in experiment.axes if path not in ("seed", *conditions)]
    columns = [*map(field_label, [*conditions, *fields]), f"validation {metric}"]
    any_diverged = any(summary.diverged for summary in summaries)

    def row(summary: Summary) -> list[str]:
        values = [format_value(summary.setting.values[p]) for p in (*conditions, *fields)]
        return [*values, str(summary.validation), *[str(summary.diverged or "")] * any_diverged]

    header = [*columns, *["diverged"] * any_diverged]
    groups = by_condition(summaries)
    console.print(text_table(header, *(map(row, group) for group in groups)), highlight=False)
    for step in sorted({result.steps for result in dropped}):
        count = sum(result.steps == step for result in dropped)
        say(console, f"dropped at step {step}: {count} members; see results.csv")
    for group in groups:
        best = group[0]
        condition = experiment.condition_label(best.setting)
        setting = ", ".join(
            f"{field_label(path)} {format_value(best.setting.values[path])}" for path in fields
        )
        chosen = f"chosen on validation: {setting}; its " if setting else ""
        trivial = _trivial(trivial_score_of(best.setting))
        start = f"{condition}: " if condition else ""
        say(console, f"{start}{chosen}test {metric} {best.test}{trivial}")
        if len(group) > 1 and (lead := lead_on_validation(*group[:2])) is not None:
            say(
                console, f"{start}on common seeds ahead of the next setting by {lead} on validation"
            )


def _show_member(
    console: Console, experiment: Experiment, result: Result, rows: Sequence[Row], trivial: str
) -> None:
    metric = experiment.task.metric
    say(console, f"batch {metric} every {result.member.log_every} steps:")
    values = [" nan " if row[metric] is None else f"{row[metric]:.3f}" for row in rows]
    for start in range(0, len(values), 10):
        say(console, "  " + " ".join(values[start : start + 10]))
    diverged = ""
    if result.diverged_at is not None:
        diverged = f", DIVERGED at step {result.diverged_at} and frozen there"
    say(
        console,
        f"{experiment.label(result.member)}: {result.steps} steps, "
        f"validation {metric} {result.validation_metric:.4f}, "
        f"test {metric} {result.test_metric:.4f}{trivial}{diverged}",
    )
    say(console, f"parameters SHA-256 {result.parameters_sha256}")


def _trivial(score: float | None) -> str:
    if score is None:
        return ""
    return f" (trivial {score:{'.4f' if abs(score) < 1e6 else '.4g'}})"
