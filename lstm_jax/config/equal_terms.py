"""The recipe of the experiments that compare cells on equal terms: rules 1 and 2 of
docs/comparison.md.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from lstm_jax.config.experiment import Experiment

RECIPE = MappingProxyType(
    {
        "parameters": 16_000,
        "learning_rate": (3e-3, 1e-2),
        "seed": 100,  # chooses the rate, and has no part in the result
        "microbatches": 1,
        "kernel_init": "orthogonal",
        "schedule": "cosine",
        "clip_norm": 1.0,
        "log_every": 50,
    }
)


def equal_terms(**values: Any) -> Experiment:
    """Returns an experiment with these values, and the recipe above for all fields they leave out.

    `python -m benchmarks.equal_terms` makes a table of it. Raises UserError as `Experiment` does.
    """
    return Experiment(**(RECIPE | values))
