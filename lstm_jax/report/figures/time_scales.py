"""How long the units of each layer keep their state: histograms of their time scales.

Axes: T time steps, B batch, H units.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.cells.decay import time_scale
from lstm_jax.cells.precision import products_in
from lstm_jax.config.experiment import Experiment
from lstm_jax.data.dataset import Dataset, num_examples
from lstm_jax.model import forward
from lstm_jax.model.fused_params import FusedParams
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.report import plots
from lstm_jax.report.drawing import Figure
from lstm_jax.report.figures import activation_batch, inside, layer_titles, stages
from lstm_jax.tasks.task import Batch


def time_scale_figures(
    trained: TrainedModel, dataset: Dataset, member_label: str
) -> Iterator[Figure]:
    """Yields a histogram of the time scales of each layer, before training and after. Yields
    nothing for a model whose layers have no decay factors, such as those of tanh networks.
    """
    batch = activation_batch(trained, dataset)
    by_title: dict[str, dict[str, np.ndarray]] = {}
    for stage, fused in stages(trained).items():
        scales = _compiled_scales(trained.ready, fused, batch)
        for title, scales_H in zip(layer_titles(trained.member), scales, strict=True):
            if scales_H is not None:
                by_title.setdefault(title, {})[stage] = np.asarray(scales_H)
    if not by_title:
        return
    time_step = trained.member.task.time_step_name
    labels = f"time scale ({time_step}s)", "units"
    yield Figure(
        "time_scales",
        "How long units remember",
        f"{dataset.name}, validation, n = {num_examples(batch):,}; {member_label}; the time scale "
        f"of a unit is the number of {time_step}s after which 1/e = 37 % of its state is "
        f"left: -1 / log f, with f the mean over examples and {time_step}s of the factor by which "
        f"it keeps its state from one {time_step} to the next (a forget gate or a decay rate)",
        plots.draw_histograms(by_title, labels),
    )


def layer_time_scales(
    member: Experiment, fused: FusedParams, batch: Batch
) -> list[jax.Array | None]:
    """Returns the time scales of each layer, [H], from its mean decay factors; None where it has no
    such factors. `member` is as `predict.inference.ready` returns it.
    """
    inputs = member.task.inputs(batch)
    weight_TB = inside(inputs)
    scales: list[jax.Array | None] = []
    with products_in(member.precision):
        driven = forward.driven_layers(member, fused, inputs)
        factors = [layer.decay_factors(weights, x_TBI) for layer, weights, x_TBI in driven]
    for factor_TBH in factors:
        if factor_TBH is not None:
            weight = weight_TB[:, :, None] / jnp.sum(weight_TB)
            factor_TBH = jnp.broadcast_to(factor_TBH, (*weight_TB.shape, factor_TBH.shape[-1]))
            factor_TBH = time_scale(jnp.sum(weight * factor_TBH, axis=(0, 1)))
        scales.append(factor_TBH)
    return scales


_compiled_scales: Any = jax.jit(layer_time_scales)
