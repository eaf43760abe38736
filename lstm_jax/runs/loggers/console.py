"""Prints the progress of a run: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import nan
from pathlib import Path
from statistics import mean

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.labels import field_label, format_value
from lstm_jax.config.shards import work
from lstm_jax.runs.loggers.logger import Logger
from lstm_jax.runs.progress import say
from lstm_jax.runs.record import Record
from lstm_jax.runs.results import Result, Segment


class ProgressBar(Logger):
    """Shows how far the members of a run are, their last batch, the rate, and the time left."""

    def __init__(self, console: Console) -> None:
        self.console = console
        percent = TextColumn("{task.percentage:>3.0f} %")
        text = TextColumn("{task.fields[text]}", markup=False)
        columns = BarColumn(bar_width=8), percent, text
        self.display = Progress(*columns, console=console, disable=not console.is_terminal)
        self.examples, self.seconds = 0, 0.0
        self.status, self.group, self.evaluated = "compiling", "", ""
        self.members: Sequence[Experiment] = ()  # of the last segment

    def begin(self, record: Record, directory: Path) -> None:
        self.record, study = record, record.study
        self.steps = dict[str, int]()  # of each member by digest, so far
        mean_work = mean(work(member) * member.num_steps for member in study.members())
        self.work_done, self.work_left = 0.0, mean_work * study.num_members * study.work_share()
        steps_done = record.steps_done()
        for member in study.members():
            self._skip_to(member, steps_done.get(member.digest, 0))
        self.task = self.display.add_task("", total=self.work_left, text=self.status)
        self.display.start()
        self._show()

    def _skip_to(self, member: Experiment, step: int) -> None:
        """Subtracts the steps that a member does not train from the work that is left."""
        skipped = step - self.steps.get(member.digest, 0)
        if skipped:
            self.work_left -= work(member) * skipped
            self.steps[member.digest] = step

    def evaluation(self, segment: Segment) -> None:
        self.members, task = segment.members, segment.members[0].task
        values = [score[task.metric] for score in segment.evaluation or ()]
        metric = mean(nan if value is None else value for value in values)
        self.evaluated = f"validation {metric:.3f} at step {segment.start}"

    def metrics(self, segment: Segment) -> None:
        first, num_steps = segment.members[0], segment.stop - segment.start
        if not num_steps:
            if not self.console.is_terminal:
                count = len(segment.members)
                members = "1 member" if count == 1 else f"{count} members"
                say(self.console, f"stopped at step {segment.start}: {members}")
            return
        for member in segment.members:  # it may go on from a checkpoint
            self._skip_to(member, segment.start)
            self.steps[member.digest] = segment.stop
        segment_work = num_steps * len(segment.members) * work(first)
        self.work_done += segment_work
        self.work_left -= segment_work
        self.examples += num_steps * len(segment.members) * first.batch_size
        self.seconds += segment.seconds
        seconds_left = max(self.work_left, 0.0) * self.seconds / self.work_done
        self.group = "".join(  # the values that all members of this group share
            f"  {field_label(path)} {format_value(first.values.get(path))}"
            for path in self.record.study.experiment.axes
            if first.static_key.values.get(path) == first.values.get(path)
        )
        loss, metric = (
            float(segment.metrics[name][:, -1].mean()) for name in ("loss", first.task.metric)
        )
        rate = self.examples / self.seconds if self.seconds else 0.0
        status = (
            f"step {segment.stop}/{first.num_steps}  loss {loss:.3f}  "
            f"{field_label(first.task.metric)} {metric:.3f}  {rate:,.0f}"
        )
        self.status = f"{status}/s  {seconds_left:.0f} s left"
        if segment.members != self.members:  # the last evaluation was of other members
            self.members, self.evaluated = segment.members, ""
        self._show()
        if not self.console.is_terminal:
            line = f"{self.group.lstrip()}  {status} examples/s  {seconds_left:.0f} s left".lstrip()
            evaluated = [self.evaluated] if segment.evaluation is not None else []
            say(self.console, "  ".join([line, *evaluated, *self._members_text()]))

    def finish(self, results: Iterable[Result]) -> None:
        for result in results:
            if not result.dropped:  # the work of those that are was never counted
                self._skip_to(result.member, result.member.num_steps)
        self._show()

    def close(self) -> None:
        """Shows the bar of a finished run as complete: its work may be less than estimated."""
        if self.record.is_finished:
            self.work_left = 0.0
            self._show()
            if not self.console.is_terminal:
                for line in self._members_text():
                    say(self.console, line)
        self.display.stop()

    def _show(self) -> None:
        """Updates the bar: one line of 80 columns, and a second one if there is more to show."""
        details = "  ".join(filter(None, [self.evaluated, *self._members_text()])) + self.group
        self.display.update(
            self.task,
            completed=self.work_done,
            total=self.work_done + self.work_left,
            text=f"{self.status}\n{details.strip()}".rstrip(),
        )

    def _members_text(self) -> list[str]:
        done, total = self.record.num_done, self.record.study.num_members
        return [f"{done} of {total} members done"] if total > 1 else []
