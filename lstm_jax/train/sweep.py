"""Members to groups to placements: which members train side by side, on which devices.

Members of one group share every shape, so they share one compiled program. On a mesh of devices
they are mesh_axis over the axis `members`; the microbatches of their batches over the axis
`microbatches`. Neither changes a bit of any member.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lstm_jax.config.experiment import Experiment
from lstm_jax.data.dataset import Arrays, Dataset
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.model.init import Params
from lstm_jax.tasks.task import ModelSpec
from lstm_jax.train.step import (
    MeshAxis,
    Metrics,
    Sums,
    TrainState,
    evaluate,
    init_state,
    train_segment,
)

MEMBERS, WHOLE = PartitionSpec("members"), PartitionSpec()
Datasets = dict[str, Dataset]  # by their tasks' `data_key`


class Placement(NamedTuple):
    """Members trained side by side: M of them on a mesh of member_devices x batch_devices.

    On one device they run one after another (tile 1), or all at once under `vmap`: then exactly
    `tile` of them, the last rows filled up with copies, so that it is always the same program.
    """

    members: tuple[Experiment, ...]
    member_devices: int
    batch_devices: int
    tile: int = 1

    @property
    def static_key(self) -> Experiment:
        """What all members have in common."""
        return self.members[0].static_key

    @property
    def data_key(self) -> str:
        """Names the data that all members read."""
        return self.members[0].task.data_key

    @property
    def rows(self) -> tuple[Experiment, ...]:
        """The members as they lie along the first axis of every array, copies at the end."""
        copies = self.tile * self.member_devices - len(self.members) if self.tile > 1 else 0
        return self.members + self.members[-1:] * copies


class Programs(NamedTuple):
    """The functions of a placement; every array has a leading axis of its rows."""

    init: Callable[[], TrainState]
    segment: Callable[[TrainState, int, int], tuple[TrainState, Metrics]]  # consumes the state
    score: Callable[[Params, Arrays], Sums]
    put: Callable[[TrainState], TrainState]  # from host arrays


def place(
    members: Iterable[Experiment],
    num_devices: int,
    tile_of: Callable[[Experiment], int],
    num_local: int | None = None,
) -> list[Placement]:
    """Puts members of one group together; as many as fill the devices are mesh_axis over them.

    The rest, fewer than there are devices, share all devices through the microbatches of their
    batches, so that no device idles while a last member trains. Of several processes with
    `num_local` devices each, either all share a placement, or each trains it by itself.
    """
    num_local = num_local or num_devices
    groups: dict[Experiment, list[Experiment]] = {}
    for member in members:
        groups.setdefault(member.static_key, []).append(member)
    placements = []
    for group, mates in groups.items():
        tile = tile_of(group)
        counts = [num_devices, *range(1, num_local + 1)]
        batch_devices = max(d for d in counts if group.microbatches % d == 0)
        if tile > 1:
            whole = len(mates) - len(mates) % (tile * num_devices)
            firsts = [*range(0, whole, tile * num_devices)]
            for first, last in itertools.pairwise(
                [*firsts, *range(whole, len(mates), tile * num_local), len(mates)]
            ):
                some = tuple(mates[first:last])
                devices = -(-len(some) // tile)
                placements.append(
                    Placement(some, devices, 1 if devices > 1 else batch_devices, tile)
                )
            continue
        full = len(mates) - len(mates) % num_devices
        if full:
            placements.append(Placement(tuple(mates[:full]), num_devices, 1))
        if mates[full:]:
            placements.append(Placement(tuple(mates[full:]), 1, batch_devices))
    return placements


def place_here(members: Iterable[Experiment]) -> list[Placement]:
    """Returns `place` on the devices that are here."""
    tile_of = partial(tile_size, jax.default_backend())
    return place(members, len(jax.devices()), tile_of, len(jax.local_devices()))


def tile_size(platform: str, group: Experiment) -> int:
    """Returns how many members run at once on one device of a platform.

    On CPU one: more would be no faster, and one alone has the bits of any sweep. cuDNN takes one.
    """
    return 1 if platform == "cpu" or group.backend == "cudnn" else 8


def refuse_absent_backend(experiment: Experiment) -> None:
    """Raises EnvironmentProblem when a backend of the experiment does not run here."""
    if "cudnn" in experiment.several("backend") and jax.default_backend() != "gpu":
        raise EnvironmentProblem(
            f"backend cudnn needs an NVIDIA GPU, and JAX runs on {jax.default_backend()} here; "
            "use --backend scan, which runs everywhere"
        )


def model_spec_of(member: Experiment, dataset: Dataset) -> ModelSpec:
    """Returns the ends of a member's model on this data.

    Raises UserError when the member does not fit the data.
    """
    if member.batch_size > dataset.num_examples and not member.task.online:
        raise UserError(
            f"batch_size: {member.batch_size} is more than the {dataset.num_examples:,} training "
            f"examples of {dataset.name}"
        )
    return member.task.model_spec(dataset.metadata)


def build(placement: Placement, dataset: Dataset, capacity: int) -> Programs:
    """Returns programs for a placement whose segments have at most `capacity` steps.

    Traced fields and data enter as arrays: other values run the same compiled programs.
    """
    shape = (placement.member_devices, placement.batch_devices)
    everywhere, count = jax.devices(), shape[0] * shape[1]
    chosen = everywhere if count == len(everywhere) else jax.local_devices()[:count]
    mesh = Mesh(np.asarray(chosen).reshape(shape), ("members", "microbatches"))
    batch_size = placement.static_key.batch_size
    spec = model_spec_of(placement.members[0], dataset)
    init, segment, score = _compiled(spec, capacity, mesh, placement.tile)

    def put(spec: PartitionSpec, value: Any) -> Any:
        return jax.device_put(value, NamedSharding(mesh, spec))

    members = put(MEMBERS, stack_fields(placement.rows))
    train = put(WHOLE, dataset.train)  # on every device
    order = put(MEMBERS, np.zeros((len(placement.rows), dataset.num_examples), np.int32))
    epoch = -1

    def run_segment(state: TrainState, start: int, stop: int) -> tuple[TrainState, Metrics]:
        nonlocal order, epoch  # they spare a sort: whatever they hold, the results are the same
        bounds = put(WHOLE, (np.int32(epoch), np.int32(start), np.int32(stop)))
        state, order, metrics = segment(members, state, order, train, *bounds)
        if stop > start:
            epoch = (stop - 1) // max(1, dataset.num_examples // batch_size)
        return state, metrics

    return Programs(
        init=lambda: init(members),
        segment=run_segment,
        score=lambda params, split: score(members, params, put(WHOLE, split)),
        put=partial(put, MEMBERS),
    )


@lru_cache(maxsize=64)
def _compiled(
    spec: ModelSpec, capacity: int, mesh: Mesh, tile: int
) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    """init_state, train_segment and evaluate, mapped over the rows of each device.

    `lax.map`, or `vmap` of a fixed number of rows: only so is a member's arithmetic the same
    whatever is beside it.
    """
    size = mesh.shape["microbatches"]
    mesh_axis = MeshAxis("microbatches", size) if size > 1 else None

    def over_members(
        function: Callable[..., Any], num_mapped: int, num_shared: int, consumed: Any = ()
    ) -> Any:
        def mapped(*args: Any) -> Any:
            own, shared = args[:num_mapped], args[num_mapped:]

            def one_member(one: Any) -> Any:
                return function(*one, *shared)

            return jax.lax.map(one_member, own) if tile == 1 else jax.vmap(one_member)(own)

        field_specs = (MEMBERS,) * num_mapped + (WHOLE,) * num_shared
        # check_vma: the gathered parts are alike on all their devices, which it cannot see.
        on_mesh = jax.shard_map(
            mapped, mesh=mesh, in_specs=field_specs, out_specs=MEMBERS, check_vma=False
        )
        # Named in full, or a state from `segment` and one from `init` would differ in their
        # sharding's spelling, and the second segment would compile again.
        out = NamedSharding(mesh, MEMBERS)
        return jax.jit(on_mesh, out_shardings=out, donate_argnums=consumed)

    return (
        over_members(partial(init_state, spec), 1, 0),
        over_members(partial(train_segment, spec, capacity, mesh_axis), 3, 4, consumed=(1, 2)),
        over_members(partial(evaluate, spec), 2, 1),
    )


def stack_fields(members: Sequence[Experiment]) -> Experiment:
    """Returns members of one group as one whose traced fields are arrays [M]."""

    def stack(*values: Any) -> np.ndarray:
        return np.array(values, np.uint32 if isinstance(values[0], int) else np.float32)

    return jax.tree.map(stack, *members)


def name_arrays(tree: Any) -> dict[str, Any]:
    """Returns a tree's leaves by their path, such as `params/lstm/kernel`, in its own order."""
    paths = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in paths}


def stack_states(like: TrainState, states: Sequence[dict[str, np.ndarray]]) -> TrainState:
    """Returns members' arrays by name, stacked into a state with the tree and types of `like`.

    Raises ValueError when a member's arrays are not those of `like` without its first axis.
    """
    named = name_arrays(like)
    wanted = {name: (leaf.shape[1:], leaf.dtype) for name, leaf in named.items()}
    for arrays in states:
        if {name: (array.shape, array.dtype) for name, array in arrays.items()} != wanted:
            raise ValueError("the saved arrays are not those of this model")
    leaves = [np.stack([arrays[name] for arrays in states]) for name in named]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)
