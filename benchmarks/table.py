"""Turns the rates of the rounds into numbers and a table. Nothing here reads or writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple

from rich.table import Table

from benchmarks.registry import BITS_FREE, CEILING, ONE_CORE, OURS, OURS_CUDNN
from benchmarks.task import Case, flop

TOLERANCE = 1e-3  # of losses after the same steps, relative; float32 in another order of sums


class Spread(NamedTuple):
    """The median and the range of a number over all rounds."""

    median: float
    low: float
    high: float


@dataclass
class Measured:
    """The measurements of a peer in one case. `problem` says why there are none."""

    peer: str
    has_loss: bool = True
    problem: str = ""
    failed: bool = False
    setting: str = ""
    compile_seconds: float = float("nan")
    build_seconds: float = float("nan")  # all settings together, their first steps included
    loss: float = float("nan")
    examples_per_step: int = 0
    steps_per_second: float = float("nan")  # of the steps compared, before the rounds
    imported_mib: float = float("nan")
    peak_mib: float = float("nan")
    rates: list[float] = field(default_factory=list)  # examples a second, round by round
    tried: dict[str, Any] = field(default_factory=dict)


def spread(values: Sequence[float]) -> Spread:
    """Returns the median and the range of the values."""
    return Spread(median(values), min(values), max(values))


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Returns the ratio of each round, so that a drift of the machine between rounds cancels."""
    return [a / b for a, b in zip(above, below, strict=True)]


def disagreements(measured: Sequence[Measured]) -> list[str]:
    """Returns a line for each peer whose loss differs from ours (without ours, from the median)."""
    losses = {row.peer: row.loss for row in measured if row.has_loss and row.rates}
    if not losses:
        return []
    expected = losses.get(OURS, median(losses.values()))
    return [
        f"{peer}: loss {loss:.6f} where {expected:.6f} was expected: it does not train this model"
        for peer, loss in losses.items()
        if not abs(loss - expected) <= TOLERANCE * abs(expected)
    ]


def shares_of_ceiling(measured: Sequence[Measured]) -> dict[str, Spread]:
    """Returns our rate as a fraction of that of the products alone, on all cores and on one."""
    rates = {row.peer: row.rates for row in measured if row.rates}
    pairs = {"all cores": (OURS, CEILING), "one core": (ONE_CORE[OURS], ONE_CORE[CEILING])}
    return {
        cores: spread(ratios(rates[ours], rates[ceiling]))
        for cores, (ours, ceiling) in pairs.items()
        if ours in rates and ceiling in rates
    }


def fastest_peer(measured: Sequence[Measured]) -> Measured | None:
    """Returns the fastest of the other peers, by the median of its rounds."""
    own = {OURS, OURS_CUDNN, BITS_FREE, CEILING, *ONE_CORE.values()}
    others = [row for row in measured if row.rates and row.peer not in own]
    return max(others, key=lambda row: median(row.rates), default=None)


def draw(case: Case, source: str, measured: Sequence[Measured]) -> Table:
    """Returns the table of a case: examples a second, and how many times as fast ours is."""
    value = "mean |logit|" if case.forward else "loss"
    table = Table(
        title=f"{case.name}, batch {case.batch_size}, {case.rows} rows of {case.features}, "
        f"{source}",
        caption=f"{value}: mean of steps {case.warmup_steps + 1} to {case.check_steps} from the "
        f"same weights; the first {case.warmup_steps}, compilation among them, are not timed"
        + (f"; {case.max_settings} settings tried, not all" if case.max_settings < 99 else ""),
    )
    for column in ("peer", "setting"):
        table.add_column(column, no_wrap=True)
    columns = ("examples/s", "min", "max", "ours is x", "min", "max", value, "compile s", "MiB")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    ours = next((row.rates for row in measured if row.peer == OURS), [])
    for row in measured:
        table.add_row(*_cells(row, ours))
    return table


def _cells(row: Measured, ours: Sequence[float]) -> list[str]:
    if row.problem or not row.rates:
        return [row.peer, "failed, see below" if row.failed else row.problem]
    rate = [f"{value:,.0f}" for value in spread(row.rates)]
    ratio = ["", "", ""]
    if ours and row.peer != OURS:
        ratio = [f"{value:.2f}" for value in spread(ratios(ours, row.rates))]
    loss = f"{row.loss:.5f}" if row.has_loss else ""
    return [row.peer, row.setting, *rate, *ratio, loss, f"{row.compile_seconds:.1f}",
            f"{row.peak_mib:,.0f}"]  # fmt: skip


def remarks(case: Case, measured: Sequence[Measured]) -> list[str]:
    """Returns lines on the fastest peer, the ceiling, and what the promise of bits costs."""
    lines = []
    rates = {row.peer: row.rates for row in measured if row.rates}
    best = fastest_peer(measured)
    if best and OURS in rates:
        times = spread(ratios(rates[OURS], best.rates))
        lines.append(
            f"ours is {times.median:.2f}x ({times.low:.2f} to {times.high:.2f}) "
            f"the fastest peer, {best.peer}"
        )
    if OURS in rates and ONE_CORE[OURS] in rates:
        times = spread(ratios(rates[OURS], rates[ONE_CORE[OURS]]))
        lines.append(f"ours on all cores is {times.median:.2f}x itself on one core")
    if OURS in rates and BITS_FREE in rates and not case.forward:
        times = spread(ratios(rates[OURS], rates[BITS_FREE]))
        lines.append(
            f"ours is {times.median:.2f}x ({times.low:.2f} to {times.high:.2f}) its recurrence in "
            "a plain step: what the promise of bits costs, or brings"
        )
    for cores, share in shares_of_ceiling(measured).items():
        ceiling = CEILING if cores == "all cores" else ONE_CORE[CEILING]
        gflops = median(rates[ceiling]) / case.batch_size * flop(case) / 1e9
        lines.append(
            f"{cores}: ours reaches {share.median:.0%} ({share.low:.0%} to {share.high:.0%}) of "
            f"its matrix products alone, which run at {gflops:.0f} GFLOP/s"
        )
    return lines
