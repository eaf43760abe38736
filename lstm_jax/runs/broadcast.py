"""What the main process tells the other processes of a run.

A message is JSON with a schema, or the arrays of saved states as safetensors. Nothing that is
received can run code. Anything unexpected is an `EnvironmentProblem`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy

from lstm_jax.config.experiment import Experiment
from lstm_jax.config.rounds import Round
from lstm_jax.errors import EnvironmentProblem, UserError, one_line
from lstm_jax.runs.checkpoints import Saved
from lstm_jax.runs.json_files import check
from lstm_jax.stand_ins import reading_record
from lstm_jax.train import processes

ROUND = ({"members": [dict], "until": range(2**63)}, None)
STATE = {"step": range(2**63), "identity": str, "seconds": (float, None)}
MEMBERS_LEFT = {"members": [dict], "states": {str: STATE}}
UNEXPECTED = (ValueError, KeyError, TypeError, RecursionError, UserError)
PROVENANCE = {"identities": [dict], "sources": {str: str}}


def broadcast(compute: Callable[[], Any], schema: Any) -> Any:
    """Calls `compute` in the main process and returns its value, as JSON has it, in every process.

    `schema` is as in `json_files.py`. Raises EnvironmentProblem where the value does not fit it.
    """
    if jax.process_count() == 1:
        return compute()
    content = processes.broadcast_bytes(lambda: json.dumps(compute()).encode())
    with unexpected_is_a_problem():
        value = json.loads(content)
        check(value, schema)
    return value


def broadcast_round(compute: Callable[[], Round | None], experiment: Experiment) -> Round | None:
    """Calls `compute` in the main process and returns its round of members of the experiment."""
    if jax.process_count() == 1:
        return compute()

    def to_values() -> dict[str, Any] | None:
        current = compute()
        if current is None:
            return None
        return {"members": member_values(current.members, experiment), "until": current.until}

    value = broadcast(to_values, ROUND)
    if value is None:
        return None
    with unexpected_is_a_problem():
        return Round(tuple(map(experiment.member, value["members"])), value["until"])


def broadcast_members_left(
    compute: Callable[[], tuple[list[Experiment], dict[str, Saved]]], experiment: Experiment
) -> tuple[list[Experiment], dict[str, Saved]]:
    """Calls `compute` in the main process and returns its members and their states by digest."""
    if jax.process_count() == 1:
        return compute()
    arrays: dict[str, np.ndarray] = {}

    def to_values() -> dict[str, Any]:
        members, saved = compute()
        for digest, state in saved.items():
            arrays.update({f"{digest} {n}": np.asarray(a) for n, a in state.arrays.items()})
        states = {d: {name: getattr(s, name) for name in STATE} for d, s in saved.items()}
        return {"members": member_values(members, experiment), "states": states}

    value = broadcast(to_values, MEMBERS_LEFT)
    content = processes.broadcast_bytes(lambda: safetensors.numpy.save(arrays))
    with unexpected_is_a_problem():
        members = [experiment.member(values) for values in value["members"]]
        by_digest: dict[str, dict[str, Any]] = {digest: {} for digest in value["states"]}
        for key, array in safetensors.numpy.load(content).items():
            digest, _, name = key.partition(" ")
            by_digest[digest][name] = array
        states = value["states"].items()
        return members, {d: Saved(arrays=by_digest[d], **state) for d, state in states}


def member_values(members: Iterable[Experiment], experiment: Experiment) -> list[dict[str, Any]]:
    """Returns each member as its values on the axes of the experiment."""
    return [experiment.coordinates(member) for member in members]


@contextmanager
def unexpected_is_a_problem() -> Iterator[None]:
    """Turns an error of the block, which reads what was received, into an EnvironmentProblem.

    Components in users' files are those that this process has loaded: no file is run.
    """
    try:
        with reading_record({}, {}):
            yield
    except (*UNEXPECTED, safetensors.SafetensorError) as error:
        raise EnvironmentProblem(
            f"the first process sent something unexpected ({one_line(error)}); nothing of it is "
            "used"
        ) from error
