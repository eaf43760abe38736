"""Cells without a product in the loop beside plain scans of them: `python -m benchmarks.cells`.

It trains one layer alone: gradients by kernel, weights and inputs, of microbatches one after
another in one program. The peers are `lax.scan` under autodiff, recurrentgemma's way, and
`lax.associative_scan`, the way of S5 and minimal-LRU. All take turns in one process, on one device;
the measure is CPU time, which other programs on the machine change little.

Axes: T time steps, B batch, I inputs, H hidden, G = blocks * H.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any, TypeVar

os.environ["JAX_NUM_CPU_DEVICES"] = "1"  # before JAX starts

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax.cells import get_cell
from lstm_jax.cells.cell import Extra
from lstm_jax.cells.scan import run

NUM_STEPS, BATCH, WIDTH, MICROBATCHES = 784, 16, 64, 6

Case = TypeVar("Case")
# (kernel_KG, extra, x_TBI) -> all outputs h_TBH
Layer = Callable[[jax.Array, Extra, jax.Array], jax.Array]


def ours(name: str) -> Layer:
    """Returns the layer as this package runs it."""
    return lambda kernel_KG, extra, x_TBI: run(get_cell(name), kernel_KG, x_TBI, extra)[0]


def plain(name: str) -> Layer:
    """Returns the cell's own pointwise formula in a `lax.scan`, after the products of x."""
    cell = get_cell(name)
    assert cell.pointwise is not None
    pointwise = cell.pointwise

    def layer(kernel_KG: jax.Array, extra: Extra, x_TBI: jax.Array) -> jax.Array:
        z_TBG = x_TBI @ kernel_KG[:WIDTH] + kernel_KG[WIDTH]

        def time_step(state: Any, z_BG: jax.Array) -> Any:
            if cell.read:
                z_BG = z_BG + state[cell.output_index] @ kernel_KG[WIDTH + 1 :]
            state = pointwise(z_BG, state, extra)
            return state, state[cell.output_index]

        zeros_BH = jnp.zeros((BATCH, WIDTH))
        return lax.scan(time_step, (zeros_BH,) * len(cell.state), z_TBG)[1]

    return layer


def mingru(associative: bool) -> Layer:
    """Returns the minGRU with a scan of a h + b."""

    def layer(kernel_KG: jax.Array, _: Extra, x_TBI: jax.Array) -> jax.Array:
        u, n = jnp.split(x_TBI @ kernel_KG[:-1] + kernel_KG[-1], 2, axis=-1)
        u, n = jax.nn.sigmoid(u), jnp.where(n >= 0, n + 0.5, jax.nn.sigmoid(n))
        return _linear(associative, u, (1 - u) * n)

    return layer


def lru(associative: bool, real: bool = False) -> Layer:
    """Returns the LRU, with complex states or two real ones for each."""

    def layer(kernel_KG: jax.Array, extra: Extra, x_TBI: jax.Array) -> jax.Array:
        z_TBG = x_TBI @ kernel_KG[:-1] + kernel_KG[-1]
        b_re, b_im, skip = jnp.split(z_TBG, 3, axis=-1)
        size, phase = jnp.exp(-jnp.exp(extra["nu"])), jnp.exp(extra["theta"])
        gamma_H = jnp.exp(extra["gamma"]) * jnp.sqrt(1 - size * size)
        b_re, b_im = b_re * gamma_H, b_im * gamma_H
        a_re, a_im = size * jnp.cos(phase), size * jnp.sin(phase)
        if real:

            def time_step(h: Any, b: Any) -> Any:
                h = a_re * h[0] - a_im * h[1] + b[0], a_im * h[0] + a_re * h[1] + b[1]
                return h, h

            zeros_BH = jnp.zeros((BATCH, WIDTH))
            re, im = lax.scan(time_step, (zeros_BH, zeros_BH), (b_re, b_im))[1]
            return re @ extra["c_re"] - im @ extra["c_im"] + skip
        b_TBH = lax.complex(b_re, b_im)
        a_TBH = jnp.broadcast_to(lax.complex(a_re, a_im), b_TBH.shape)
        h_TBH = _linear(associative, a_TBH, b_TBH)
        return (h_TBH @ lax.complex(extra["c_re"], extra["c_im"])).real + skip

    return layer


