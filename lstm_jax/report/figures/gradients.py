"""How far back the gradient reaches: at initialisation, while training, and with each cell.

Axes: B batch, T time steps, H hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.cells import get_cell
from lstm_jax.cells.precision import products_in
from lstm_jax.config.experiment import Experiment
from lstm_jax.config.labels import field_label, format_value
from lstm_jax.config.shards import work
from lstm_jax.data.dataset import Dataset, num_examples
from lstm_jax.model import forward
from lstm_jax.model.block import enlarge_recurrent
from lstm_jax.model.fused_params import FusedParams
from lstm_jax.model.layer import Params
from lstm_jax.predict import inference
from lstm_jax.predict.trained import TrainedModel, load_member
from lstm_jax.report import drawing, plots
from lstm_jax.report.curves import clipping, rank, setting_name
from lstm_jax.report.drawing import Figure
from lstm_jax.report.figures import first_examples
from lstm_jax.report.plots import Curve
from lstm_jax.runs.record import Record
from lstm_jax.runs.results import Result
from lstm_jax.runs.statistics import Summary, summarise
from lstm_jax.runs.train_group import TrainGroup
from lstm_jax.tasks.task import Batch, ModelSpec
from lstm_jax.train.memory_estimate import estimate_memory, refuse_what_does_not_fit
from lstm_jax.train.placement import place_on_devices

NUM_EXAMPLES = 100
COMPARED = ("cell", "layers", "hidden_size")  # whose other values are drawn at initialisation
MAX_VALUES = 3  # of each of them
FORGET_BIASES = (0.0, 1.0, 3.0)
EXPLODING = 8.0  # times the recurrent kernel
CLIP_NORM = 1.0  # where the run itself does not clip
EARLY_STEPS = 50
EARLY_WORK = 100 * 28 * work(Experiment())  # at most: as much as 100 steps of the baseline
LEGEND = (
    "a curve that falls towards the left shows a vanishing gradient, one that rises towards the "
    "left an exploding gradient"
)


def gradient_figures(
    trained: TrainedModel, experiment: Experiment, dataset: Dataset, member_label: str
) -> Iterator[Figure]:
    """Yields the gradient flow of this model and its variants at initialisation, that of this model
    while training, and the gradient norms of its first steps with clipping and without.

    Trains the member's first steps again, twice. Yields nothing for a model whose layers do not all
    run forwards. Raises EnvironmentProblem when there is too little memory to train.
    """
    member, spec = trained.member, trained.spec
    if not forward.can_trace(member, spec):
        return
    batch = first_examples(trained, dataset, NUM_EXAMPLES)
    time_step, layer = member.task.time_step_name, "last layer" if member.layers > 1 else "layer"
    source = f"{dataset.name}, validation, n = {num_examples(batch)}; {member_label}"
    axis_labels = time_step, "|d loss / d h|"
    quantity = (
        f"norm of the gradient of an example's loss with respect to the {layer}'s output after "
        f"each {time_step}, mean over examples"
    )
    first = inference.initial_params(member, spec)
    curves = {"as this run": flow_curve(spec, member, first, batch)}
    for name, variant in variants(member, experiment).items():
        curves[name] = flow_curve(spec, variant, inference.initial_params(variant, spec), batch)
    cell = get_cell(member.cell)
    if cell.read and cell.recurrent_map is None:  # an orthogonal kernel stays one
        enlarged = enlarge_recurrent(member, first, EXPLODING)
        curves[f"recurrent kernel x {EXPLODING:g}"] = flow_curve(spec, member, enlarged, batch)
    yield Figure(
        "gradient_flow",
        "How far back the gradient reaches at initialisation",
        f"{source}, and models that differ from it in one thing; {quantity}; {LEGEND}",
        drawing.draw(plots.curves, curves, axis_labels, log=True, size=(6.4, 3.8)),
    )

    def stage(steps: int, clip_norm: float | None, diverged_at: int | None) -> str:
        frozen = "" if diverged_at is None else f", diverged at step {diverged_at}"
        return f"after {steps} steps, {clipping(clip_norm)}{frozen}"

    curves = {"at initialisation": flow_curve(spec, member, first, batch)}
    norms: dict[str, Curve] = {}
    steps = early_steps(trained, dataset)
    for clip_norm in (None, member.clip_norm or CLIP_NORM) if steps else ():
        early = train_first(member, dataset, steps, clip_norm)
        name = stage(steps, clip_norm, early.diverged_at)
        curves[name] = flow_curve(spec, member, early.params, batch)
        norms[clipping(clip_norm)] = np.arange(steps), early.norms
    last = stage(trained.steps, member.clip_norm, trained.diverged_at)
    curves[f"this run, {last}"] = flow_curve(spec, member, trained.params, batch)
    yield Figure(
        "gradient_flow_training",
        "How far back the gradient reaches while training",
        f"{source}; {quantity}; {LEGEND}",
        drawing.draw(plots.curves, curves, axis_labels, log=True),
    )
    if norms:
        yield Figure(
            "clipping",
            "The first steps with clipping and without",
            f"{dataset.name}, training batches of {member.batch_size}; {member_label}; norm of the "
            "gradient over all parameters, before clipping",
            drawing.draw(plots.curves, norms, ("step", "global norm"), log=True),
        )


def cell_gradient_figures(
    record: Record, run_dir: Path, say: Callable[[str], None]
) -> Iterator[Figure]:
    """Yields the gradient flow of one trained member for each cell, where the cells differ most: at
    initialisation, after the first steps, which are trained again, and at the end.

    Raises UserError or EnvironmentProblem where a member or its data is no longer available.
    """
    results = where_cells_differ(summarise(record.results.values()))
    if not results:
        return
    stages: dict[str, dict[str, Curve]] = {}  # curves by stage and by cell
    datasets: dict[str, Dataset] = {}
    for result in results:
        trained = load_member(record, run_dir, result.member.digest, say, other_code=True)
        member, spec = trained.member, trained.spec
        if not forward.can_trace(member, spec):
            return
        if member.task.data_key not in datasets:
            datasets[member.task.data_key] = trained.data(say)
        dataset = datasets[member.task.data_key]
        batch = first_examples(trained, dataset, NUM_EXAMPLES)
        params = {"at initialisation": inference.initial_params(member, spec)}
        if steps := early_steps(trained, dataset):
            early = train_first(member, dataset, steps, member.clip_norm)
            params[f"after {steps} steps"] = early.params
        params[f"after {trained.steps} steps"] = trained.params
        for stage, values in params.items():
            curve = flow_curve(spec, member, values, batch)
            stages.setdefault(stage, {})[f"cell {member.cell}"] = curve
    member = results[0].member
    time_step = member.task.time_step_name
    same = setting_name(record.study.experiment, member, ["cell"])
    yield Figure(
        "gradient_flow_cells",
        "How far back the gradient reaches, by cell",
        f"{dataset.name}, validation, n = {num_examples(batch)}; {f'{same}, ' if same else ''}seed "
        f"{member.seed}, {clipping(member.clip_norm)}; norm of the gradient of an example's loss "
        f"with respect to the last layer's output after each {time_step}, mean over examples; "
        f"{LEGEND}; a small error makes the gradient small at every {time_step}",
        plots.draw_panels(stages, (time_step, "|d loss / d h|"), log=True),
    )


def where_cells_differ(summaries: list[Summary]) -> list[Result]:
    """Returns a result for each cell, of members that differ in nothing else: those whose mean
    metrics lie furthest apart. Returns nothing where no two cells can be compared.
    """
    groups: dict[Experiment, list[Summary]] = {}
    for summary in summaries:
        if not summary.diverged:
            groups.setdefault(summary.setting.apart_from("cell"), []).append(summary)

    def gap(group: list[Summary]) -> float:
        means = [summary.validation.mean for summary in group]
        return max(means) - min(means)

    comparable = [group for group in groups.values() if 1 < len(group) <= len(drawing.COLOURS)]
    if not comparable:
        return []
    by_seed = [{r.member.seed: r for r in summary.results} for summary in max(comparable, key=gap)]
    common = set.intersection(*map(set, by_seed))
    if not common:
        return []
    results = [results[min(common)] for results in by_seed]
    return sorted(results, key=lambda result: rank(result.member.cell))


def variants(member: Experiment, experiment: Experiment) -> dict[str, Experiment]:
    """Returns members that differ from this one in one field, by the name of the difference: the
    experiment's other values of COMPARED, and other forget biases where the cell has one.
    """
    members = {}
    for path in COMPARED:
        others = [value for value in experiment.values_of(path) if value != member.values.get(path)]
        for value in others[:MAX_VALUES]:
            members[f"{field_label(path)} {format_value(value)}"] = member.replace_unchecked(
                {path: value}
            )
    if get_cell(member.cell).forget is not None:
        for bias in FORGET_BIASES:
            if bias != member.forget_bias:
                members[f"forget bias {bias:g}"] = member.replace_unchecked({"forget_bias": bias})
    return members


def flow_curve(spec: ModelSpec, member: Experiment, params: Params, batch: Batch) -> Curve:
    """Returns the time steps, from 1, and the gradient flow at each."""
    fused = inference.fuse_kernels(member, params)
    flow_T = np.asarray(_compiled_flow(spec, inference.ready(member), fused, batch))
    return np.arange(1, len(flow_T) + 1), flow_T


def gradient_flow(
    spec: ModelSpec, member: Experiment, fused: FusedParams, batch: Batch
) -> jax.Array:
    """Returns |d loss / d h_t| of each example's own loss, mean over examples: float32 [T].

    h is the last layer's output; `member` is as `predict.inference.ready` returns it. A gradient
    that gets smaller towards the first time steps vanishes, one that gets larger explodes.
    """
    task, inputs = member.task, member.task.inputs(batch)

    def sum_of_losses(perturbation_TBH: jax.Array) -> jax.Array:
        h_TBH = forward.trace_last_layer(member, fused, inputs, perturbation_TBH)["h"]
        if spec.per_step_outputs:
            h = h_TBH
        elif inputs.lengths_B is None:
            h = h_TBH[-1]
        else:
            h = h_TBH[inputs.lengths_B - 1, jnp.arange(len(inputs.lengths_B))]
        scores = task.score_items(forward.apply_head(member, fused, h), batch, training=False)
        return scores.loss @ scores.weight

    hidden = fused.head_DO.shape[0] - 1
    zeros_TBH = jnp.zeros((*inputs.x_TBI.shape[:2], hidden), jnp.float32)
    with products_in(member.precision):
        gradient_TBH = jax.grad(sum_of_losses)(zeros_TBH)
    # Scaled before they are squared: an exploding gradient is soon beyond the root of the largest
    # float32.
    largest_TB1 = jnp.max(jnp.abs(gradient_TBH), axis=-1, keepdims=True)
    scaled_TBH = gradient_TBH / jnp.where(largest_TB1 > 0, largest_TB1, 1)
    return jnp.mean(largest_TB1[..., 0] * jnp.linalg.norm(scaled_TBH, axis=-1), axis=1)


_compiled_flow: Any = jax.jit(gradient_flow, static_argnums=0)


class FirstSteps(NamedTuple):
    """A member after its first steps."""

    params: Params
    norms: np.ndarray  # of the gradient at each step, before clipping
    diverged_at: int | None  # the step since which it is frozen


def early_steps(trained: TrainedModel, dataset: Dataset) -> int:
    """Returns how many first steps are trained again; 0 where a step takes too long."""
    member, example = trained.member, first_examples(trained, dataset, 1)
    time_steps = jax.eval_shape(member.task.inputs, example).x_TBI.shape[0]
    return min(EARLY_STEPS, int(EARLY_WORK / (time_steps * work(member))), member.num_steps)


def train_first(
    member: Experiment, dataset: Dataset, steps: int, clip_norm: float | None
) -> FirstSteps:
    """Trains the first steps of a member with another clipping of gradients, in one segment.

    The member trains with `scan` even if its own backend is another one, since this machine may not
    have that. Raises EnvironmentProblem when there is too little memory.
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
    return FirstSteps(params, norms, None if diverged_at < 0 else diverged_at)
