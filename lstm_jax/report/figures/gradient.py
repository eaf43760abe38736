"""How far back the gradient reaches: at initialisation, in the first steps, and at the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.cells import get_cell
from lstm_jax.config.experiment import Experiment, field_label, format_value
from lstm_jax.config.shards import work
from lstm_jax.data.dataset import Dataset
from lstm_jax.model.init import Params, layer_names
from lstm_jax.predict import inference
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.report import diagnostics, drawing, plots
from lstm_jax.report.drawing import Figure
from lstm_jax.report.figures.model import first_examples
from lstm_jax.report.figures.training import clipping
from lstm_jax.runs.train_group import TrainGroup
from lstm_jax.tasks.task import Batch, ModelSpec
from lstm_jax.train.memory import estimate_memory, refuse_what_does_not_fit
from lstm_jax.train.sweep import place_on_devices

EXAMPLES = 100
COMPARED = ("cell", "layers", "hidden_size")  # of whose other values the initial ones are shown
MOST_OTHERS = 3  # of each
FORGET_BIASES = (0.0, 1.0, 3.0)
EXPLODING = 8.0  # times the recurrent kernel
CLIP_NORM = 1.0  # where the run itself does not clip
EARLY_STEPS = 50
EARLY_WORK = 100 * 28 * work(Experiment())  # at most: as much as 100 steps of the baseline

Curve = tuple[np.ndarray, np.ndarray]


class FirstSteps(NamedTuple):
    """A member after its first steps."""

    params: Params
    clip_norm: float | None
    norms: np.ndarray  # of the gradient, before clipping, by step
    diverged_at: int | None  # frozen since that step


def of_gradients(
    trained: TrainedModel, experiment: Experiment, dataset: Dataset, who: str
) -> Iterator[Figure]:
    """Yields the gradient flow at the initial values of several models of the experiment, and of
    the trained one over time; nothing of a model that cannot be looked into.

    Trains the member's first steps again, twice: with clipping and without. Raises
    EnvironmentProblem when there is no memory for it.
    """
    member, spec = trained.member, trained.spec
    if not inference.has_one_way(member, spec):
        return
    batch = first_examples(trained, dataset, EXAMPLES)
    count, step = len(next(iter(batch.values()))), member.task.time_step_name
    where = f"{dataset.name}, validation, n = {count}; {who}"
    labels = step, "|d loss / d h|"
    shows = (
        "norm of the gradient of an example's loss by the "
        f"{'last layer' if member.layers > 1 else 'layer'}'s output after each {step}, mean over "
        "examples"
    )
    first = inference.initial_params(member, spec)
    lines = {"as this run": flow(spec, member, first, batch)}
    for name, other in _others(member, experiment).items():
        lines[name] = flow(spec, other, inference.initial_params(other, spec), batch)
    enlarged = enlarge_recurrent(member, first, EXPLODING)
    lines[f"recurrent kernel x {EXPLODING:g}"] = flow(spec, member, enlarged, batch)
    yield Figure(
        "gradient_flow",
        "How far back the gradient reaches at initialisation",
        f"{where}, and what differs from it in one thing; {shows}: where it falls to the left it "
        "vanishes, where it rises it explodes",
        drawing.draw(plots.curves, lines, labels, log=True, size=(6.4, 3.8)),
    )
    early = _early(trained, dataset)
    lines = {"at initialisation": flow(spec, member, first, batch)}
    lines |= {how: flow(spec, member, state.params, batch) for how, state in early.items()}
    ended = _named(trained.steps, member.clip_norm, trained.diverged_at)
    lines[f"this run, {ended}"] = flow(spec, member, trained.params, batch)
    yield Figure(
        "gradient_flow_training",
        "How far back the gradient reaches while training",
        f"{where}; {shows}",
        drawing.draw(plots.curves, lines, labels, log=True),
    )
    if early:
        norms = {clipping(e.clip_norm): (np.arange(len(e.norms)), e.norms) for e in early.values()}
        yield Figure(
            "clipping",
            "The first steps with clipping and without",
            f"{dataset.name}, training batches of {member.batch_size}; {who}; norm of the gradient "
            "over all parameters, before it is clipped",
            drawing.draw(plots.curves, norms, ("step", "global norm"), log=True),
        )


def flow(spec: ModelSpec, member: Experiment, params: Params, batch: Batch) -> Curve:
    """Returns the rows, from 1, and the gradient's norm at each."""
    norms = _flow(spec, inference.ready(member), inference.fuse_kernels(member, params), batch)
    return np.arange(1, len(norms) + 1), np.asarray(norms)


