"""The contract on bits, row by row: `make bits`.

Each row is a real run of the same member under other circumstances. The SHA-256 of its final
parameters must be the same in all rows. The columns are the baseline (H = 128, batches of 128) on
`digits`: as it is, with all options on, on pixels, and as a GRU of two layers; a GRU with dropout
on the adding task, whose examples are generated for each step; and, in fewer rows, one member of
each other task, one with zoneout that `patience` stops, two of residual blocks, one of them in
bfloat16, one of the layer that docs/extend.md shows, one gated DeltaNet, and a run of a cell of
each family, whose parameters are hashed together. The exit code is 1 when a row differs.
"""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

STEPS = 120
DIGITS = ["baseline", "--task.dataset", "digits", "--total-examples", str(128 * STEPS)]
EXPERIMENTS = {
    "plain": DIGITS,
    "all on": [
        *DIGITS,
        *("--clip-norm", "0.5", "--task.shift", "1", "--task.label-smoothing", "0.1"),
        *("--optimizer", "adamw", "--optimizer.weight-decay", "0.01"),
        *("--kernel-init", "orthogonal"),
        *("--schedule.warmup-steps", "10", "--schedule", "cosine"),
    ],
    "pixels": [
        *DIGITS,
        *("--task.reading", "pixels", "--hidden-size", "32", "--learning-rate", "3e-3"),
    ],
    "two GRUs": [
        *DIGITS,
        *("--cell", "gru", "--layers", "2"),
        *("--optimizer", "adamw", "--optimizer.weight-decay", "0.01"),
    ],
    "adding": [
        *("two_troubles", "--task.length", "30", "--cell", "gru", "--layers", "2"),
        *("--dropout", "0.2", "--batch-size", "128"),
        *("--total-examples", str(128 * STEPS)),
    ],
}
SMALL = ["--hidden-size", "64", "--batch-size", "32", "--total-examples", str(32 * STEPS)]
SMALL += ["--schedule.warmup-steps", "10"]
TASKS = {
    "copying": ["copying", "--task.delay", "10", "--cell", "lstm", *SMALL],
    "forecast": ["mackey_glass", *SMALL],
    "text": ["sentiment", "--task.dataset", "lines.tsv", *SMALL],
    "language": ["writing_code", "--task.length", "32", *SMALL],
    "translation": ["dates", *SMALL],
    "stopped": [
        *DIGITS,
        *("--learning-rate", "0.02", "--log-every", "5", "--num-evals", "24", "--patience", "3"),
        *("--zoneout", "0.1"),
    ],
    "block": [
        *DIGITS,
        *("--hidden-size", "64", "--layers", "2", "--dropout", "0.1", "--block", "residual"),
        *("--block.norm", "layer", "--block.expand", "1.5", "--block.gate", "silu"),
        *("--block.conv", "4", "--block.mlp", "1.33"),
    ],
    "glu block": [
        *DIGITS,
        *("--hidden-size", "64", "--cell", "gru", "--task.reading", "pixels"),
        *("--read-out", "mean", "--block", "residual", "--block.norm", "rms"),
        *("--block.gate", "glu", "--precision", "bfloat16"),
    ],
    # One cell of each family, in one run: matrix memories, linear with a complex and a real state,
    # pointwise, an oscillator, exponential gates, two products in sequence, an orthogonal kernel,
    # norms. A kill hits the first one, the other memory by itself below.
    "families": [
        *("baseline", "--task.dataset", "digits", "--task.reading", "pixels"),
        *("--chrono-steps", "64", "--hidden-size", "32", "--batch-size", "32"),
        *("--microbatches", "2", "--total-examples", str(32 * STEPS)),
        *("--cell", "mlstm", "lru", "mingru", "paragru", "linoss", "slstm", "lem"),
        *("s5", "gated_deltanet_neg", "scornn", "lstm_layernorm"),
    ],
    "delta rule": [
        *("baseline", "--task.dataset", "digits", "--task.reading", "pixels"),
        *("--cell", "gated_deltanet", "--hidden-size", "32", "--batch-size", "32"),
        *("--microbatches", "2", "--total-examples", str(32 * STEPS)),
    ],
    "own layer": [*DIGITS, "--cell", "min_gru.py:MinGRU", "--hidden-size", "64", "--layers", "2"],
    "captions": [
        *("captions", "--task.dataset", "digits", "--task.shrink", "1", *SMALL),
        *("--task.num-scenes", "1000"),
    ],
}


@dataclass(frozen=True)
class Row:
    """One way to run: what it varies, how, and its environment, arguments and starter."""

    varied: str
    how: str
    env: dict[str, str] = field(default_factory=dict)
    argv: tuple[str, ...] = ()
    starter: tuple[str, ...] = ()
    kill_after: str = ""  # a line of the output at which the run is killed, then resumed
    tasks: bool = False  # every task is run so


