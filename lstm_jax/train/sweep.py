"""Members to groups to placements: which members train side by side, on which devices.

Members of one hidden size share every shape, so they share one compiled program. On a mesh of
devices they are spread over the axis `members`; the chunks of their batches over the axis
`chunks`. Neither changes a bit of any member.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from itertools import groupby
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lstm_jax.data.load import Dataset, Split
from lstm_jax.errors import SurroundingsError
from lstm_jax.experiment import Experiment, Member
from lstm_jax.train.model import RowLSTM
from lstm_jax.train.step import (
    Metrics,
    Params,
    Recipe,
    Score,
    TrainState,
    evaluate,
    init_state,
    train_segment,
)

MEMBERS, WHOLE = PartitionSpec("members"), PartitionSpec()


class Placement(NamedTuple):
    """Members trained side by side: M of them on a mesh of member_devices x chunk_devices.

    On one device they run one after another (tile 1), or all at once under `vmap`: then exactly
    `tile` of them, the last rows filled up with copies, so that it is always the same program.
    """

    members: tuple[Member, ...]
    member_devices: int
    chunk_devices: int
    tile: int = 1

    @property
    def hidden_size(self) -> int:
        return self.members[0].hidden_size

    @property
    def rows(self) -> tuple[Member, ...]:
        """The members as they lie along the first axis of every array, copies at the end."""
        copies = self.tile * self.member_devices - len(self.members) if self.tile > 1 else 0
        return self.members + self.members[-1:] * copies


class Programs(NamedTuple):
    """The functions of a placement; every array has a leading axis of its rows."""

    init: Callable[[], TrainState]
    segment: Callable[[TrainState, int, int], tuple[TrainState, Metrics]]  # consumes the state
    score: Callable[[Params, Split], Score]
    load: Callable[[TrainState], TrainState]  # from host arrays


def place(
    members: Iterable[Member], num_devices: int, chunks: int, tile: int = 1
) -> list[Placement]:
    """Members of one hidden size together; as many as fill the devices are spread over them.

    The rest, fewer than there are devices, share all devices through the chunks of their batches,
    so that no device idles while a last member trains. See `tile_of` for the tile.
    """
    chunk_devices = max(d for d in range(1, num_devices + 1) if chunks % d == 0)
    placements = []
    for _, group in groupby(sorted(members, key=lambda m: m.hidden_size), lambda m: m.hidden_size):
        mates = tuple(group)
        if tile > 1:
            for first in range(0, len(mates), tile * num_devices):
                some = mates[first : first + tile * num_devices]
                devices = -(-len(some) // tile)
                placements.append(
                    Placement(some, devices, 1 if devices > 1 else chunk_devices, tile)
                )
            continue
        full = len(mates) - len(mates) % num_devices
        if full:
            placements.append(Placement(mates[:full], num_devices, 1))
        if mates[full:]:
            placements.append(Placement(mates[full:], 1, chunk_devices))
    return placements


def place_here(experiment: Experiment, members: Iterable[Member]) -> list[Placement]:
    """`place` on the devices that are here."""
    tile = tile_of(jax.default_backend(), experiment.backend)
    return place(members, len(jax.devices()), experiment.chunks, tile)


def tile_of(platform: str, backend: str) -> int:
    """Members that run at once on one device of a platform (`jax.default_backend()`).

    On CPU one: more would be no faster, and one alone has the bits of any sweep. cuDNN takes one.
    """
    return 1 if platform == "cpu" or backend == "cudnn" else 8


def refuse_absent_backend(experiment: Experiment) -> None:
    """Raises SurroundingsError when the experiment's backend does not run here."""
    if experiment.backend == "cudnn" and jax.default_backend() != "gpu":
        raise SurroundingsError(
            f"backend cudnn needs an NVIDIA GPU, and JAX runs on {jax.default_backend()} here; "
            "use --backend scan, which runs everywhere"
        )


def build_model(experiment: Experiment, hidden_size: int, dataset: Dataset) -> RowLSTM:
    """The row LSTM for this data set's row width and classes."""
    return RowLSTM(
        hidden_size=hidden_size,
        num_features=dataset.train.images.shape[2],
        num_classes=dataset.num_classes,
        forget_bias=experiment.forget_bias,
        kernel_init=experiment.kernel_init,
        chrono_steps=experiment.chrono_steps,
    )


