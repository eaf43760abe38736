"""What a person sees: a live bar on a terminal, plain lines elsewhere, and the results."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import nan
from statistics import mean
from typing import Any, NamedTuple

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as RichProgress
from rich.table import Table

from lstm_jax.config.experiment import Experiment, field_label, format_value
from lstm_jax.config.search import Study
from lstm_jax.config.shards import work
from lstm_jax.runs.files import printable
from lstm_jax.runs.results import Result, Score
from lstm_jax.runs.statistics import Summary, lead_on_validation, summarise


def say(console: Console, line: str) -> None:
    """Prints one line as it is: no colours, no markup, no wrapping, no control characters."""
    console.print(printable(line), highlight=False, soft_wrap=True, markup=False)


class Progress(NamedTuple):
    """After a segment: the work done in it, and how training stands."""

    members: Sequence[Experiment]  # side by side
    steps: int  # of each in this segment
    step: int
    loss: float  # mean over members, of the last batch
    metric: float
    look: Sequence[Score] | None = None  # how they stood on validation before this segment


class ProgressBar:
    """Counts examples over all members of a run; knows the rate and the time left."""

    def __init__(self, console: Console, display: RichProgress, study: Study) -> None:
        self.console, self.display, self.study = console, display, study
        self.examples, self.seconds = 0, 0.0
        self.said, self.named, self.looked, self._members_done = "compiling", "", "", 0
        self.shown: Sequence[Experiment] = ()
        whole = mean(work(member) * member.num_steps for member in study.members())
        self.work_done, self.work_left = 0.0, whole * study.num_members * study.work_share()
        self.task = display.add_task("", total=self.work_left, said=self.said)
        self.start()

    def skip(self, steps: Iterable[tuple[Experiment, int]]) -> None:
        """Takes steps off what is left: they were done before."""
        self.work_left -= sum(work(member) * n for member, n in steps)

    def start(self) -> None:
        """Starts the clock: what came before (compiling, scoring) does not count as training."""
        self.started = time.perf_counter()

    def update(self, progress: Progress) -> None:
        now = time.perf_counter()
        self.seconds, self.started = self.seconds + now - self.started, now
        first, count = progress.members[0], progress.steps * len(progress.members)
        self.examples += count * first.batch_size
        worked = count * work(first)
        self.work_done, self.work_left = self.work_done + worked, self.work_left - worked
        left = max(self.work_left, 0.0) * self.seconds / self.work_done
        self.named = "".join(  # what all members of this group have in common
            f"  {field_label(path)} {format_value(first.values[path])}"
            for path in self.study.experiment.axes
            if first.static_key.values[path] == first.values[path]
        )
        stands = (
            f"step {progress.step}/{first.num_steps}  loss {progress.loss:.3f}  "
            f"{field_label(first.task.metric)} {progress.metric:.3f}  {self.rate:,.0f}"
        )
        self.said = f"{stands}/s  {left:.0f} s left"
        if progress.members != self.shown:  # others than the last look was at
            self.shown, self.looked = progress.members, ""
        if progress.look:
            metrics = [score[first.task.metric] for score in progress.look]
            stood = mean(nan if metric is None else metric for metric in metrics)
            self.looked = f"validation {stood:.3f} at step {progress.step - progress.steps}"
        self._show()
        if not self.console.is_terminal:
            seen = [self.looked] if progress.look else []
            line = f"{self.named.lstrip()}  {stands} examples/s  {left:.0f} s left".lstrip()
            say(self.console, "  ".join([line, *seen, *self._counted()]))

    @property
    def members_done(self) -> int:
        """The number of members that are finished, or dropped."""
        return self._members_done

    @members_done.setter
    def members_done(self, count: int) -> None:
        self._members_done = count
        self._show()

    def end(self) -> None:
        """Shows that all is done: an estimate of the work may have been more."""
        self.work_left = 0.0
        self._show()
        if not self.console.is_terminal:
            for line in self._counted():
                say(self.console, line)

    def _show(self) -> None:
        """Updates the bar: a line of 80 columns, and a second one in a sweep, or of validation."""
        second = "  ".join(filter(None, [self.looked, *self._counted()])) + self.named
        self.display.update(
            self.task,
            completed=self.work_done,
            total=self.work_done + self.work_left,
            said=f"{self.said}\n{second.strip()}".rstrip(),
        )

    def _counted(self) -> list[str]:
        total = self.study.num_members
        return [f"{self.members_done} of {total} members done"] if total > 1 else []

    @property
    def rate(self) -> float:
        """Member-examples a second of training."""
        return self.examples / self.seconds if self.seconds else 0.0


@contextmanager
def progress_bar(console: Console, study: Study) -> Iterator[ProgressBar]:
    """Shows a bar of all that a run has to train until the block spec."""
    percent = TextColumn("{task.percentage:>3.0f} %")
    said = TextColumn("{task.fields[said]}", markup=False)
    columns = BarColumn(bar_width=8), percent, said
    with RichProgress(*columns, console=console, disable=not console.is_terminal) as display:
        bar = ProgressBar(console, display, study)
        yield bar
        bar.end()


def show_results(
    console: Console,
    study: Study,
    results: Sequence[Result],
    dropped: Sequence[Result],
    rows: Sequence[dict[str, Any]],
) -> None:
    """Shows a single run's scores, or a sweep's settings over seeds, the best first."""
    if len(results) == 1 and not dropped:
        _show_single(console, study.experiment, results[0], rows)
        return
    found, metric = summarise(results), study.experiment.task.metric
    varied = [path for path in study.experiment.axes if path != "seed"]
    last = ["diverged"] if any(summary.diverged for summary in found) else []
    table = Table(*map(field_label, varied), f"validation {metric}", *last, box=SIMPLE)
    for summary in found:
        values = [format_value(summary.setting.values[path]) for path in varied]
        table.add_row(*values, str(summary.validation), *[str(summary.diverged or "")] * len(last))
    console.print(table, highlight=False)
    for step in sorted({row.steps for row in dropped}):
        count = sum(row.steps == step for row in dropped)
        say(console, f"dropped at step {step}: {count} members; see results.csv")
    _show_chosen(console, study.experiment, found)


def _show_chosen(console: Console, experiment: Experiment, found: list[Summary]) -> None:
    best, metric = found[0], experiment.task.metric
    named = ", ".join(
        f"{field_label(path)} {format_value(best.setting.values[path])}"
        for path in experiment.axes
        if path != "seed"
    )
    chosen = f"chosen on validation: {named}; its test {metric}" if named else f"test {metric}"
    say(console, f"{chosen} {best.test}")
    if len(found) > 1 and (lead := lead_on_validation(*found[:2])) is not None:
        say(console, f"on common seeds ahead of the next setting by {lead} on validation")


def _show_single(
    console: Console, experiment: Experiment, result: Result, rows: Sequence[dict[str, Any]]
) -> None:
    metric = experiment.task.metric
    say(console, f"batch {metric} every {result.member.log_every} steps:")
    seen = [" nan " if row[metric] is None else f"{row[metric]:.3f}" for row in rows]
    for first in range(0, len(seen), 10):
        say(console, "  " + " ".join(seen[first : first + 10]))
    frozen = "" if result.diverged_at is None else f", DIVERGED at step {result.diverged_at}"
    say(
        console,
        f"{experiment.label(result.member)}: {result.steps} steps, "
        f"validation {metric} {result.validation_metric:.4f}, "
        f"test {metric} {result.test_metric:.4f}{frozen}{' and frozen there' * bool(frozen)}",
    )
    say(console, f"parameters SHA-256 {result.parameters_sha256}")
