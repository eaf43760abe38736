"""lstm_jax: a functional JAX research codebase for recurrent networks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lstm_jax.experiment import Experiment
from lstm_jax.search import Search
from lstm_jax.tasks.captions import Captions
from lstm_jax.tasks.images import Images
from lstm_jax.tasks.translation import Translation

if TYPE_CHECKING:
    from lstm_jax.use.trained import Trained

__all__ = ["Captions", "Experiment", "Images", "Search", "Translation", "load"]
__version__ = "0.2.0"


def load(run_dir: str | Path, member: str | None = None) -> Trained:
    """Returns a trained member of a run: `load(run_dir).predict(images)`."""
    from lstm_jax.use.trained import load  # starts JAX, which `import lstm_jax` must not

    return load(run_dir, member)
