"""Measures one case: peers are started, built one after the other, and then take turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.process import Fleet, PeerError
from benchmarks.registry import Peer
from benchmarks.table import Measured
from benchmarks.task import Case

PAUSE = 0.05  # seconds between two turns, for the last one's threads to fall asleep


class Turns(NamedTuple):
    """How many rounds there are, and how long a turn is."""

    rounds: int
    seconds: float  # of one peer's turn


def measure(
    peers: Sequence[Peer],
    case: Case,
    folder: Path,
    cores: int,
    turns: Turns,
    say: Callable[[str], None],
) -> list[Measured]:
    """Measures all peers and returns a row for each, in their order.

    A peer that fails is left out from then on.
    """
    rows = {peer.name: Measured(peer.name, peer.has_loss) for peer in peers}
    fleets: dict[str, Fleet] = {}
    try:
        for peer in peers:
            if absent := peer.absent(case.platform):
                rows[peer.name].problem = absent
            else:
                fleets[peer.name] = Fleet(peer, case, folder, cores)
        for name in list(fleets):
            say(f"{case.name}: {name} starts")
            _guarded(_get_ready, fleets, rows[name])
        for name in list(fleets):
            say(f"{case.name}: {name} compiles")
            _guarded(_build, fleets, rows[name])
        for index in range(turns.rounds):
            say(f"{case.name}: round {index + 1} of {turns.rounds}")
            for name in in_turn(list(fleets), index):
                _guarded(_turn, fleets, rows[name], turns.seconds)
    finally:
        for fleet in fleets.values():
            fleet.stop()
    return list(rows.values())


def in_turn(names: list[str], index: int) -> list[str]:
    """Returns the peers in the order of a round. Each round begins with another peer, so that none
    always runs after the same one.
    """
    first = index % max(len(names), 1)
    return names[first:] + names[:first]


def _guarded(
    action: Callable[..., None], fleets: dict[str, Fleet], row: Measured, *rest: Any
) -> None:
    try:
        action(fleets[row.peer], row, *rest)
    except PeerError as error:
        row.problem, row.failed, row.rates = f"failed: {error}", True, []
        fleets.pop(row.peer).stop()


def _get_ready(fleet: Fleet, row: Measured) -> None:
    row.imported_mib = fleet.wait_ready()["mib"]


def _build(fleet: Fleet, row: Measured) -> None:
    clock = time.perf_counter()
    reply = fleet.build()
    row.build_seconds = time.perf_counter() - clock
    row.setting, row.loss, row.tried = reply["setting"], reply["loss"], reply["tried"]
    row.compile_seconds = reply["compile_seconds"]
    row.examples_per_step = reply["examples_per_step"]
    row.steps_per_second = reply["steps_per_second"]


def _turn(fleet: Fleet, row: Measured, seconds: float) -> None:
    """Runs a peer for about so many seconds and records its rate."""
    time.sleep(PAUSE)
    steps = max(1, round(seconds * row.steps_per_second))
    reply = fleet.run(steps)
    row.rates.append(steps * row.examples_per_step / reply["seconds"])
    row.peak_mib = reply["mib"]
