"""How far back the gradient reaches: before training, in its first steps, and at its end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax import diagnose, figures
from lstm_jax.config import Experiment, Member
from lstm_jax.data import Dataset
from lstm_jax.figures import Figure
from lstm_jax.model import RowLSTM
from lstm_jax.model_figures import step_name
from lstm_jax.sweep import build, build_model, place_here
from lstm_jax.train import Params, init_state
from lstm_jax.trained import Trained

EXAMPLES = 100
FORGET_BIASES = (0.0, 1.0, 3.0)
EXPLODING = 8.0  # times the recurrent weights
CLIP_NORM = 1.0  # where the run itself does not clip
LEAST_NORM = 1e-12  # of what a logarithm shows

Line = tuple[np.ndarray, np.ndarray]


class Early(NamedTuple):
    """A member after its first steps."""

    params: Params
    norms: np.ndarray  # of the gradient, before clipping, by step


def of_gradients(trained: Trained, dataset: Dataset) -> Iterator[Figure]:
    """Gradient flow at the first values of several models, and of the trained one over time.

    Trains the member's first steps again, twice: with clipping and without.
    """
    experiment, member = trained.experiment, trained.member
    images, labels = (jnp.asarray(array[:EXAMPLES]) for array in dataset.validation)
    step = step_name(experiment)
    labels_of_axes = step, "log10 |d loss / d h|"
    who = f"{dataset.name}, validation, n = {len(labels)}"
    rows = np.arange(1, images.shape[1] + 1)

    def flow(model: RowLSTM, params: Params) -> Line:
        norms = jax.jit(partial(diagnose.gradient_flow, model))(params, images, labels)
        return rows, _log10(norms)

    def first_values(model: RowLSTM) -> Params:
        return jax.jit(partial(init_state, model))(jnp.uint32(member.seed)).params

    lines = {
        name: flow(model, first_values(model)) for name, model in _models(trained, dataset).items()
    }
    first = first_values(trained.model)
    lines[f"H {member.hidden_size}, recurrent weights x {EXPLODING:g}"] = flow(
        trained.model, enlarge_recurrent(first, EXPLODING)
    )
    yield Figure(
        "gradient_flow",
        "How far back the gradient reaches before training",
        f"{who}, seed {member.seed}; norm of the gradient of an image's loss by the output after "
        f"each {step}, mean over images: where it falls to the left it vanishes, where it rises "
        "it explodes",
        figures.draw(figures.curves, lines, labels_of_axes, size=(6.4, 3.8)),
    )
    # As many products for images of many rows as for those of 28.
    steps = min(max(10, 1400 // len(rows)), experiment.num_steps)
    clip_norm = experiment.clip_norm or CLIP_NORM
    early = {
        "not clipped": train_first(experiment, member, dataset, steps, 0.0),
        f"clipped at {clip_norm:g}": train_first(experiment, member, dataset, steps, clip_norm),
    }
    lines = {"first values": flow(trained.model, first)}
    lines |= {
        f"after {steps} steps, {how}": flow(trained.model, state.params)
        for how, state in early.items()
    }
    lines[f"after {trained.steps} steps, {_own_clipping(experiment)}"] = flow(
        trained.model, trained.params
    )
    yield Figure(
        "gradient_flow_training",
        "How far back the gradient reaches while training",
        f"{who}; {member}; norm of the gradient of an image's loss by the output after each "
        f"{step}, mean over images",
        figures.draw(figures.curves, lines, labels_of_axes),
    )
    numbers = np.arange(steps)
    yield Figure(
        "clipping",
        f"The first {steps} steps with clipping and without",
        f"{dataset.name}, training batches of {experiment.batch_size}; {member}; norm of the "
        "gradient over all parameters, before it is clipped",
        figures.draw(
            figures.curves,
            {how: (numbers, _log10(state.norms)) for how, state in early.items()},
            ("step", "global norm (log10)"),
        ),
    )


def train_first(
    experiment: Experiment, member: Member, dataset: Dataset, steps: int, clip_norm: float
) -> Early:
    """The first steps of a member, as the runner takes them, but for the clipping.

    By `scan`, also of a member that was trained by another backend: this may be another machine.
    """
    solo = replace(experiment.solo(member), clip_norm=clip_norm, backend="scan")
    (placement,) = place_here(solo, [member])
    programs = build(solo, placement, dataset, steps)
    state, metrics = programs.segment(programs.init(), 0, steps)
    params = jax.tree.map(lambda array: jnp.asarray(np.asarray(array)[0]), state.params)
    return Early(params, np.asarray(metrics.gradient_norm)[0])


def enlarge_recurrent(params: Params, factor: float) -> Params:
    """The same parameters, those times the factor by which an output reaches the next row."""
    kernel = params["lstm"]["kernel"]
    hidden = kernel.shape[1] // 4
    larger = kernel.at[hidden:].multiply(factor)
    return {**params, "lstm": {**params["lstm"], "kernel": larger}}


def _models(trained: Trained, dataset: Dataset) -> dict[str, RowLSTM]:
    """The experiment's hidden sizes, at most four, and the trained one's other forget biases."""
    experiment = trained.experiment
    models = {
        f"H {hidden}": build_model(experiment, hidden, dataset)
        for hidden in experiment.axis("hidden_size")[:4]
    }
    return models | {
        f"H {trained.model.hidden_size}, forget bias {bias:g}": trained.model.clone(
            forget_bias=bias
        )
        for bias in FORGET_BIASES
        if bias != experiment.forget_bias
    }


def _own_clipping(experiment: Experiment) -> str:
    return f"clipped at {experiment.clip_norm:g}" if experiment.clip_norm else "not clipped"


def _log10(norms: Any) -> np.ndarray:
    return np.log10(np.maximum(np.asarray(norms), LEAST_NORM))
