"""lstm_jax: a functional JAX research codebase for LSTMs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lstm_jax.experiment import Experiment

if TYPE_CHECKING:
    from lstm_jax.use.trained import Trained

__all__ = ["Experiment", "load"]
__version__ = "0.1.0"


def load(run_dir: str | Path, member: str | None = None) -> Trained:
    """A trained member of a run: `load(run_dir).predict(images)`. See `lstm_jax.trained`."""
    from lstm_jax.use.trained import load  # starts JAX, which `import lstm_jax` must not

    return load(run_dir, member)
