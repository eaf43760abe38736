"""lstm_jax: a functional JAX research codebase for LSTMs."""

from lstm_jax.config import Experiment

__all__ = ["Experiment"]
__version__ = "0.1.0"
