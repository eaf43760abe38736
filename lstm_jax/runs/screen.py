"""What a person sees: a live bar on a terminal, plain lines elsewhere, and the results."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import mean
from typing import Any, NamedTuple

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from lstm_jax.experiment import Experiment, Member
from lstm_jax.search import member_steps
from lstm_jax.statistics import lead_on_validation, settings


def say(console: Console, line: str) -> None:
    """One line as it is: no colours, no markup, no wrapping."""
    console.print(line, highlight=False, soft_wrap=True, markup=False)


class Tick(NamedTuple):
    """After a segment: the work done in it, and how training stands."""

    hidden_size: int
    member_steps: int  # over all members
    step: int
    loss: float  # mean over members, of the last batch
    accuracy: float


def work(hidden_size: int) -> float:
    """Of one training step, in units of its own: products, and what every step costs besides.

    Within 15 % of the times measured on CPU for 32 to 256 units.
    """
    return hidden_size * (hidden_size + 30) + 1000.0


class Meter:
    """Counts examples over all members of a run; knows the rate and the time left."""

    def __init__(self, console: Console, bar: Progress, experiment: Experiment) -> None:
        self.console, self.bar, self.experiment = console, bar, experiment
        self.members = experiment.num_settings * len(experiment.axis("seed"))
        self.examples, self.seconds, self.members_done = 0, 0.0, 0
        self.work_done, self.work_left = (
            0.0,
            member_steps(experiment) * mean(map(work, experiment.axis("hidden_size"))),
        )
        self.task = bar.add_task("", total=self.work_left, said="compiling")
        self.start()

    def skip(self, steps: dict[Member, int]) -> None:
        """Steps that were done before."""
        self.work_left -= sum(work(member.hidden_size) * n for member, n in steps.items())

    def start(self) -> None:
        """Starts the clock: what came before (compiling, scoring) does not count as training."""
        self.started = time.perf_counter()

    def tick(self, tick: Tick) -> None:
        now = time.perf_counter()
        self.seconds, self.started = self.seconds + now - self.started, now
        self.examples += tick.member_steps * self.experiment.batch_size
        worked = tick.member_steps * work(tick.hidden_size)
        self.work_done, self.work_left = self.work_done + worked, self.work_left - worked
        left = max(self.work_left, 0.0) * self.seconds / self.work_done
        said = (
            f"step {tick.step}/{self.experiment.num_steps}  loss {tick.loss:.3f}  accuracy "
            f"{tick.accuracy:.3f}  {self.rate:,.0f} examples/s  {left:.0f} s left"
        )
        if self.members > 1:
            done = f"{self.members_done} of {self.members} members done"
            said = f"hidden {tick.hidden_size}  {said}  {done}"
        self.bar.update(
            self.task, completed=self.work_done, total=self.work_done + self.work_left, said=said
        )
        if not self.console.is_terminal:
            say(self.console, said)

    @property
    def rate(self) -> float:
        """Member-examples a second of training."""
        return self.examples / self.seconds if self.seconds else 0.0


@contextmanager
def metered(console: Console, experiment: Experiment) -> Iterator[Meter]:
    """A meter of all that a run has to train, shown until the block ends."""
    percent, said = TextColumn("{task.percentage:>3.0f} %"), TextColumn("{task.fields[said]}")
    with Progress(
        BarColumn(), percent, said, console=console, disable=not console.is_terminal
    ) as bar:
        yield Meter(console, bar, experiment)


def show_results(
    console: Console,
    results: list[dict[str, Any]],
    dropped: list[dict[str, Any]],
    rows: list[dict[str, Any]],
    log_every: int,
) -> None:
    """A single run's accuracies, or a sweep's settings over seeds, the best validation first."""
    if len(results) == 1 and not dropped:
        _show_single(console, results[0], rows, log_every)
        return
    found = settings(results)
    table = Table("hidden size", "learning rate", "validation accuracy", "diverged", box=SIMPLE)
    for setting in found:
        table.add_row(
            str(setting.hidden_size),
            f"{setting.learning_rate:g}",
            str(setting.validation),
            str(setting.diverged or ""),
        )
    console.print(table, highlight=False)
    for step in sorted({row["dropped_at"] for row in dropped}):
        count = sum(row["dropped_at"] == step for row in dropped)
        say(console, f"dropped at step {step}: {count} members; see results.csv")
    best = found[0]
    say(
        console,
        f"chosen on validation: hidden {best.hidden_size}, learning rate {best.learning_rate:g}; "
        f"its test accuracy {best.test}",
    )
    if len(found) > 1 and (lead := lead_on_validation(results, *found[:2])) is not None:
        say(console, f"on common seeds ahead of the next setting by {lead} on validation")


def _show_single(
    console: Console, result: dict[str, Any], rows: list[dict[str, Any]], log_every: int
) -> None:
    say(console, f"batch accuracy every {log_every} steps:")
    seen = [" nan " if r["accuracy"] is None else f"{r['accuracy']:.3f}" for r in rows]
    for first in range(0, len(seen), 10):
        say(console, "  " + " ".join(seen[first : first + 10]))
    bad = result["diverged_at"]
    say(
        console,
        f"hidden {result['hidden_size']}, learning rate {result['learning_rate']:g}, "
        f"seed {result['seed']}: {result['steps']} steps, "
        f"validation accuracy {result['validation_accuracy']:.4f}, "
        f"test accuracy {result['test_accuracy']:.4f}"
        + ("" if bad is None else f", DIVERGED at step {bad} and frozen there"),
    )
    say(console, f"parameters SHA-256 {result['parameters_sha256']}")
