"""Places members on devices and compiles their programs.

Members with one static key share every shape, so they share one compiled program. On a mesh of
devices they are spread over the axis `members`, and the microbatches of their batches over the axis
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
Datasets = dict[str, Dataset]  # by the data keys of their tasks


class Placement(NamedTuple):
    """M members that train side by side on a mesh of member_devices x batch_devices.

    With tile 1 the members of a device run one after another. With a larger tile exactly `tile` of
    them run at once under `vmap`, and copies of the last member fill it up, so that it is always
    the same program.
    """

    members: tuple[Experiment, ...]
    member_devices: int
    batch_devices: int
    tile: int = 1

    @property
    def static_key(self) -> Experiment:
        """The static fields that all members share."""
        return self.members[0].static_key

    @property
    def data_key(self) -> str:
        """The data key of the members' tasks."""
        return self.members[0].task.data_key

    @property
    def rows(self) -> tuple[Experiment, ...]:
        """The members along the first axis of every array; copies stand at the end."""
        copies = self.tile * self.member_devices - len(self.members) if self.tile > 1 else 0
        return self.members + self.members[-1:] * copies


class Programs(NamedTuple):
    """The compiled functions of a placement. Each array has a leading axis of the rows."""

    init: Callable[[], TrainState]
    # Trains from a step to a step and consumes the state; the last argument says which rows, bool
    # [rows], have stopped and stay as they are; None: no row.
    segment: Callable[..., tuple[TrainState, Metrics]]
    score: Callable[[Params, Arrays], Sums]
    put: Callable[[TrainState], TrainState]  # from host arrays


