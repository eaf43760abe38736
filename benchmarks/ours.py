"""lstm_jax through the entry its runner uses, and the ceiling: the same products, nothing else."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from benchmarks.jax_peers import settings
from benchmarks.task import LEARNING_RATE, NUM_CLASSES, Case, Run, Setting, Task, load_whole
from lstm_jax.cells import CELLS
from lstm_jax.config.experiment import Experiment
from lstm_jax.data.dataset import make_dataset
from lstm_jax.model.forward import apply_model
from lstm_jax.model.fused_params import fuse_kernels
from lstm_jax.tasks.images import Images
from lstm_jax.tasks.task import Batch, Inputs, ItemScores, ModelSpec
from lstm_jax.train.placement import build_programs, place_on_devices

SEGMENT_STEPS = 100  # the command line's default: steps between two checkpoints

Params = Any


class _PerStepImages(Images):
    """Images whose class is predicted at every row."""

    def model_spec(self, metadata: dict[str, Any]) -> ModelSpec:
        return super().model_spec(metadata)._replace(per_step_outputs=True)

    def total_weight(self, batch: Batch) -> int:
        size, rows = batch["images"].shape[:2]
        return int(size * rows)

    def score_items(self, outputs: jax.Array, batch: Batch, *, training: bool) -> ItemScores:
        labels = jnp.tile(batch["labels"], len(outputs))
        outputs = outputs.reshape(-1, outputs.shape[-1])
        return super().score_items(outputs, {"labels": labels}, training=training)


def _cell(case: Case) -> str:
    """Returns the cell's name, or the file and name of a cell from outside the package."""
    return case.cell if case.cell in CELLS else f"{Path(__file__).with_name('ugrnn.py')}:ugrnn"


def ours(task: Task) -> dict[str, Setting]:
    """Returns the segments of a run, with several numbers of microbatches; in `forward` mode, the
    model as a pure function.

    A sweep has members with seeds 0, 1, ...; the first of them sees the batches of all peers.
    """
    if task.case.forward:
        return plain(task)
    counts = (1, 8) if task.case.platform == "gpu" else (8, 4)
    return {f"{count} microbatches": partial(_train, task, count, "scan") for count in counts}


def by_cudnn(task: Task) -> dict[str, Setting]:
    """Returns the same as `ours`, with cuDNN's recurrence."""
    if task.case.forward:
        return plain(task, "cudnn")
    return {"1 microbatch": partial(_train, task, 1, "cudnn")}


def _train(task: Task, microbatches: int, backend: str) -> Run:
    case, split = task.case, dict(zip(("images", "labels"), load_whole(task), strict=True))
    experiment = Experiment(
        task=_PerStepImages() if case.per_step_outputs else Images(),
        cell=_cell(case),
        layers=case.layers,
        hidden_size=case.hidden_size,
        learning_rate=LEARNING_RATE,
        seed=tuple(range(case.members)),
        batch_size=case.batch_size,
        microbatches=microbatches,
        backend=backend,
    )
    few = {name: array[:1] for name, array in split.items()}  # nothing is scored
    dataset = make_dataset("benchmark", split, few, few, num_classes=NUM_CLASSES)
    (placement,) = place_on_devices(experiment.members())
    programs = build_programs(placement, dataset, SEGMENT_STEPS)
    state = programs.init()
    # On a GPU a lone member runs in a tile of copies of itself, as in every run.
    params = jax.tree.map(lambda value: np.stack([value] * len(placement.rows)), _params(task))
    state = programs.put(state._replace(params=params))

    def run(start: int, stop: int) -> float:
        nonlocal state
        losses: list[np.ndarray] = []
        for first in range(start, stop, SEGMENT_STEPS):
            last = min(first + SEGMENT_STEPS, stop)
            state, metrics = programs.segment(state, first, last)
            losses.append(np.asarray(metrics.loss)[0, : last - first])
        return float(np.concatenate(losses).mean())

    return run


