"""A study cut into shards, one for each job of an array: which shard a job is, which members it has.

Pure, but for the variables of the environment that are handed in. Beside those of schedulers stand
the variables by which several processes of one program find each other.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lstm_jax.config.experiment import Experiment
from lstm_jax.errors import UserError

ALL = "`--shard 1/1` trains all members here"
ASKED = re.compile(r"([0-9]{0,7})/([0-9]{1,7})")
# Of a job of an array, by its scheduler: its own number, and that of the first job where it is
# always the same; else users number the jobs as they like.
INDICES = {"SLURM_ARRAY_TASK_ID": 1, "PBS_ARRAY_INDEX": 1, "JOB_COMPLETION_INDEX": 0}
# What a launcher sets; without them JAX looks for the cluster's own.
COORDINATOR, COUNT, INDEX = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
PARENT = "LSTM_JAX_PARENT"  # the launcher's id: without it a process ends


@dataclass(frozen=True)
class Shard:
    """The shard with this index, from 1, of so many."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def suffix(self) -> str:
        """How the name of its run directory ends."""
        return f"-{self.index}-of-{self.count}"


def work(member: Experiment) -> float:
    """Returns the work of one step a row, in units of its own: products, and what a step costs.

    Within 15 % of the times measured on CPU for an LSTM of 32 to 256 units.
    """
    hidden = member.hidden_size
    return member.batch_size * (member.layers * hidden * (hidden + 30) + 1000.0)


def shard_members(members: Sequence[Experiment], shard: Shard) -> tuple[Experiment, ...]:
    """Returns the members of a shard, in the order that they are given in.

    Those with the most work first, each goes to the shard that has the least so far: no shard has
    more than the mean and one member.
    """
    costs = [work(member) * member.num_steps for member in members]
    loads = [(0.0, index) for index in range(1, shard.count + 1)]  # a heap
    own = []
    for place in sorted(range(len(members)), key=lambda place: -costs[place]):
        load, index = loads[0]
        heapq.heapreplace(loads, (load + costs[place], index))
        if index == shard.index:
            own.append(place)
    return tuple(members[place] for place in sorted(own))


def parse_shard(asked: str | None, environ: Mapping[str, str]) -> Shard | None:
    """Returns the shard that is asked for, None for the whole.

    `3/16` is said in full; `/16` takes its index from the variable of a job's array; where nothing
    is asked, both are those of SLURM's array. Raises UserError.
    """
    if asked is None:
        shard = _of_slurm(environ)
    elif (match := ASKED.fullmatch(asked)) is None:
        raise UserError(f"shard: expected 3/16, or /16 in a job of an array, got {asked!r}; {ALL}")
    else:
        shard = Shard(int(match[1]) if match[1] else _index(environ, match[2]), int(match[2]))
    if shard is None or shard == Shard(1, 1):
        return None
    if not 1 <= shard.index <= shard.count:
        raise UserError(
            f"shard: {shard} is not one of the shards 1/{shard.count} to {shard.count}/{shard.count}"
        )
    return shard


def _of_slurm(environ: Mapping[str, str]) -> Shard | None:
    """The shard of a job of SLURM's array, which alone tells how many jobs there are."""
    name = next((name for name in INDICES if name in environ), None)
    if name is None:
        return None
    if name != "SLURM_ARRAY_TASK_ID":
        raise UserError(
            f"shard: this is a job of an array ({name} is set), which does not tell how many there "
            f"are: give --shard /N for N jobs; {ALL}"
        )
    # The size of the step is not set by every version; jobs that are evenly spaced tell it.
    own, first, last, count = (
        _number(environ, f"SLURM_ARRAY_TASK_{word}") for word in ("ID", "MIN", "MAX", "COUNT")
    )
    step = max(1, (last - first) // max(1, count - 1))
    if last - first != step * (count - 1) or (own - first) % step:
        raise UserError(
            f"shard: the {count} jobs of this array, from {first} to {last}, are not evenly spaced, "
            f"as where some run again: give --shard /N for the N shards there are; {ALL}"
        )
    return Shard((own - first) // step + 1, count)


def _index(environ: Mapping[str, str], count: str) -> int:
    """The index of a job in its array, from 1."""
    for name, first in INDICES.items():
        if name in environ:
            index = _number(environ, name) - first + 1
            if not 1 <= index <= int(count):
                raise UserError(
                    f"shard: {name} is {environ[name]}, and the jobs of an array of {count} are "
                    f"numbered from {first} to {first + int(count) - 1}"
                )
            return index
    raise UserError(
        f"shard: /{count} takes its index from {', '.join(INDICES)}, of which none is set: give "
        f"--shard 1/{count} and so on"
    )


def _number(environ: Mapping[str, str], name: str) -> int:
    value = environ.get(name, "")
    if not re.fullmatch("[0-9]{1,9}", value):
        raise UserError(f"shard: {name} is {value!r}, no number; give --shard 3/16 in full; {ALL}")
    return int(value)