_flow: Any = jax.jit(diagnostics.gradient_flow, static_argnums=0)


def _others(member: Experiment, experiment: Experiment) -> dict[str, Experiment]:
    """Members that differ from this one in one thing, by what they differ in."""
    found = {}
    for path in COMPARED:
        others = [value for value in experiment.values_of(path) if value != member.values[path]]
        for value in others[:MOST_OTHERS]:
            found[f"{field_label(path)} {format_value(value)}"] = member.replace_unchecked(
                {path: value}
            )
    if get_cell(member.cell).forget is not None:
        for bias in FORGET_BIASES:
            if bias != member.forget_bias:
                found[f"forget bias {bias:g}"] = member.replace_unchecked({"forget_bias": bias})
    return found


def early_steps(trained: TrainedModel, dataset: Dataset) -> int:
    """Returns how many first steps are trained again; none where a step takes too long."""
    member = trained.member
    rows = jax.eval_shape(member.task.inputs, first_examples(trained, dataset, 1)).x_TBI.shape[0]
    return min(EARLY_STEPS, int(EARLY_WORK / (rows * work(member))), member.num_steps)


def _early(trained: TrainedModel, dataset: Dataset) -> dict[str, FirstSteps]:
    """The first steps without clipping and with it, by name."""
    member, steps, found = trained.member, early_steps(trained, dataset), {}
    for clip_norm in (None, member.clip_norm or CLIP_NORM) if steps else ():
        early = train_first(member, dataset, steps, clip_norm)
        found[_named(steps, clip_norm, early.diverged_at)] = early
    return found


def train_first(
    member: Experiment, dataset: Dataset, steps: int, clip_norm: float | None
) -> FirstSteps:
    """Takes the first steps of a member, as the runner takes them, but for the clipping.

    By `scan`, also of a member that was trained by another backend: this may be another machine.
    """
    solo = member.replace_unchecked({"clip_norm": clip_norm, "backend": "scan"})
    (placement,) = place_on_devices([solo])
    platform = jax.default_backend()
    refuse_what_does_not_fit(estimate_memory(placement, dataset, platform), 1, platform)
    group = TrainGroup(placement, dataset, steps, evaluate=False)
    (segment,) = group.segments(steps)
    params = jax.tree.map(lambda array: jnp.asarray(np.asarray(array)[0]), group.state.params)
    diverged_at = int(group.state.diverged_at[0])
    norms = segment.metrics["gradient_norm"][0]
    return FirstSteps(params, clip_norm, norms, None if diverged_at < 0 else diverged_at)


def enlarge_recurrent(member: Experiment, params: Params, factor: float) -> Params:
    """Returns the same parameters, all recurrent kernels multiplied by the factor."""
    cell, larger = get_cell(member.cell), dict(params)
    for index in range(member.layers):
        for name in layer_names(member, cell, index):
            kernel = params[name]["kernel"]
            recurrent = kernel.shape[0] - cell.num_read * member.hidden_size
            kernel = kernel.at[recurrent:].multiply(factor)
            larger[name] = {**params[name], "kernel": kernel}
    return larger


def _named(steps: int, clip_norm: float | None, diverged_at: int | None) -> str:
    frozen = "" if diverged_at is None else f", diverged at step {diverged_at}"
    return f"after {steps} steps, {clipping(clip_norm)}{frozen}"
