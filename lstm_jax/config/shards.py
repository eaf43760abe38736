"""Shards: a study is split among the jobs of an array, and each job trains its members.

Environment variables are passed in. This file also names the variables with which the processes of
one program find each other.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lstm_jax.config.experiment import Experiment
from lstm_jax.errors import UserError

WHOLE_HINT = "`--shard 1/1` trains all members here"
SHARD = re.compile(r"([0-9]{0,7})/([0-9]{1,7})")
# The index variable of an array job, by scheduler, and the index of the first job. SLURM users may
# number their jobs as they like; `/N` counts from 1.
INDICES = {"SLURM_ARRAY_TASK_ID": 1, "PBS_ARRAY_INDEX": 1, "JOB_COMPLETION_INDEX": 0}
# The variables that a launcher sets; without them JAX looks for those of the cluster.
COORDINATOR, COUNT, INDEX = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
PARENT = "LSTM_JAX_PARENT"  # the launcher's process id: a process ends when it is gone
SECRET = "LSTM_JAX_SECRET"  # only processes that know it may take part in a launch
# Variables that name a job to each of its processes, by scheduler.
JOBS = ("SLURM_JOB_ID", "SLURM_STEP_ID", "PBS_JOBID", "OMPI_MCA_ess_base_jobid", "PMIX_NAMESPACE")


@dataclass(frozen=True)
class Shard:
    """One of `count` shards, by its index from 1."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def suffix(self) -> str:
        """The end of the name of its run directory."""
        return f"-{self.index}-of-{self.count}"


def work(member: Experiment) -> float:
    """Returns the work of a training step per time step, in arbitrary units.

    It counts the matrix products and a fixed cost per step, and is within 15 % of the times that
    were measured on CPU for an LSTM of 32 to 256 units.
    """
    hidden = member.hidden_size
    return member.batch_size * (member.layers * hidden * (hidden + 30) + 1000.0)


def shard_members(members: Sequence[Experiment], shard: Shard) -> tuple[Experiment, ...]:
    """Returns the members of a shard, in the order in which they are given.

    Members are assigned from the most work to the least, each to the shard with the least work so
    far: no shard has more work than the mean and one member.
    """
    costs = [work(member) * member.num_steps for member in members]
    loads = [(0.0, index) for index in range(1, shard.count + 1)]  # a heap
    positions = []
    for position in sorted(range(len(members)), key=lambda position: -costs[position]):
        load, index = loads[0]
        heapq.heapreplace(loads, (load + costs[position], index))
        if index == shard.index:
            positions.append(position)
    return tuple(members[position] for position in sorted(positions))


def parse_shard(text: str | None, environ: Mapping[str, str]) -> Shard | None:
    """Returns the shard that a text stands for, or None for the whole study.

    `3/16` gives index and count. `/16` takes the index from the variable of an array job. Without a
    text, a SLURM array decides both. Raises UserError.
    """
    if text is None:
        shard = _slurm_shard(environ)
    elif (match := SHARD.fullmatch(text)) is None:
        raise UserError(
            f"shard: expected 3/16, or /16 in a job of an array, got {text!r}; {WHOLE_HINT}"
        )
    elif match[1]:
        shard = Shard(int(match[1]), int(match[2]))
    else:
        shard = Shard(_job_index(environ, int(match[2])), int(match[2]))
    if shard is None or shard == Shard(1, 1):
        return None
    if not 1 <= shard.index <= shard.count:
        raise UserError(
            f"shard: {shard} is not one of the shards 1/{shard.count} to "
            f"{shard.count}/{shard.count}"
        )
    return shard


def launch_secret(environ: Mapping[str, str]) -> str:
    """Returns what all processes of a launch know: its secret, or else the name of its job.

    The name of a job is no secret. It keeps two jobs apart that share an address by mistake. It is
    empty outside a job of a scheduler.
    """
    return environ.get(SECRET) or " ".join(environ[name] for name in JOBS if name in environ)


def _slurm_shard(environ: Mapping[str, str]) -> Shard | None:
    """Returns the shard of a job of a SLURM array, None outside an array.

    Raises UserError in an array of another scheduler, which does not tell how many jobs there are.
    """
    name = next((name for name in INDICES if name in environ), None)
    if name is None:
        return None
    if name != "SLURM_ARRAY_TASK_ID":
        raise UserError(
            f"shard: this is a job of an array ({name} is set), which does not tell how many there "
            f"are: give --shard /N for N jobs; {WHOLE_HINT}"
        )
    # Not every version of SLURM sets the step between job numbers; evenly spaced jobs tell it.
    job, first, last, count = (
        _number(environ, f"SLURM_ARRAY_TASK_{word}") for word in ("ID", "MIN", "MAX", "COUNT")
    )
    step = max(1, (last - first) // max(1, count - 1))
    if last - first != step * (count - 1) or (job - first) % step:
        raise UserError(
            f"shard: the {count} jobs of this array, from {first} to {last}, are not evenly "
            "spaced; perhaps only some of them run again: give the number of shards, --shard /N; "
            f"{WHOLE_HINT}"
        )
    return Shard((job - first) // step + 1, count)


def _job_index(environ: Mapping[str, str], count: int) -> int:
    """Returns the index of this job in its array, from 1. Raises UserError outside an array."""
    for name, first in INDICES.items():
        if name in environ:
            index = _number(environ, name) - first + 1
            if not 1 <= index <= count:
                raise UserError(
                    f"shard: {name} is {environ[name]}, and the jobs of an array of {count} are "
                    f"numbered from {first} to {first + count - 1}"
                )
            return index
    raise UserError(
        f"shard: /{count} takes its index from {', '.join(INDICES)}, of which none is set: give "
        f"--shard 1/{count} and so on"
    )


def _number(environ: Mapping[str, str], name: str) -> int:
    value = environ.get(name, "")
    if not re.fullmatch("[0-9]{1,9}", value):
        raise UserError(
            f"shard: {name} is {value!r}, no number; give --shard 3/16 in full; {WHOLE_HINT}"
        )
    return int(value)
