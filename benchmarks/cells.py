"""Single layers beside other ways to run them: `python -m benchmarks.cells`.

It trains one layer alone: gradients by kernel, weights and inputs, of microbatches one after
another in one program. The peers are Flax's own cells in `nn.RNN`; `lax.scan` under autodiff,
recurrentgemma's way; `lax.associative_scan`, the way of S5 and minimal-LRU; and the chunkwise form
of matrix memories. All take turns in one process, on one device; the measure is CPU time, which
other programs on the machine change little.

Axes: T time steps, B batch, I inputs, H hidden, G = blocks * H.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any, NamedTuple, TypeVar

os.environ["JAX_NUM_CPU_DEVICES"] = "1"  # before JAX starts

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from lstm_jax.cells import get_cell, get_cell_or_layer, linen
from lstm_jax.cells.cell import Cell, Extra
from lstm_jax.cells.scan import run, stack_kernels

NUM_STEPS, BATCH, WIDTH, MICROBATCHES = 784, 16, 64, 6

Case = TypeVar("Case")
# (kernel_KG, extra, x_TBI) -> all outputs h_TBH
Layer = Callable[[jax.Array, Extra, jax.Array], jax.Array]


def ours(name: str) -> Layer:
    """Returns the layer as this package runs it."""
    if not isinstance(get_cell_or_layer(name), Cell):
        return matrices(name, False)
    return lambda kernel_KG, extra, x_TBI: run(get_cell(name), kernel_KG, x_TBI, extra)[0]


def plain(name: str) -> Layer:
    """Returns the cell's own pointwise formula in a `lax.scan`, after the products of x."""
    cell = get_cell(name)
    assert cell.pointwise is not None
    pointwise = cell.pointwise

    def layer(kernel_KG: jax.Array, extra: Extra, x_TBI: jax.Array) -> jax.Array:
        batch, width = x_TBI.shape[1:]
        z_TBG = x_TBI @ kernel_KG[:width] + kernel_KG[width]

        def time_step(state: Any, z_BG: jax.Array) -> Any:
            if cell.read:
                z_BG = z_BG + state[cell.output_index] @ kernel_KG[width + 1 :]
            state = pointwise(z_BG, state, extra)
            return state, state[cell.output_index]

        zeros_BH = jnp.zeros((batch, width))
        return lax.scan(time_step, (zeros_BH,) * len(cell.state), z_TBG)[1]

    return layer


def flax(ours: type[linen.CellLayer], cell_class: Callable[[int], nn.RNNCellBase]) -> Layer:
    """Returns the layer as `nn.RNN` runs Flax's cell, on the same weights."""
    gates = dict(zip(ours.cell.columns, ours.gates, strict=True))

    def layer(kernel_KG: jax.Array, _: Extra, x_TBI: jax.Array) -> jax.Array:
        width = x_TBI.shape[-1]
        params: dict[str, dict[str, jax.Array]] = {}
        parts = jnp.split(kernel_KG, len(ours.cell.blocks), axis=1)
        for block, bias, part in zip(ours.cell.blocks, ours.biases, parts, strict=True):
            part, gate = part / block.scale, gates[block.column]
            sources = {"x": ("i" + gate, part[:width]), "h": ("h" + gate, part[width + 1 :])}
            for name, kernel in (sources[source] for source in block.sources):
                params.setdefault(name, {})["kernel"] = kernel
            params[bias]["bias"] = part[width]
        rnn = nn.RNN(cell_class(width), time_major=True)
        outputs: Any = rnn.apply({"params": {"cell": params}}, x_TBI)
        return outputs

    return layer


def matrices(name: str, chunkwise: bool) -> Layer:
    """Returns a layer with a matrix for each head in one of its two forms."""
    of_name = get_cell_or_layer(name)
    form = of_name.associative() if chunkwise else of_name

    def layer(kernel_KG: jax.Array, extra: Extra, x_TBI: jax.Array) -> jax.Array:
        outputs: jax.Array = form.apply({"kernel": kernel_KG, **extra}, x_TBI, None, None)[0]
        return outputs

    return layer