def _params(task: Task) -> Params:
    cells = {name: name for name in task.case.cell_names}
    names = {"input": "hidden", **cells, "output": "output"}
    return {
        name: {part: task.weights[f"{role}_{part}"] for part in ("kernel", "bias")}
        for name, role in names.items()
    }


def plain(task: Task, backend: str = "scan") -> dict[str, Setting]:
    """Returns our model in exactly the settings of the other JAX peers."""
    case = task.case
    member = Experiment(
        cell=_cell(case), layers=case.layers, hidden_size=case.hidden_size, backend=backend
    )
    spec = ModelSpec(case.features, NUM_CLASSES, per_step_outputs=case.per_step_outputs)

    def logits_of(params: Params, images: jax.Array) -> jax.Array:
        inputs = Inputs(images.swapaxes(0, 1))
        logits = apply_model(member, spec, fuse_kernels(member, params), inputs)
        return logits.swapaxes(0, 1) if case.per_step_outputs else logits

    return settings(task, _params(task), logits_of)


def ceiling(task: Task) -> dict[str, Setting]:
    """Returns `task.products` alone, on all devices, in chunks as ours or larger."""
    devices = len(jax.devices())
    counts = sorted({max(total // devices, 1) for total in (1, 2, 4, 8)}, reverse=True)
    return {f"{count} chunks a device": partial(_ceiling, task, count) for count in counts}


def _ceiling(task: Task, chunks: int) -> Run:
    """Runs the products alone. Their results are dropped, so that nothing else is stored."""
    case, devices = task.case, len(jax.devices())
    share, gates = case.batch_size // devices // chunks, 4 * case.hidden_size
    width = case.features + 1 + case.hidden_size
    shapes = ((case.rows, share, width), (width, gates), (case.rows, share, gates),
              (gates, case.hidden_size))  # fmt: skip
    rng = np.random.default_rng(0)
    mesh = Mesh(np.asarray(jax.devices()), ("batch",))
    spread = NamedSharding(mesh, PartitionSpec("batch"))
    arrays = tuple(rng.normal(size=(devices, *s)).astype(np.float32) for s in shapes)
    arrays = jax.device_put(arrays, spread)

    def chunk(_index: Any, results: Any, arrays: Any) -> Any:
        # Tied to the last results, or XLA would see that every chunk computes the same.
        (v_TBK, kernel_KG, dz_TBG, recurrent_GH), _ = jax.lax.optimization_barrier(
            (arrays, results)
        )
        z_BG, dh_BH, dkernel_KG = results
        z_BG, _ = jax.lax.scan(lambda _, v_BK: (v_BK @ kernel_KG, None), z_BG, v_TBK)
        if not case.forward:
            dh_BH, _ = jax.lax.scan(lambda _, dz_BG: (dz_BG @ recurrent_GH, None), dh_BH, dz_TBG)
            dkernel_KG = v_TBK.reshape(-1, width).T @ dz_TBG.reshape(-1, gates)
        return z_BG, dh_BH, dkernel_KG

    def every(steps: jax.Array, arrays: Any) -> Any:
        arrays = jax.tree.map(lambda array: array[0], arrays)
        shapes = ((share, gates), (share, case.hidden_size), (width, gates))
        zeros = jax.tree.map(jnp.zeros, shapes, is_leaf=lambda s: isinstance(s[0], int))
        zeros = jax.lax.pcast(zeros, "batch", to="varying")
        results = jax.lax.fori_loop(0, steps * chunks, partial(chunk, arrays=arrays), zeros)
        return sum(result.ravel()[:1] for result in results)

    in_specs = (PartitionSpec(), PartitionSpec("batch"))
    jitted = jax.jit(
        jax.shard_map(every, mesh=mesh, in_specs=in_specs, out_specs=PartitionSpec("batch"))
    )

    def run(start: int, stop: int) -> float:
        return float(np.asarray(jitted(np.int32(stop - start), arrays)).sum())

    return run
