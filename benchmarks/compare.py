"""Ours beside its peers: `python -m benchmarks.compare [--quick] [--help]`.

Every peer is a process of its own that trains the same model from the same weights on the same
batches. In a round the peers take turns, one running and the rest waiting; ratios are taken round
by round. Exit code 1 when a peer fails or its loss is not that of the others.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.process import environment
from benchmarks.registry import OURS, OUTSIDE_PEERS, PEERS, Peer, peers_of
from benchmarks.rounds import Turns, measure
from benchmarks.table import (
    Measured,
    disagreements,
    draw,
    ratios,
    remarks,
    shares_of_ceiling,
    spread,
)
from benchmarks.task import MODELS, Case, flop, make_case, make_weights, weights_file

MODES = ["train", "forward", "pixels", *MODELS]
BUSY = 0.25  # load a core above which others are at work
LIBRARIES = ("jax", "flax", "optax", "torch", "tensorflow", "tensorflow-cpu", "tf_keras", "keras",
             "dm-haiku", "equinox", "numpy")  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    # Without a terminal the width is set, so that no column is cut.
    console = Console(width=None if sys.stdout.isatty() else 170, highlight=False)
    cores = available_cores()
    cases = [
        make_case(mode, hidden, cores, options.quick, options.platform)
        for mode, hidden in chosen(options)
    ]
    if os.getloadavg()[0] > BUSY * cores:
        console.print(f"this machine is busy (load {os.getloadavg()[0]:.1f}): only indicative")
    report: dict[str, Any] = {
        "machine": machine(cores, options.platform),
        "options": vars(options),
        "cases": [],
    }
    faults: list[str] = []
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        source = prepare(folder)
        for case in cases:
            weights: dict[str, Any] = {**make_weights(case, options.seed)}
            np.savez(folder / weights_file(case), **weights)
            peers = [peer for peer in peers_of(case.mode) if peer.name in options.peers]
            with console.status(case.name) as status:
                turns = Turns(options.rounds, options.seconds)
                measured = measure(peers, case, folder, cores, turns, status.update)
            console.print(draw(case, source, measured))
            wrong = disagreements(measured)
            wrong += [f"{row.peer}: {row.problem}" for row in measured if row.failed]
            for line in [*remarks(case, measured), *(f"WRONG: {line}" for line in wrong)]:
                console.print(line, markup=False, soft_wrap=True)
            faults += [f"{case.name}: {line}" for line in wrong]
            report["cases"].append(as_json(case, source, measured))
            write(options.json, report)
    console.print(f"written to {options.json}")
    return 1 if faults else 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="H=128, training, under two minutes")
    parser.add_argument("--sweep", action="store_true", help="members side by side, one a core")
    parser.add_argument("--modes", nargs="+", choices=[*MODES, "sweep"],
                        help=f"by default {' '.join(MODES)}; with --quick train")  # fmt: skip
    parser.add_argument("--hidden", nargs="+", type=int, default=[32, 64, 128, 256])
    names = list(dict.fromkeys(peer.name for peer in (*PEERS, *OUTSIDE_PEERS)))
    parser.add_argument("--peers", nargs="+", choices=names, default=names)
    parser.add_argument("--platform", choices=["cpu", "gpu"], default="cpu", help="of all peers")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one peer's turn")
    parser.add_argument("--seed", type=int, default=0, help="of the first weights")
    parser.add_argument("--json", type=Path, default=Path("runs/benchmarks/results.json"))
    options = parser.parse_args(argv)
    if options.rounds < 1 or options.seconds <= 0 or min(options.hidden) < 1:
        parser.error("rounds, seconds and hidden must be positive")
    if options.sweep and options.platform == "gpu":
        parser.error("--sweep compares CPU cores; leave out --platform gpu")
    options.modes = options.modes or (["train"] if options.quick else MODES)
    if options.quick:
        options.hidden, options.rounds, options.seconds = [128], 5, 0.2
    if options.sweep:
        options.modes = ["sweep"]
        options.hidden = [hidden for hidden in options.hidden if hidden <= 128]
    options.json.parent.mkdir(parents=True, exist_ok=True)
    return options


def chosen(options: argparse.Namespace) -> list[tuple[str, int]]:
    """Returns the pairs of mode and hidden size to measure.

    Pixels, which take 28 times as long, and the other models are measured at one hidden size only:
    128, or the first one.
    """
    pairs = [(mode, hidden) for mode in options.modes for hidden in options.hidden]
    one = 128 if 128 in options.hidden else options.hidden[0]
    return [
        (mode, hidden) for mode, hidden in pairs if mode not in ("pixels", *MODELS) or hidden == one
    ]


def prepare(folder: Path) -> str:
    """Writes the batches in another process, so that this one stays small; returns their source."""
    subprocess.run(
        [sys.executable, "-m", "benchmarks.data", str(folder)],
        check=True,
        env=environment(Peer("data", ""), 1),
    )
    return (folder / "source").read_text()


def available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine(cores: int, platform_asked: str) -> dict[str, Any]:
    """Returns a description of the machine and of the versions in use."""
    versions = {}
    for name in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": cores,
        "processor": processor(),
        "gpu": gpu() if platform_asked == "gpu" else None,
        "load_before": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
    }


def processor() -> str:
    """Returns the processor's name."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def gpu() -> str:
    """Returns the GPU's name and driver version, as `nvidia-smi` prints them."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return "unknown"


def as_json(case: Case, source: str, measured: Sequence[Measured]) -> dict[str, Any]:
    """Returns all measurements of a case as JSON values; NaN, which JSON lacks, becomes null."""
    ours = next((row.rates for row in measured if row.peer == OURS), [])
    rows = []
    for row in measured:
        values = asdict(row)
        if row.rates:
            values["examples_per_second"] = spread(row.rates)._asdict()
        if row.rates and ours:
            values["ours_over_this"] = spread(ratios(ours, row.rates))._asdict()
            values["ours_over_this"]["of_medians"] = median(ours) / median(row.rates)
        rows.append({k: None if v != v else v for k, v in values.items()})
    return {
        "name": case.name,
        "case": asdict(case),
        "data": source,
        "product_flop_per_step": flop(case),
        "shares_of_ceiling": {k: v._asdict() for k, v in shares_of_ceiling(measured).items()},
        "disagreements": disagreements(measured),
        "peers": rows,
    }


def write(path: Path, report: dict[str, Any]) -> None:
    """Writes the report after each case, so that an interrupted run keeps its results."""
    path.write_text(json.dumps(report, indent=1, default=str) + "\n")


if __name__ == "__main__":
    sys.exit(main())