def mingru(associative: bool) -> Layer:
    """Returns the minGRU with a scan of a h + b."""

    def layer(kernel_KG: jax.Array, _: Extra, x_TBI: jax.Array) -> jax.Array:
        u, n = jnp.split(x_TBI @ kernel_KG[:-1] + kernel_KG[-1], 2, axis=-1)
        u = jax.nn.sigmoid(2 * u)  # its columns of the kernel hold a half of the weights
        n = jnp.where(n >= 0, n + 0.5, jax.nn.sigmoid(n))
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

            zeros_BH = jnp.zeros_like(b_re[0])
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
    "lstm": {
        "ours": ours("lstm"),
        "plain scan": plain("lstm"),
        "Flax": flax(linen.LSTM, nn.OptimizedLSTMCell),
    },
    "gru": {
        "ours": ours("gru"),
        "plain scan": plain("gru"),
        "Flax": flax(linen.GRU, nn.GRUCell),
    },
    "rnn": {
        "ours": ours("rnn"),
        "plain scan": plain("rnn"),
        "Flax": flax(linen.RNN, nn.SimpleCell),
    },
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
    **{
        name: {"ours": ours(name), "ours, chunkwise": matrices(name, True)}
        for name in ("mlstm", "gated_deltanet")
    },
}


def weights(name: str, width: int, key: jax.Array) -> tuple[jax.Array, Extra]:
    """Returns the kernel and the further weights: random, or, of a layer, as it starts."""
    cell, keys = get_cell_or_layer(name), iter(jax.random.split(key, 20))
    if not isinstance(cell, Cell):
        extra = dict(cell.init(key, width, width))
        return extra.pop("kernel"), extra
    columns = len(cell.columns) * width
    shapes = (width, columns), (cell.num_read * width, columns), (len(cell.blocks) * width,)
    kernel_KG = stack_kernels(cell, *(0.1 * jax.random.normal(next(keys), s) for s in shapes))
    return kernel_KG, {
        key: jax.random.uniform(next(keys), weight.shape(width), minval=0.1, maxval=0.5)
        for key, weight in cell.extra.items()
    }


class Trainer(NamedTuple):
    """A program that takes the gradients of all microbatches, and its arguments."""

    program: jax.stages.Compiled
    arguments: tuple[Any, ...]

    def __call__(self) -> None:
        """Takes the gradients and waits for them."""
        jax.block_until_ready(self.program(*self.arguments))

    @property
    def temporary_bytes(self) -> int:
        """The memory that the program needs beside its arguments and results."""
        memory: Any = self.program.memory_analysis()
        return int(memory.temp_size_in_bytes)


def trainer(name: str, layer: Layer, width: int = WIDTH, num_steps: int = NUM_STEPS) -> Trainer:
    """Returns what trains a layer of `width` units, which reads as many numbers a time step."""
    weight_key, input_key = jax.random.split(jax.random.key(0))
    x_CTBI = jax.random.normal(input_key, (MICROBATCHES, num_steps, BATCH, width))

    def loss(kernel_KG: jax.Array, extra: Extra, x_TBI: jax.Array) -> jax.Array:
        return jnp.sum(layer(kernel_KG, extra, x_TBI) * x_TBI)

    @jax.jit
    def program(kernel_KG: jax.Array, extra: Extra, x_CTBI: jax.Array) -> Any:
        def gradients(x_TBI: jax.Array) -> Any:
            gradient = jax.grad(loss, (0, 1, 2))(kernel_KG, extra, x_TBI)
            *of_weights, dx_TBI = lax.optimization_barrier(gradient)
            return of_weights, dx_TBI[0]  # behind the barrier: all of it is computed, a row kept

        return lax.map(gradients, x_CTBI)

    arguments = (*weights(name, width, weight_key), x_CTBI)
    return Trainer(program.lower(*arguments).compile(), arguments)


def cpu_seconds(trainers: Mapping[Case, Trainer], rounds: int) -> dict[Case, list[float]]:
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
    parser.add_argument("--hidden-size", type=int, default=WIDTH, help="units, and inputs")
    parser.add_argument("--rounds", type=int, default=14)
    options = parser.parse_args()
    trainers = {
        (name, way): trainer(name, layer, options.hidden_size)
        for name in options.cells
        for way, layer in LAYERS[name].items()
    }
    seconds = cpu_seconds(trainers, options.rounds)
    print(
        f"CPU time of a microbatch of {BATCH}, {NUM_STEPS} time steps, {options.hidden_size} units"
    )
    for (name, way), taken in seconds.items():
        ratio = median(taken) / median(seconds[name, "ours"])
        print(
            f"{name:14} {way:18} {1e3 * median(taken):7.1f} ms (least {1e3 * min(taken):.1f}), "
            f"ours is {ratio:.2f}x as fast"
        )


if __name__ == "__main__":
    main()
