"""What works on this machine's accelerator, or on its CPU, in one table: `make device`.

Under ten minutes: a short `baseline`; the bits of the same members twice alone and in a sweep; and
the speed of LSTM, GRU, minGRU and LRU, forward and backward, beside cuDNN and Flax where
they are there. The table is Markdown, on stdout and in a file. The exit code is 1 where bits differ
or a check fails. This process never starts JAX, so that each check has the device for itself.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from lstm_jax.report import tables

HEADER = ("check", "how", "result")
LIMIT = 170.0  # seconds of one check; a longer one is left out
DEADLINE = time.monotonic() + 570.0  # of all checks; under ten minutes
BITS = ("--task.dataset", "digits", "--cell", "lstm", "mingru", "--hidden-size", "64")
CELLS = {"LSTM": "lstm", "GRU": "gru", "minGRU": "mingru", "LRU": "lru"}
FLAX = {"LSTM": "LSTMCell", "GRU": "GRUCell"}


class Row(NamedTuple):
    """A row of the table."""

    check: str
    how: str
    result: str
    failed: bool = False


class Size(NamedTuple):
    """The sizes of a speed check: T time steps, B examples, I inputs, H units; seconds of each."""

    time_steps: int = 128
    batch: int = 64
    inputs: int = 64
    hidden: int = 128
    seconds: float = 3.0


QUICK = Size(time_steps=16, batch=8, inputs=8, hidden=32, seconds=0.1)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run at all?")
    parser.add_argument("--file", type=Path, default=Path("runs/benchmarks/device.md"))
    # How this program starts itself, in a process that may use the device:
    parser.add_argument("--child", choices=["describe", "speed"], help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.child == "describe":
        print(json.dumps(describe()))
        return 0
    if options.child == "speed":
        for row in speed(QUICK if options.quick else Size()):
            print(json.dumps(row), flush=True)
        return 0
    quick = ["--quick"] if options.quick else []
    table: list[Row] = []
    device: dict[str, Any] = {}

    def add(rows: Iterator[Row]) -> None:
        for row in rows:
            table.append(row)
            print(f"{row.check}, {row.how}: {row.result}", file=sys.stderr, flush=True)

    add(described(device))
    with tempfile.TemporaryDirectory(prefix="device-") as name:
        microbatches = [] if device.get("platform") == "cpu" else ["--microbatches", "1"]
        if device:
            add(baseline(Path(name), options.quick, microbatches))
            add(bits(Path(name), options.quick, microbatches))
            add(measured(quick))
    text = tables.markdown(HEADER, [row[: len(HEADER)] for row in table])
    options.file.parent.mkdir(parents=True, exist_ok=True)
    options.file.write_text(text)
    print(text, end="")
    print(f"written to {options.file}", file=sys.stderr)
    return 1 if any(row.failed for row in table) else 0


def described(device: dict[str, Any]) -> Iterator[Row]:
    """Fills `device` with what JAX finds; yields a row that describes it."""
    lines, problem = child([*module(), "--child", "describe"])
    if problem:
        yield Row("device", "jax.devices()", problem, failed=True)
        return
    device |= json.loads(lines[-1])
    versions = ", ".join(f"{name} {version}" for name, version in device["versions"].items())
    yield Row("device", "jax.devices()", f"{device['count']} x {device['kind']} ({versions})")
    if device["platform"] == "cpu":
        yield Row(
            "accelerator", "", "none that JAX can use, so the CPU is measured: docs/devices.md"
        )


def describe() -> dict[str, Any]:
    """Returns the devices of this process, and the versions that matter."""
    import jax

    devices = jax.devices()
    names = ("jax", "jaxlib", "flax")
    return {
        "platform": devices[0].platform,
        "kind": devices[0].device_kind,
        "count": len(devices),
        "versions": {name: metadata.version(name) for name in names},
    }


def baseline(scratch: Path, quick: bool, argv: Sequence[str]) -> Iterator[Row]:
    """Trains the shipped experiment for a few steps; yields its speed and its score."""
    steps = "20" if quick else "782"
    results, problem = train(scratch, "baseline", ["--total-steps", steps, "--fallback", *argv])
    how = f"{steps} steps of 128 examples"
    if problem:
        yield Row("baseline", how, problem, failed=True)
        return
    (path,) = (scratch / "runs").glob("*/*/record.json")
    session = json.loads(path.read_text())["sessions"][-1]
    rate = f"{session['examples_per_second']:,} examples/s with evaluations"
    name = path.parent.parent.name
    missing = "" if name == "baseline" else "; MNIST is not there, so these are the built-in digits"
    (member,) = results.values()
    accuracy = float(member["test_accuracy"])
    sha = member["parameters_sha256"][:12]
    yield Row(name, how, f"test accuracy {accuracy:.3f}, {rate}, parameters {sha}{missing}")


def bits(scratch: Path, quick: bool, argv: Sequence[str]) -> Iterator[Row]:
    """Trains the same members three times; yields whether their parameters have the same bits."""
    options = [*BITS, "--total-steps", "20" if quick else "120", *argv]
    first, problem = train(scratch, "baseline", [*options, "--seed", "0"])
    if problem:
        yield Row("bits", "alone", problem, failed=True)
        return
    for how, seeds in (("once more", ["0"]), ("in a sweep of three seeds", ["2", "0", "1"])):
        again, problem = train(scratch, "baseline", [*options, "--seed", *seeds])
        for (cell, seed), member in first.items():
            same = (
                not problem
                and again[cell, seed]["parameters_sha256"] == member["parameters_sha256"]
            )
            result = problem or ("the same bits" if same else "OTHER BITS")
            yield Row(f"bits of {cell}", how, result, failed=not same)


def train(
    scratch: Path, name: str, argv: Sequence[str]
) -> tuple[dict[tuple[str, str], dict[str, str]], str]:
    """Trains an experiment; returns its results by cell and seed, and what went wrong or ""."""
    runs = scratch / "runs"
    if runs.exists():
        runs.rename(scratch / f"before-{time.monotonic_ns()}")
    command = [
        sys.executable,
        "-m",
        "lstm_jax",
        "run",
        name,
        "--no-report",
        "--runs-dir",
        str(runs),
    ]
    _, problem = child([*command, *argv])
    if problem:
        return {}, problem
    (path,) = runs.glob("*/*/results.csv")
    with path.open(newline="") as lines:
        return {(row.get("cell", "lstm"), row["seed"]): row for row in csv.DictReader(lines)}, ""


def module() -> list[str]:
    return [sys.executable, "-m", "benchmarks.device"]


def child(command: Sequence[str]) -> tuple[list[str], str]:
    """Runs a program; returns the lines that it printed, and what went wrong or ""."""
    # Processes that follow each other share the device; none may take all of its memory.
    env = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    seconds = max(1.0, min(LIMIT, DEADLINE - time.monotonic()))
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=env)
    except subprocess.TimeoutExpired as error:
        out = error.stdout or b""
        problem = f"not done after {seconds:.0f} s, left out"
        return out.decode(errors="replace").splitlines(), problem
    problem = ""
    if done.returncode:
        problem = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:300]
    return done.stdout.splitlines(), problem


def measured(quick: Sequence[str]) -> Iterator[Row]:
    """Yields the rows of `speed`, which runs in a process of its own."""
    lines, problem = child([*module(), "--child", "speed", *quick])
    yield from (Row(*json.loads(line)) for line in lines if line.startswith("["))
    if problem:
        yield Row("speed", "", problem, failed=True)


def speed(size: Size) -> Iterator[Row]:
    """Yields the speed of each cell: ours, of cuDNN and of Flax.

    Each computes the last output of every sequence, and the gradient of its mean square by all
    weights.
    """
    from lstm_jax.errors import EnvironmentProblem, UserError

    shape = f"{size.batch} sequences of {size.time_steps} x {size.inputs}, {size.hidden} units"
    yield Row("speed", "of one layer, forward and backward", shape)
    for title, name in CELLS.items():
        ready: dict[str, Callable[[], object]] = {}
        for how, make in implementations(title, name, size).items():
            try:
                ready[how] = compiled_gradient(*make())
            except (EnvironmentProblem, UserError, ImportError) as error:
                yield Row(title, how, f"not measured: {error}")
            except Exception as error:  # of a compiler or a driver: the other rows still count
                problem = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                yield Row(title, how, f"not measured: {problem}", failed=how.startswith("ours"))
        times = milliseconds_in_turn(ready, size.seconds)
        for how, milliseconds in times.items():
            rate = size.batch / milliseconds * 1e3
            result = f"{milliseconds:.2f} ms, {rate:,.0f} examples/s"
            if how != "ours" and "ours" in times:
                result += f", {milliseconds / times['ours']:.2f} times as long as ours"
            yield Row(title, how, result)


Timed = tuple[Callable[..., Any], Any, Any]  # a loss of weights and inputs, weights, inputs


def implementations(title: str, name: str, size: Size) -> dict[str, Callable[[], Timed]]:
    """Returns functions that make a loss with its arguments, by the name of the implementation."""
    import flax.linen as nn
    import jax
    import jax.numpy as jnp

    from lstm_jax.cells import get_cell, scan
    from lstm_jax.cells.cudnn import lstm_last_cudnn
    from lstm_jax.cells.linear_cell import LinearCell
    from lstm_jax.errors import EnvironmentProblem

    cell = get_cell(name)
    keys = jax.random.split(jax.random.key(0), 2 + len(cell.extra))
    x_TBI = jax.random.normal(keys[0], (size.time_steps, size.batch, size.inputs))
    rows = size.inputs + 1 + cell.num_read * size.hidden
    kernel_KG = 0.05 * jax.random.normal(keys[1], (rows, len(cell.blocks) * size.hidden))
    extra = {
        weight: each.init(key, each.shape(size.hidden))
        for key, (weight, each) in zip(keys[2:], cell.extra.items(), strict=True)
    }

    def ours(associative: bool) -> Timed:
        def loss(weights: Any, x_TBI: jax.Array) -> jax.Array:
            kernel_KG, extra = weights
            _, state = scan.run(
                cell, kernel_KG, x_TBI, extra, keep_outputs=False, associative=associative
            )
            return jnp.mean(jnp.square(state[cell.output_index]))

        return loss, (kernel_KG, extra), x_TBI

    def cudnn() -> Timed:
        if jax.default_backend() != "gpu":
            raise EnvironmentProblem(
                f"cuDNN needs an NVIDIA GPU, and this is {jax.default_backend()}"
            )

        def loss(kernel_KG: jax.Array, x_TBI: jax.Array) -> jax.Array:
            return jnp.mean(jnp.square(lstm_last_cudnn(x_TBI, kernel_KG)[1]))

        return loss, kernel_KG, x_TBI

    def flax() -> Timed:
        rnn = nn.RNN(getattr(nn, FLAX[title])(size.hidden), time_major=True)
        variables = jax.jit(rnn.init)(jax.random.key(0), x_TBI)

        def loss(variables: Any, x_TBI: jax.Array) -> jax.Array:
            outputs: Any = rnn.apply(variables, x_TBI)
            return jnp.mean(jnp.square(outputs[-1]))

        return loss, variables, x_TBI

    makers: dict[str, Callable[[], Timed]] = {"ours": lambda: ours(False)}
    if isinstance(cell, LinearCell):
        makers["ours, associative"] = lambda: ours(True)
    if name == "lstm":
        makers["cuDNN"] = cudnn
    if title in FLAX:
        makers["Flax"] = flax
    return makers


def compiled_gradient(loss: Callable[..., Any], weights: Any, inputs: Any) -> Callable[[], object]:
    """Returns a function that takes the gradient by the weights and waits; it has been called."""
    import jax

    gradient = jax.jit(jax.value_and_grad(loss))

    def call() -> object:
        return jax.block_until_ready(gradient(weights, inputs))

    call()
    return call


def milliseconds_in_turn(
    ready: dict[str, Callable[[], object]], seconds: float
) -> dict[str, float]:
    """Returns the median milliseconds of each call; all take turns, for some seconds each.

    What else the machine does then slows all of them alike.
    """
    times: dict[str, list[float]] = {how: [] for how in ready}
    deadline, rounds = time.perf_counter() + seconds * len(ready), 0
    while rounds < 3 or time.perf_counter() < deadline:
        rounds += 1
        for how, call in ready.items():
            clock = time.perf_counter()
            call()
            times[how].append(time.perf_counter() - clock)
    return {how: statistics.median(taken) * 1e3 for how, taken in times.items()}


if __name__ == "__main__":
    sys.exit(main())
