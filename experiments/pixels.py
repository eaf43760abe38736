"""Permuted MNIST of 14 x 14 pixels, by cell: 196 time steps of one pixel in a random order.

    make experiment NAME=pixels
    .venv/bin/python -m benchmarks.equal_terms pixels

Untried.
"""

from lstm_jax import Experiment, Images
from lstm_jax.optim import Cosine

experiment = Experiment(
    task=Images(reading="permuted", pool=2),
    cell=("rnn", "lstm", "gru", "indrnn", "lru", "mingru", "paragru"),
    parameters=16_000,
    learning_rate=(3e-3, 1e-2),
    seed=100,
    total_epochs=1,
    batch_size=32,
    microbatches=1,
    kernel_init="orthogonal",
    schedule=Cosine(warmup_steps=100),
    clip_norm=1.0,
    log_every=50,
)