def make_placements(
    members: Iterable[Experiment],
    num_devices: int,
    tile_of: Callable[[Experiment], int],
    num_local: int | None = None,
) -> list[Placement]:
    """Returns placements of all members; members of one placement share their static key.

    As many members as fill the devices are spread over them. The rest, fewer than there are
    devices, share all devices through the microbatches of their batches, so that no device idles
    while a last member trains. With several processes, each with `num_local` devices, a placement
    is spread over the devices of all processes where there are enough members for all devices;
    otherwise each process does the same work on its own devices. `tile_of` returns the tile of a
    static key.
    """
    num_local = num_local or num_devices
    by_key: dict[Experiment, list[Experiment]] = {}
    for member in members:
        by_key.setdefault(member.static_key, []).append(member)
    placements = []
    for static_key, alike in by_key.items():
        tile = tile_of(static_key)
        counts = [num_devices, *range(1, num_local + 1)]
        batch_devices = max(d for d in counts if static_key.microbatches % d == 0)
        if tile == 1:
            full = len(alike) - len(alike) % num_devices
            if full:
                placements.append(Placement(tuple(alike[:full]), num_devices, 1))
            if alike[full:]:
                placements.append(Placement(tuple(alike[full:]), 1, batch_devices))
            continue
        full = len(alike) - len(alike) % (tile * num_devices)
        bounds = [
            *range(0, full, tile * num_devices),
            *range(full, len(alike), tile * num_local),
            len(alike),
        ]
        for first, last in itertools.pairwise(bounds):
            some = tuple(alike[first:last])
            devices = -(-len(some) // tile)
            placements.append(Placement(some, devices, 1 if devices > 1 else batch_devices, tile))
    return placements


def place_on_devices(members: Iterable[Experiment]) -> list[Placement]:
    """Returns placements of all members on the devices of this run."""
    tile_of = partial(tile_size, jax.default_backend())
    return make_placements(members, len(jax.devices()), tile_of, len(jax.local_devices()))


def tile_size(platform: str, static_key: Experiment) -> int:
    """Returns how many members run at once on one device of a platform.

    On CPU it is one: more would be no faster, and a member alone has the bits that it has in any
    sweep. cuDNN takes one, too.
    """
    return 1 if platform == "cpu" or static_key.backend == "cudnn" else 8


def refuse_absent_backend(experiment: Experiment) -> None:
    """Raises EnvironmentProblem when a backend of the experiment does not run here."""
    if "cudnn" in experiment.values_of("backend") and jax.default_backend() != "gpu":
        raise EnvironmentProblem(
            f"backend cudnn needs an NVIDIA GPU, and JAX runs on {jax.default_backend()} here; "
            "use --backend scan, which runs everywhere"
        )


def model_spec_of(member: Experiment, dataset: Dataset) -> ModelSpec:
    """Returns the inputs and outputs of a member's model on this data.

    Raises UserError when the member does not fit the data.
    """
    if member.batch_size > dataset.num_examples and not member.task.online:
        raise UserError(
            f"batch_size: {member.batch_size} is more than the {dataset.num_examples:,} training "
            f"examples of {dataset.name}"
        )
    return member.task.model_spec(dataset.metadata)


def build_programs(placement: Placement, dataset: Dataset, max_steps: int) -> Programs:
    """Returns programs for a placement, whose segments have at most `max_steps` steps.

    Traced fields and data enter as arrays: other values run the same compiled programs.
    """
    shape = (placement.member_devices, placement.batch_devices)
    all_devices, count = jax.devices(), shape[0] * shape[1]
    devices = all_devices if count == len(all_devices) else jax.local_devices()[:count]
    mesh = Mesh(np.asarray(devices).reshape(shape), ("members", "microbatches"))
    batch_size = placement.static_key.batch_size
    spec = model_spec_of(placement.members[0], dataset)
    init, segment, score = _compiled(placement.static_key, spec, max_steps, mesh, placement.tile)

    def put(partition: PartitionSpec, value: Any) -> Any:
        return jax.device_put(value, NamedSharding(mesh, partition))

    members = put(MEMBERS, stack_fields(placement.rows))
    train = put(WHOLE, dataset.train)  # on every device
    order = put(MEMBERS, np.zeros((len(placement.rows), dataset.num_examples), np.int32))
    epoch = -1

    def run_segment(
        state: TrainState, start: int, stop: int, is_stopped: np.ndarray | None = None
    ) -> tuple[TrainState, Metrics]:
        nonlocal order, epoch  # they save a sort; the results do not depend on them
        if is_stopped is None:
            is_stopped = np.zeros(len(placement.rows), bool)
        bounds = put(WHOLE, (np.int32(epoch), np.int32(start), np.int32(stop)))
        stopped = put(MEMBERS, is_stopped)
        state, order, metrics = segment(members, state, order, stopped, train, *bounds)
        if stop > start:
            epoch = (stop - 1) // max(1, dataset.num_examples // batch_size)
        return state, metrics

    return Programs(
        init=lambda: init(members),
        segment=run_segment,
        score=lambda params, split: score(members, params, put(WHOLE, split)),
        put=partial(put, MEMBERS),
    )


# The compiled programs of one key take 600 to 2,000 of the 65,530 memory maps that Linux gives a
# process. When they are used up, LLVM ends a sweep with "Cannot allocate memory".
@lru_cache(maxsize=16)
def _compiled(
    static_key: Experiment, spec: ModelSpec, max_steps: int, mesh: Mesh, tile: int
) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    """Returns init_state, train_segment and evaluate, mapped over the rows of each device.

    Each static key has functions of its own, so that its programs go when the cache drops it.

    The map is `lax.map`, or `vmap` over a fixed number of rows. This keeps a member's arithmetic
    the same, whichever members train beside it.
    """
    size = mesh.shape["microbatches"]
    mesh_axis = MeshAxis("microbatches", size) if size > 1 else None

    def over_members(
        function: Callable[..., Any], num_mapped: int, num_shared: int, donated: Any = ()
    ) -> Any:
        def mapped(*args: Any) -> Any:
            of_members, shared = args[:num_mapped], args[num_mapped:]

            def one_member(args: Any) -> Any:
                return function(*args, *shared)

            if tile == 1:
                return jax.lax.map(one_member, of_members)
            return jax.vmap(one_member)(of_members)

        specs = (MEMBERS,) * num_mapped + (WHOLE,) * num_shared
        # check_vma: the gathered microbatches are the same on all devices, which it cannot see.
        on_mesh = jax.shard_map(
            mapped, mesh=mesh, in_specs=specs, out_specs=MEMBERS, check_vma=False
        )
        # Named in full. Else a state from `segment` and one from `init` would have shardings that
        # are spelled in two ways, and the second segment would compile again.
        out = NamedSharding(mesh, MEMBERS)
        return jax.jit(on_mesh, out_shardings=out, donate_argnums=donated)

    return (
        over_members(partial(init_state, spec), 1, 0),
        over_members(partial(train_segment, spec, max_steps, mesh_axis), 4, 4, donated=(1, 2)),
        over_members(partial(evaluate, spec, mesh_axis=mesh_axis), 2, 1),
    )


def stack_fields(members: Sequence[Experiment]) -> Experiment:
    """Returns members of one static key as one whose traced fields are arrays [M]."""

    def stack(*values: Any) -> np.ndarray:
        return np.array(values, np.uint32 if isinstance(values[0], int) else np.float32)

    return jax.tree.map(stack, *members)


def named_leaves(tree: Any) -> dict[str, Any]:
    """Returns a tree's leaves by their path, such as `params/lstm/kernel`, in the tree's order."""
    paths = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in paths}


def stack_states(like: TrainState, states: Sequence[dict[str, np.ndarray]]) -> TrainState:
    """Returns members' arrays, by name, stacked into a state with the tree and types of `like`.

    Raises ValueError when a member's arrays are not those of `like` without its first axis.
    """
    leaves_like = named_leaves(like)
    expected = {name: (leaf.shape[1:], leaf.dtype) for name, leaf in leaves_like.items()}
    for arrays in states:
        if {name: (array.shape, array.dtype) for name, array in arrays.items()} != expected:
            raise ValueError("the saved arrays are not those of this model")
    leaves = [np.stack([arrays[name] for arrays in states]) for name in leaves_like]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)