def rows(scratch: Path) -> Iterator[Row]:
    """Yields all ways to run. The others are compared with the first one."""
    yield Row("nothing", "as it comes", tasks=True)
    yield Row("process", "once more")
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    for count in range(1, min(len(cores), 2) + 1):
        pinned = ",".join(map(str, cores[:count]))
        yield Row("cores", f"{count}, pinned", starter=("taskset", "-c", pinned))
    for count in (1, 2, 4, 8):
        env = {"PJRT_NPROC": str(count)}
        yield Row("threads", f"pool of {count}", env, tasks=count in (1, 8))
    for count in (1, 2, 4):
        env = {"JAX_NUM_CPU_DEVICES": str(count)}
        yield Row("host devices", str(count), env, tasks=True)
    for steps in ("1", "7", "50"):
        argv = ("--checkpoint-every", steps)
        yield Row("segments", f"of {steps} steps", argv=argv, tasks=steps == "7")
    for seeds in (("0", "1"), ("1", "0"), ("2", "1", "0")):
        yield Row(
            "members beside it",
            f"seeds {' '.join(seeds)}",
            argv=("--seed", *seeds),
            tasks=len(seeds) > 2,
        )
    yield Row("kill", "after step 40", argv=("--checkpoint-every", "20"), kill_after="step 40/")
    one = {"JAX_NUM_CPU_DEVICES": "1"}
    argv = ("--checkpoint-every", "30")
    yield Row("kill", "and then one device", one, argv, kill_after="step 30/", tasks=True)
    cache = {"JAX_COMPILATION_CACHE_DIR": str(scratch / "cache")}
    yield Row("compilation cache", "cold", cache)
    yield Row("compilation cache", "warm", cache)


def write_lines(path: Path) -> None:
    """Writes lines of Python for a text task, each labelled with whether it assigns a value."""
    lines = [line.strip() for line in Path(subprocess.__file__).read_text().splitlines()]
    unique = dict.fromkeys(line for line in lines if line and "\t" not in line)
    path.write_text("".join(f"{int('=' in line)}\t{line}\n" for line in unique))


def write_layer(path: Path) -> None:
    """Writes the layer that docs/extend.md shows."""
    page = Path(__file__).parent.parent / "docs" / "extend.md"
    _, code = page.read_text().split(f"# {path.name}\n")
    path.write_text(code.split("```")[0])


def digest(row: Row, options: list[str], scratch: Path) -> str:
    """Runs a row and returns the SHA-256 of the parameters of the members with seed 0."""
    runs = scratch / "runs"
    argv = [*row.starter, sys.executable, "-m", "lstm_jax", "run", *options]
    argv += ["--runs-dir", str(runs), "--no-report", *row.argv]
    argv += [] if "--seed" in row.argv else ["--seed", "0"]
    env = os.environ | row.env
    if row.kill_after:
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=env, cwd=scratch)
        assert process.stdout is not None
        while row.kill_after not in process.stdout.readline():
            assert process.poll() is None, "over before it was killed"
        process.send_signal(signal.SIGKILL)
        process.communicate()
        env = dict(os.environ)
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, env=env, cwd=scratch)
    (path,) = runs.glob("*/*/results.csv")
    with path.open(newline="") as lines:
        members = [line for line in csv.DictReader(lines) if line["seed"] == "0"]
    shas = [line["parameters_sha256"] for line in sorted(members, key=lambda m: m.get("cell", ""))]
    return shas[0] if len(shas) == 1 else hashlib.sha256("".join(shas).encode()).hexdigest()


def main() -> int:
    console, differing, count = Console(width=220, highlight=False), 0, 0
    table = Table("varied", "how", *EXPERIMENTS, *TASKS)
    with tempfile.TemporaryDirectory(prefix="bits-") as name, console.status("") as status:
        scratch, expected = Path(name), dict[str, str]()
        write_lines(scratch / "lines.tsv")
        write_layer(scratch / "min_gru.py")
        for row in rows(scratch):
            cells = []
            for title, options in (EXPERIMENTS | (TASKS if row.tasks else {})).items():
                status.update(f"{row.varied}: {row.how}, {title}")
                sha = digest(row, options, scratch)
                shutil.rmtree(scratch / "runs")
                same = sha == expected.setdefault(title, sha)
                differing += not same
                count += 1
                cells.append(f"{sha[:12]} {'' if same else 'DIFFERS'}")
            table.add_row(row.varied, row.how, *cells)
            # All rows take a quarter of an hour, so the result of each is printed at once.
            print(f"{row.varied}: {row.how}, {count} runs, {differing} differ", file=sys.stderr)
    console.print(table)
    console.print(f"{differing} of {count} runs differ in their bits")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
