"""Whether a layer forgets or is chaotic: its largest Lyapunov exponent.

The largest Lyapunov exponent is the mean growth of a small change v of the state in one time step,

    v <- J v,  J the Jacobian of the new state by the old one,
    exponent = mean over time steps of log(|J v| / |v|),

along the sequences that a model reads: Engelken, Wolf and Abbott, "Lyapunov spectra of chaotic
recurrent neural networks" (2023), section II, after Benettin et al., "Lyapunov characteristic
exponents for smooth dynamical systems" (1980). v is divided by its norm after each time step, so
that nothing overflows. Below 0 a layer forgets what it has read, by 1/e in -1 / exponent time
steps; above 0 it is chaotic, and a gradient that goes back through it explodes.

Axes: T time steps, B batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.cells.precision import products_in
from lstm_jax.config.experiment import Experiment
from lstm_jax.data.dataset import Dataset, num_examples
from lstm_jax.model import forward
from lstm_jax.model.directions import DrivenLayer
from lstm_jax.model.fused_params import FusedParams
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.report import drawing, plots
from lstm_jax.report.drawing import Figure
from lstm_jax.report.figures import first_examples, inside, layer_titles, stages
from lstm_jax.report.plots import Curve
from lstm_jax.tasks.task import Batch

NUM_EXAMPLES = 32
MAX_TIME_STEPS = 1000  # of a sequence
WARM_UP = 0.25  # of a sequence: v turns to the direction that grows most
LEAST = 1e-30  # |J v| where nothing is left


def lyapunov_figures(
    trained: TrainedModel, dataset: Dataset, member_label: str
) -> Iterator[Figure]:
    """Yields how a small change of the state of each layer grows, before training and after, with
    the largest Lyapunov exponents.
    """
    member, batch = trained.member, first_examples(trained, dataset, NUM_EXAMPLES)
    time_step = member.task.time_step_name
    by_layer: dict[str, dict[str, Curve]] = {}
    for stage, fused in stages(trained).items():
        growths = _compiled_growths(trained.ready, fused, batch)
        weight_TB = np.asarray(inside(trained.ready.task.inputs(batch)))[:MAX_TIME_STEPS]
        for title, growth_TB in zip(layer_titles(member), growths, strict=True):
            mean, deviation = exponent(np.asarray(growth_TB), weight_TB)
            name = f"{title}, {stage}" if len(growths) > 1 else stage
            curve = mean_size(np.asarray(growth_TB), weight_TB)
            by_layer.setdefault(title, {})[f"{name}: {mean:+.3f} \u00b1 {deviation:.3f}"] = curve
    curves = {name: curve for layer in by_layer.values() for name, curve in layer.items()}
    yield Figure(
        "lyapunov",
        "Whether a small change of the state fades or grows",
        f"{dataset.name}, validation, n = {num_examples(batch)}; {member_label}; the size of a "
        f"small random change of a layer's state after each {time_step}, mean of its logarithm "
        "over examples. Where a curve falls, the layer forgets; where it rises, small changes and "
        "gradients grow. In the legend: the largest Lyapunov exponent, the mean growth of the "
        f"natural logarithm in one {time_step}, \u00b1 its standard deviation over examples, "
        f"without the first {WARM_UP:.0%} of a sequence; clearly above 0 a layer is chaotic",
        drawing.draw(
            plots.curves, curves, (time_step, "log10 of the size of the change"), log=False
        ),
    )


def exponent(growth_TB: np.ndarray, weight_TB: np.ndarray) -> tuple[float, float]:
    """Returns the mean and the standard deviation over examples of the largest exponent."""
    length_B = weight_TB.sum(axis=0)
    late_TB = weight_TB * (np.arange(len(weight_TB))[:, None] >= WARM_UP * length_B)
    used_B = length_B > 0
    mean_B = (growth_TB * late_TB).sum(axis=0)[used_B] / late_TB.sum(axis=0)[used_B]
    return float(mean_B.mean()), float(mean_B.std())


def mean_size(growth_TB: np.ndarray, weight_TB: np.ndarray) -> Curve:
    """Returns the time steps, from 1, and the mean of log10 of the size of a change after each."""
    count_T = np.maximum(weight_TB.sum(axis=1), 1)
    mean_T = (growth_TB * weight_TB).sum(axis=1) / count_T
    return np.arange(1, len(mean_T) + 1), np.cumsum(mean_T) / np.log(10)


def growths(member: Experiment, fused: FusedParams, batch: Batch) -> list[jax.Array]:
    """Returns, for each layer, log(|J v| / |v|) of each example at each time step, [T,B].

    `member` is as `predict.inference.ready` returns it.
    """
    with products_in(member.precision):
        driven = forward.driven_layers(member, fused, member.task.inputs(batch))
        return [growth(each, jax.random.key(index)) for index, each in enumerate(driven)]


def growth(driven: DrivenLayer, key: jax.Array) -> jax.Array:
    """Returns log(|J v| / |v|) of one layer, float32 [T,B]; v starts at random.

    It is the product of a Jacobian and a vector by two transpositions: the gradients of recurrences
    are hand-made for the backward pass alone. Integers of a carry are no directions.
    """
    layer, weights, x_TBI = driven
    carry = layer.initial_carry(x_TBI.shape[1])
    leaves, tree = jax.tree.flatten(carry)
    is_real = [jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves]

    def real(leaves: list[jax.Array]) -> list[jax.Array]:
        return [leaf for leaf, yes in zip(leaves, is_real, strict=True) if yes]

    def time_step(loop: Any, x_BI: jax.Array) -> tuple[Any, jax.Array]:
        leaves, v = loop

        def new_state(varied: list[jax.Array]) -> tuple[list[jax.Array], list[jax.Array]]:
            values = iter(varied)
            pairs = zip(leaves, is_real, strict=True)
            merged = [next(values) if yes else leaf for leaf, yes in pairs]
            state = jax.tree.unflatten(tree, merged)
            new = jax.tree.leaves(layer.step(weights, x_BI, state)[1])
            return real(new), new

        _, transposed, new = jax.vjp(new_state, real(leaves), has_aux=True)
        zeros = jax.tree.map(jnp.zeros_like, v)
        (v,) = jax.vjp(lambda u: transposed(u)[0], zeros)[1](v)
        v, log_norm_B = _normalised(v)
        return (new, v), log_norm_B

    keys = jax.random.split(key, max(1, len(real(leaves))))
    pairs = zip(keys, real(leaves), strict=False)
    v, _ = _normalised([jax.random.normal(k, leaf.shape, leaf.dtype) for k, leaf in pairs])
    _, growth_TB = jax.lax.scan(time_step, (leaves, v), x_TBI[:MAX_TIME_STEPS])
    return growth_TB


def _normalised(v: list[jax.Array]) -> tuple[list[jax.Array], jax.Array]:
    """Returns arrays [B, ...] divided by the norm of all of an example, and its logarithm [B]."""
    squares = [jnp.sum(jnp.square(each.reshape(len(each), -1)), axis=1) for each in v]
    norm_B = jnp.maximum(jnp.sqrt(sum(squares)), LEAST)
    return [e / norm_B.reshape(-1, *(1,) * (e.ndim - 1)) for e in v], jnp.log(norm_B)


_compiled_growths: Any = jax.jit(growths)
