"""A peer's processes as the driver sees them: a line out, a line back."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.registry import Peer
from benchmarks.task import Case

ANSWER_TIMEOUT = 900.0  # seconds

Reply = dict[str, Any]


class PeerError(Exception):
    """A peer died or does not answer. The message is its last line of stderr."""


class Fleet:
    """The processes of one peer: one, or for a sweep one per core. Idle they wait on a pipe."""

    def __init__(self, peer: Peer, case: Case, folder: Path, cores: int):
        self.peer, self.case = peer, case
        count = cores if peer.one_process_per_core else 1
        self._cores = 1 if peer.one_core else cores
        self._errors = [folder / f"{peer.name}_{index}.stderr" for index in range(count)]
        self._processes = [self._start(path, folder) for path in self._errors]

    def _start(self, errors: Path, folder: Path) -> subprocess.Popen[bytes]:
        command = (self.peer.function, self.case.to_json(), str(folder), str(self._cores))
        with errors.open("wb") as stderr:
            return subprocess.Popen(
                [sys.executable, "-m", "benchmarks.worker", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                bufsize=0,
                env=environment(self.peer, self._cores, self.case.platform),
            )

    def wait_ready(self) -> Reply:
        return self._answers()[0]

    def build(self) -> Reply:
        """Builds the peer and returns the first reply, with the examples a step of them all."""
        reply = self._ask({"do": "build"})[0]
        members = len(self._processes) if self.peer.one_process_per_core else self.case.members
        return {**reply, "examples_per_step": self.case.batch_size * members}

    def run(self, steps: int) -> Reply:
        """Takes so many steps in all processes at once. The slowest one sets the time."""
        replies = self._ask({"do": "run", "steps": steps})
        slowest = max(reply["seconds"] for reply in replies)
        memory = sum(reply["mib"] for reply in replies)
        return {**replies[0], "seconds": slowest, "mib": memory}

    def stop(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()

    def _ask(self, command: Reply) -> list[Reply]:
        line = json.dumps(command).encode() + b"\n"
        for index, process in enumerate(self._processes):
            assert process.stdin is not None
            try:
                process.stdin.write(line)
            except BrokenPipeError:
                raise PeerError(self._last_error(index)) from None
        return self._answers()

    def _answers(self) -> list[Reply]:
        return [self._answer(index) for index in range(len(self._processes))]

    def _answer(self, index: int) -> Reply:
        pipe = self._processes[index].stdout
        assert pipe is not None
        readable, _, _ = select.select([pipe], [], [], ANSWER_TIMEOUT)
        if not readable:
            raise PeerError(f"no answer in {ANSWER_TIMEOUT:.0f} s")
        line = pipe.readline()
        if not line:
            raise PeerError(self._last_error(index))
        reply: Reply = json.loads(line)
        return reply

    def _last_error(self, index: int) -> str:
        lines = self._errors[index].read_text(errors="replace").strip().splitlines()
        errors = [line for line in lines if "Error" in line] or lines or ["died without a message"]
        return errors[-1][:300]


def environment(peer: Peer, cores: int, platform: str = "cpu") -> dict[str, str]:
    """Returns the environment variables of a peer's process.

    On the CPU, JAX gets a device for each core. On a GPU, which the peers share, it allocates
    memory only as needed. The compilation cache is off.
    """
    cpu = {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(cores)}
    gpu = {"JAX_PLATFORMS": "cuda", "XLA_PYTHON_CLIENT_PREALLOCATE": "false", **peer.gpu_env}
    return {
        **os.environ,
        **(gpu if platform == "gpu" else cpu),
        "JAX_ENABLE_COMPILATION_CACHE": "0",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        **peer.env,
    }
