"""A peer's process: it reads a JSON line, answers with a JSON line, and waits for the next.

`python -m benchmarks.worker FUNCTION CASE FOLDER CORES` where FUNCTION, such as
`benchmarks.torch_peers:eager`, makes the settings of a peer from a `Task`.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from benchmarks.task import Case, Run, Setting, load_task

Reply = dict[str, Any]


def main(function: str, case_json: str, folder: str, cores: str) -> None:
    replies = _keep_stdout()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(cores)])
    module, name = function.split(":")
    peer = getattr(importlib.import_module(module), name)
    case = Case(**json.loads(case_json))
    serve(lambda: peer(load_task(case, Path(folder))), case, sys.stdin, replies)


def _keep_stdout() -> TextIO:
    """Returns the real stdout, for replies alone; what libraries print goes to stderr."""
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return replies


def serve(
    make_settings: Callable[[], dict[str, Setting]], case: Case, commands: TextIO, replies: TextIO
) -> None:
    """Answers `{"do": "build"}`, then any number of `{"do": "run", "steps": n}`."""
    print(json.dumps({"ready": True, "mib": peak_mib()}), file=replies, flush=True)
    run, step = None, case.check_steps
    for line in commands:
        command = json.loads(line)
        if command["do"] == "build":
            run, reply = build(make_settings(), case)
        else:
            assert run is not None, "build first"
            stop = step + command["steps"]
            seconds, loss = timed(run, step, stop)
            step, reply = stop, {"seconds": seconds, "loss": loss}
        reply["mib"] = peak_mib()
        print(json.dumps(reply), file=replies, flush=True)


def build(settings: dict[str, Setting], case: Case) -> tuple[Run, Reply]:
    """Tries every setting on the first steps and keeps the fastest, in the state it is then in.

    The very first steps, with the compilation in them, are timed apart.
    """
    tried: dict[str, Reply] = {}
    best: tuple[float, str, Run] | None = None
    for name, setting in islice(settings.items(), case.max_settings):
        clock = time.perf_counter()
        run = setting()
        run(0, case.warmup_steps)
        compiled = time.perf_counter() - clock
        rate, loss = check(run, case)
        tried[name] = {"compile_seconds": compiled, "steps_per_second": rate, "loss": loss}
        if best is None or rate > best[0]:
            best = rate, name, run
        del run
    assert best is not None, "a peer needs at least one setting"
    _, name, run = best
    return run, {"setting": name, "tried": tried, **tried[name]}


def check(run: Run, case: Case) -> tuple[float, float]:
    """Returns the steps a second of the faster half of the compared steps, and their mean loss."""
    first, last = case.warmup_steps, case.check_steps
    middle = (first + last) // 2
    rates, total = [], 0.0
    for start, stop in ((first, middle), (middle, last)):
        seconds, loss = timed(run, start, stop)
        rates.append((stop - start) / seconds)
        total += loss * (stop - start)
    return max(rates), total / (last - first)


def timed(run: Run, start: int, stop: int) -> tuple[float, float]:
    """Returns the seconds that a run takes, and its result."""
    clock = time.perf_counter()
    value = run(start, stop)
    return time.perf_counter() - clock, value


def peak_mib() -> float:
    """Returns the peak resident memory of this process, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


if __name__ == "__main__":
    main(*sys.argv[1:])
