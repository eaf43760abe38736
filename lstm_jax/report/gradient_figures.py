"""How far back the gradient reaches: at initialisation, in the first steps, and at the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.data.load import Dataset
from lstm_jax.experiment import Experiment, Member
from lstm_jax.report import diagnose, figures
from lstm_jax.report.figures import Figure
from lstm_jax.report.model_figures import step_name
from lstm_jax.report.training_figures import clipping
from lstm_jax.runs.screen import work
from lstm_jax.train.memory import needed, refuse_what_does_not_fit
from lstm_jax.train.model import RowLSTM
from lstm_jax.train.step import Params, init_state
from lstm_jax.train.sweep import build, build_model, place_here
from lstm_jax.use.trained import Trained, fold_jitted

EXAMPLES = 100
MOST_SIZES = 4
FORGET_BIASES = (0.0, 1.0, 3.0)
EXPLODING = 8.0  # times the recurrent kernel
CLIP_NORM = 1.0  # where the run itself does not clip
EARLY_STEPS = 50
EARLY_WORK = 100 * 128 * 28 * work(128)  # at most: as much as 100 steps of the baseline

Line = tuple[np.ndarray, np.ndarray]


class Early(NamedTuple):
    """A member after its first steps."""

    params: Params
    clip_norm: float  # 0: not clipped
    norms: np.ndarray  # of the gradient, before clipping, by step
    diverged_at: int | None  # frozen since that step


def of_gradients(trained: Trained, dataset: Dataset) -> Iterator[Figure]:
    """Gradient flow at the initial values of several models, and of the trained one over time.

    Trains the member's first steps again, twice: with clipping and without. Raises
    SurroundingsError when there is no memory for it.
    """
    images, labels = (jnp.asarray(array[:EXAMPLES]) for array in dataset.validation)
    member, model = trained.member, trained.model
    step = step_name(trained.experiment)
    rows = np.arange(1, images.shape[1] + 1)

    gradient_flow = jax.jit(diagnose.gradient_flow)

    def flow(model: RowLSTM, params: Params) -> Line:
        norms = gradient_flow(fold_jitted(model, params), images, labels)
        return rows, figures.log10(norms)

    first = _initial(model, member)
    lines = {}
    for hidden in _sizes(trained):
        other = build_model(trained.experiment, hidden, dataset)
        same = hidden == member.hidden_size
        lines[f"H {hidden}"] = flow(other, first if same else _initial(other, member))
    for bias in FORGET_BIASES:
        if bias != model.forget_bias:  # which is no parameter: the initial ones are the same
            other = model.clone(forget_bias=bias)
            lines[f"H {member.hidden_size}, forget bias {bias:g}"] = flow(other, first)
    enlarged = flow(model, enlarge_recurrent(first, EXPLODING))
    lines[f"H {member.hidden_size}, recurrent kernel x {EXPLODING:g}"] = enlarged
    who = f"{dataset.name}, validation, n = {len(labels)}"
    axes = step, "log10 |d loss / d h|"
    yield Figure(
        "gradient_flow",
        "How far back the gradient reaches at initialisation",
        f"{who}, seed {member.seed}; norm of the gradient of an image's loss by the output after "
        f"each {step}, mean over images: where it falls to the left it vanishes, where it rises "
        "it explodes",
        figures.draw(figures.curves, lines, axes, size=(6.4, 3.8)),
    )
    early = _early(trained, dataset)
    lines = {"at initialisation": flow(model, first)}
    lines |= {how: flow(model, state.params) for how, state in early.items()}
    ended = _named(trained.steps, trained.experiment.clip_norm, trained.diverged_at)
    lines[f"this run, {ended}"] = flow(model, trained.params)
    yield Figure(
        "gradient_flow_training",
        "How far back the gradient reaches while training",
        f"{who}; {member}; norm of the gradient of an image's loss by the output after each "
        f"{step}, mean over images",
        figures.draw(figures.curves, lines, axes),
    )
    norms = {
        clipping(e.clip_norm): (np.arange(len(e.norms)), figures.log10(e.norms))
        for e in early.values()
    }
    if norms:
        yield Figure(
            "clipping",
            "The first steps with clipping and without",
            f"{dataset.name}, training batches of {trained.experiment.batch_size}; {member}; norm "
            "of the gradient over all parameters, before it is clipped",
            figures.draw(figures.curves, norms, ("step", "global norm (log10)")),
        )


def _early(trained: Trained, dataset: Dataset) -> dict[str, Early]:
    """The first steps without clipping and with it, by name; none where a step takes too long."""
    experiment, hidden = trained.experiment, trained.member.hidden_size
    a_step = experiment.batch_size * dataset.train.images.shape[1] * work(hidden)
    steps = min(EARLY_STEPS, int(EARLY_WORK / a_step), experiment.num_steps)
    found = {}
    for clip_norm in (0.0, experiment.clip_norm or CLIP_NORM) if steps else ():
        early = train_first(experiment, trained.member, dataset, steps, clip_norm)
        found[_named(steps, clip_norm, early.diverged_at)] = early
    return found


def train_first(
    experiment: Experiment, member: Member, dataset: Dataset, steps: int, clip_norm: float
) -> Early:
    """The first steps of a member, as the runner takes them, but for the clipping.

    By `scan`, also of a member that was trained by another backend: this may be another machine.
    """
    solo = replace(experiment.solo(member), clip_norm=clip_norm, backend="scan")
    (placement,) = place_here(solo, [member])
    platform = jax.default_backend()
    refuse_what_does_not_fit(needed(solo, placement, dataset, platform), 1, platform)
    programs = build(solo, placement, dataset, steps)
    state, metrics = programs.segment(programs.init(), 0, steps)
    params = jax.tree.map(lambda array: jnp.asarray(np.asarray(array)[0]), state.params)
    bad = int(state.diverged_at[0])
    return Early(params, clip_norm, np.asarray(metrics.gradient_norm)[0], None if bad < 0 else bad)


def enlarge_recurrent(params: Params, factor: float) -> Params:
    """The same parameters, the recurrent kernel multiplied by the factor."""
    kernel = params["lstm"]["kernel"]
    hidden = kernel.shape[1] // 4
    larger = kernel.at[hidden:].multiply(factor)
    return {**params, "lstm": {**params["lstm"], "kernel": larger}}


def _sizes(trained: Trained) -> list[int]:
    """The trained hidden size and others of the experiment."""
    own = trained.member.hidden_size
    others = [hidden for hidden in trained.experiment.axis("hidden_size") if hidden != own]
    return sorted([own, *others[: MOST_SIZES - 1]])


def _initial(model: RowLSTM, member: Member) -> Params:
    return jax.jit(partial(init_state, model))(jnp.uint32(member.seed)).params


def _named(steps: int, clip_norm: float, diverged_at: int | None) -> str:
    frozen = "" if diverged_at is None else f", diverged at step {diverged_at}"
    return f"after {steps} steps, {clipping(clip_norm)}{frozen}"
