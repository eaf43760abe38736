"""The task of every peer: the same model, first weights and batches. It needs NumPy alone.

Axes: S batches kept, B batch, T rows, I pixels a row, H hidden, G = H for each gate (of the LSTM i,
j, f, o), C classes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

NUM_CLASSES = 10
NUM_BATCHES = 64  # kept in memory as float32; a peer that trains on starts over with the first
LEARNING_RATE = 1e-3

# Of each cell: the gates in its kernel, and the biases that it trains, H each.
CELLS = {"lstm": (4, 4), "gru": (3, 4), "rnn": (1, 1), "ugrnn": (2, 2)}
# Cases that differ in the model.
MODELS: dict[str, dict[str, Any]] = {
    "gru": {"cell": "gru"},
    "rnn": {"cell": "rnn"},
    "layers": {"layers": 2},
    "per_step_outputs": {"per_step_outputs": True},
    "ugrnn": {"cell": "ugrnn"},
}

# Trains (or, forward only, runs) the batches `start` to `stop`, waits for the result and returns
# the mean over them of the loss (forward only: of the absolute logits).
Run = Callable[[int, int], float]
# One way to set up a peer; each call starts from the first weights and compiles anew.
Setting = Callable[[], Run]


@dataclass(frozen=True)
class Case:
    """A case, which is one table: the model, its sizes, and the number of steps compared."""

    mode: str = "train"  # or forward, pixels, sweep, one of MODELS
    hidden_size: int = 128
    batch_size: int = 128
    rows: int = 28
    features: int = 28
    cell: str = "lstm"
    layers: int = 1
    per_step_outputs: bool = False  # the head answers at every row; otherwise at the last one
    members: int = 1  # of a sweep
    platform: str = "cpu"  # or gpu
    max_settings: int = 99  # that a peer may try; each puts the likeliest first
    warmup_steps: int = 2
    check_steps: int = 30

    @property
    def name(self) -> str:
        return f"{self.mode} H={self.hidden_size}"

    @property
    def forward(self) -> bool:
        return self.mode == "forward"

    @property
    def cell_names(self) -> list[str]:
        """A name for each layer, as in our parameters."""
        return [f"{self.cell}_{index}" if index else self.cell for index in range(self.layers)]

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def make_case(
    mode: str, hidden_size: int, cores: int, quick: bool = False, platform: str = "cpu"
) -> Case:
    """Returns the case of a mode.

    `pixels` reads 784 rows of one pixel, `sweep` trains a member on each core, and a name of
    `MODELS` is another model.
    """
    case = Case(mode, hidden_size, platform=platform, **MODELS.get(mode, {}))
    if quick:
        case = replace(case, max_settings=2, check_steps=16)
    if mode == "pixels":
        return replace(case, rows=784, features=1, warmup_steps=1, check_steps=4)
    return replace(case, members=cores) if mode == "sweep" else case


class Task(NamedTuple):
    """A case with its arrays. Images are float32 in [0, 1]."""

    case: Case
    folder: Path
    weights: dict[str, np.ndarray]
    images_SBTI: np.ndarray
    labels_SB: np.ndarray


def make_weights(case: Case, seed: int) -> dict[str, np.ndarray]:
    """Returns the notebook's first weights. A cell's kernel is [inputs; recurrent], its bias 0."""
    rng = np.random.default_rng(seed)
    hidden, (gates, biases) = case.hidden_size, CELLS[case.cell]
    limit = np.sqrt(6 / (2 * hidden + gates * hidden))  # Glorot, uniform
    weights = {
        "hidden_kernel": rng.normal(size=(case.features, hidden)),
        "hidden_bias": np.full(hidden, 0.1),
    }
    for name in case.cell_names:
        shape = 2 * hidden, gates * hidden
        weights[f"{name}_kernel"] = rng.uniform(-limit, limit, size=shape)
        weights[f"{name}_bias"] = np.zeros(biases * hidden)
    weights["output_kernel"] = rng.normal(size=(hidden, NUM_CLASSES))
    weights["output_bias"] = np.full(NUM_CLASSES, 0.1)
    return {name: value.astype(np.float32) for name, value in weights.items()}


def weights_file(case: Case) -> str:
    return f"weights_{case.mode}_{case.hidden_size}.npz"


def load_task(case: Case, folder: Path) -> Task:
    """Returns a case with its arrays, from the files that `compare` wrote to `folder`."""
    with np.load(folder / "batches.npz") as arrays:
        images, labels = arrays["images"], arrays["labels"]
    with np.load(folder / weights_file(case)) as arrays:
        weights = dict(arrays)
    images = images.astype(np.float32) / np.float32(255)
    shape = (NUM_BATCHES, case.batch_size, case.rows, case.features)
    return Task(case, folder, weights, images.reshape(shape), labels.reshape(shape[:2]))


def load_whole(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Returns the whole training split as lstm_jax holds it: uint8 [N,T,I] and int32 [N]."""
    with np.load(task.folder / "whole.npz") as arrays:
        images, labels = arrays["images"], arrays["labels"]
    return images.reshape(-1, task.case.rows, task.case.features), labels


def gates_in_order(array: np.ndarray, order: str) -> np.ndarray:
    """Returns the array with gates i, j, f, o of its last axis in another order, as "ifjo"."""
    parts = dict(zip("ijfo", np.split(array, 4, axis=-1), strict=True))
    return np.concatenate([parts[gate] for gate in order], axis=-1)


def forget_plus_one(bias_G: np.ndarray, order: str) -> np.ndarray:
    """Returns the LSTM's bias in another order of gates, with the notebook's +1 on the forget gate.

    Function and training stay the same: Adam sees gradients, never the value of a bias.
    """
    parts = dict(zip("ijfo", np.split(bias_G, 4), strict=True))
    parts["f"] = parts["f"] + 1
    return np.concatenate([parts[gate] for gate in order])


def spans(start: int, stop: int) -> Iterator[slice]:
    """Yields steps `start` to `stop` as slices of the kept batches, which repeat."""
    while start < stop:
        first = start % NUM_BATCHES
        length = min(stop - start, NUM_BATCHES - first)
        yield slice(first, first + length)
        start += length


class Product(NamedTuple):
    """`number` products [m, k] x [k, n]."""

    number: int
    m: int
    k: int
    n: int

    @property
    def flop(self) -> int:
        return 2 * self.number * self.m * self.k * self.n


def products(case: Case) -> tuple[Product, ...]:
    """Returns the matrix products of a step of the fused model, which no implementation can omit.

    Each layer multiplies [x, 1, h] by the stacked kernel at each row. The backward pass multiplies
    the gates' gradient by the recurrent kernel at each row. The gradients of the stacked kernel and
    of the layer below are one product over all rows.
    """
    gates, rows, batch = CELLS[case.cell][0] * case.hidden_size, case.rows, case.batch_size
    result = []
    for index in range(case.layers):
        width = (case.hidden_size if index else case.features) + 1 + case.hidden_size
        result.append(Product(rows, batch, width, gates))
        if not case.forward:
            result.append(Product(rows, batch, gates, case.hidden_size))
            result.append(Product(1, width, rows * batch, gates))
            if index:
                result.append(Product(1, rows * batch, gates, case.hidden_size))
    return tuple(result)


def flop(case: Case) -> int:
    """Returns the floating-point operations of these products in one step."""
    return sum(product.flop for product in products(case))