def _linear(associative: bool, a_TBH: jax.Array, b_TBH: jax.Array) -> jax.Array:
    def compose(first: Any, second: Any) -> Any:
        return second[0] * first[0], second[0] * first[1] + second[1]

    def time_step(h_BH: jax.Array, ab: Any) -> Any:
        h_BH = ab[0] * h_BH + ab[1]
        return h_BH, h_BH

    if associative:
        h_TBH: jax.Array = lax.associative_scan(compose, (a_TBH, b_TBH))[1]
        return h_TBH
    outputs: jax.Array = lax.scan(time_step, jnp.zeros_like(b_TBH[0]), (a_TBH, b_TBH))[1]
    return outputs


LAYERS: dict[str, dict[str, Layer]] = {
    "gru": {"ours": ours("gru"), "plain scan": plain("gru")},
    "mingru": {
        "ours": ours("mingru"),
        "plain scan": mingru(False),
        "associative_scan": mingru(True),
    },
    "lru": {
        "ours": ours("lru"),
        "plain scan": lru(False),
        "plain scan, real": lru(False, real=True),
        "associative_scan": lru(True),
    },
    "paragru": {"ours": ours("paragru"), "plain scan": plain("paragru")},
    "slstm": {"ours": ours("slstm"), "plain scan": plain("slstm")},
}


def trainer(
    name: str, layer: Layer, width: int = WIDTH, num_steps: int = NUM_STEPS
) -> Callable[[], Any]:
    """Returns a function that takes the gradients of all microbatches and waits for them."""
    cell, keys = get_cell(name), iter(jax.random.split(jax.random.key(0), 20))
    shape = width + 1 + cell.num_read * width, len(cell.blocks) * width
    kernel_KG = 0.1 * jax.random.normal(next(keys), shape)
    x_CTBI = jax.random.normal(next(keys), (MICROBATCHES, num_steps, BATCH, width))
    extra = {
        key: jax.random.uniform(next(keys), weight.shape(width), minval=0.1, maxval=0.5)
        for key, weight in cell.extra.items()
    }

    def loss(kernel_KG: jax.Array, extra: Extra, x_TBI: jax.Array) -> jax.Array:
        return jnp.sum(layer(kernel_KG, extra, x_TBI) * x_TBI)

    def gradients(x_TBI: jax.Array) -> Any:
        gradient = jax.grad(loss, (0, 1, 2))(kernel_KG, extra, x_TBI)
        *of_weights, dx_TBI = lax.optimization_barrier(gradient)
        return of_weights, dx_TBI[0]  # behind the barrier: all of it is computed, a row kept

    program = jax.jit(lambda x_CTBI: lax.map(gradients, x_CTBI))
    return lambda: jax.block_until_ready(program(x_CTBI))


def cpu_seconds(trainers: Mapping[Case, Callable[[], Any]], rounds: int) -> dict[Case, list[float]]:
    """Returns the CPU time of a microbatch in each round, in which all take turns."""
    for train in trainers.values():
        train()
    seconds: dict[Case, list[float]] = {case: [] for case in trainers}
    for _ in range(rounds):
        for case, train in trainers.items():
            start = time.process_time()
            train()
            seconds[case].append((time.process_time() - start) / MICROBATCHES)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cells", description=__doc__)
    parser.add_argument("--cells", nargs="+", choices=[*LAYERS], default=[*LAYERS])
    parser.add_argument("--rounds", type=int, default=14)
    options = parser.parse_args()
    trainers = {
        (name, way): trainer(name, layer)
        for name in options.cells
        for way, layer in LAYERS[name].items()
    }
    seconds = cpu_seconds(trainers, options.rounds)
    print(f"CPU time of a microbatch of {BATCH}, {NUM_STEPS} time steps, {WIDTH} units")
    for (name, way), taken in seconds.items():
        ratio = median(taken) / median(seconds[name, "ours"])
        print(
            f"{name:10} {way:18} {1e3 * median(taken):7.1f} ms (least {1e3 * min(taken):.1f}), "
            f"ours is {ratio:.2f}x as fast"
        )


if __name__ == "__main__":
    main()
