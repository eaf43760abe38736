"""A cell from outside the package, and the same cell as a plain scan under autodiff.

UGRNN: Collins, Sohl-Dickstein and Sussillo, "Capacity and trainability in recurrent neural
networks" (2017): g = sigmoid(.), n = tanh(.), h = g * h + (1 - g) * n.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.jax_peers import settings
from benchmarks.task import Setting, Task
from lstm_jax.cells.cell import Cell, Extra, State


def _pointwise(z_BG: jax.Array, state: State, extra: Extra) -> State:
    z_g, z_n = jnp.split(z_BG, 2, axis=1)
    g = jax.nn.sigmoid(z_g)
    return (g * state[0] + (1 - g) * jnp.tanh(z_n),)


ugrnn = Cell(name="ugrnn", columns=("g", "n"), pointwise=_pointwise)


def plain_scan(task: Task) -> dict[str, Setting]:
    """Returns the cell as a plain scan, after one product of the inputs for all rows."""

    def logits_of(params: Any, images: jax.Array) -> jax.Array:
        inputs, recurrent = jnp.split(params["ugrnn_kernel"], 2)
        x_BTH = images @ params["hidden_kernel"] + params["hidden_bias"]
        x_TBG = (x_BTH @ inputs + params["ugrnn_bias"]).swapaxes(0, 1)

        def row(h_BH: jax.Array, x_BG: jax.Array) -> tuple[jax.Array, None]:
            return _pointwise(x_BG + h_BH @ recurrent, (h_BH,), {})[0], None

        zeros_BH = jnp.zeros((len(images), task.case.hidden_size), jnp.float32)
        h_BH, _ = jax.lax.scan(row, zeros_BH, x_TBG)
        return h_BH @ params["output_kernel"] + params["output_bias"]

    return settings(task, dict(task.weights), logits_of)