def build(
    experiment: Experiment, placement: Placement, dataset: Dataset, capacity: int
) -> Programs:
    """Programs for a placement whose segments have at most `capacity` steps.

    Learning rates, seeds and data enter as arrays: other values run the same compiled programs.
    """
    shape = (placement.member_devices, placement.chunk_devices)
    devices = np.asarray(jax.devices()[: shape[0] * shape[1]]).reshape(shape)
    mesh = Mesh(devices, ("members", "chunks"))
    model = build_model(experiment, placement.hidden_size, dataset)
    spread = "chunks" if placement.chunk_devices > 1 else None
    mesh_fields: dict[str, Any] = {"mesh_axis": spread, "mesh_size": placement.chunk_devices}
    own = {n: getattr(experiment, n) for n in Recipe._fields if n not in mesh_fields}
    recipe = Recipe(**own, **mesh_fields)
    init, segment, score = _compiled(model, recipe, capacity, mesh, placement.tile)

    def put(spec: PartitionSpec, value: Any) -> Any:
        return jax.device_put(value, NamedSharding(mesh, spec))

    rates = put(MEMBERS, np.array([m.learning_rate for m in placement.rows], np.float32))
    seeds = put(MEMBERS, np.array([m.seed for m in placement.rows], np.uint32))
    train = put(WHOLE, tuple(dataset.train))  # on every device, as uint8
    num_examples = len(dataset.train.labels)
    order = put(MEMBERS, np.zeros((len(placement.rows), num_examples), np.int32))
    epoch = -1

    def run_segment(state: TrainState, start: int, stop: int) -> tuple[TrainState, Metrics]:
        nonlocal order, epoch  # they spare a sort: whatever they hold, the results are the same
        bounds = put(WHOLE, (np.int32(epoch), np.int32(start), np.int32(stop)))
        state, order, metrics = segment(state, order, rates, seeds, *train, *bounds)
        if stop > start:
            epoch = (stop - 1) // (num_examples // experiment.batch_size)
        return state, metrics

    return Programs(
        init=lambda: init(seeds),
        segment=run_segment,
        score=lambda params, split: score(params, *put(WHOLE, tuple(split))),
        load=partial(put, MEMBERS),
    )


@lru_cache(maxsize=64)
def _compiled(
    model: RowLSTM, recipe: Recipe, capacity: int, mesh: Mesh, tile: int
) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    """init_state, train_segment and evaluate, mapped over the rows of each device.

    `lax.map`, or `vmap` of a fixed number of rows: only so is a member's arithmetic the same
    whatever is beside it.
    """

    def over_members(
        function: Callable[..., Any], num_mapped: int, num_shared: int, consumed: Any = ()
    ) -> Any:
        def mapped(*args: Any) -> Any:
            own, shared = args[:num_mapped], args[num_mapped:]

            def one_member(one: Any) -> Any:
                return function(*one, *shared)

            return jax.lax.map(one_member, own) if tile == 1 else jax.vmap(one_member)(own)

        specs = (MEMBERS,) * num_mapped + (WHOLE,) * num_shared
        # check_vma: the gathered chunks are alike on all their devices, which it cannot see.
        spread = jax.shard_map(
            mapped, mesh=mesh, in_specs=specs, out_specs=MEMBERS, check_vma=False
        )
        # Named in full, or a state from `segment` and one from `init` would differ in their
        # sharding's spelling, and the second segment would compile again.
        out = NamedSharding(mesh, MEMBERS)
        return jax.jit(spread, out_shardings=out, donate_argnums=consumed)

    return (
        over_members(partial(init_state, model), 1, 0),
        over_members(partial(train_segment, model, recipe, capacity), 4, 5, consumed=(0, 1)),
        over_members(partial(evaluate, model), 1, 2),
    )


def name_arrays(tree: Any) -> dict[str, Any]:
    """A tree's leaves by their path, such as `params/lstm/kernel`, in the tree's own order."""
    paths = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in paths}


def stack_members(like: TrainState, members: Sequence[dict[str, np.ndarray]]) -> TrainState:
    """Members' arrays by name, stacked into a state with the tree, shapes and dtypes of `like`.

    Raises ValueError when a member's arrays are not those of `like` without its first axis.
    """
    named = name_arrays(like)
    wanted = {name: (leaf.shape[1:], leaf.dtype) for name, leaf in named.items()}
    for arrays in members:
        if {name: (array.shape, array.dtype) for name, array in arrays.items()} != wanted:
            raise ValueError("the saved arrays are not those of this model")
    leaves = [np.stack([arrays[name] for arrays in members]) for name in named]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)
