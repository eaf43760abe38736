"""Selective copying by cell, inside one residual block: the cells of both eras on equal terms.

    make experiment NAME=inside_the_block
    .venv/bin/python -m benchmarks.equal_terms inside_the_block

Untried.
"""

from lstm_jax import Experiment, SelectiveCopying
from lstm_jax.config.blocks import Residual

experiment = Experiment(
    task=SelectiveCopying(length=64),
    cell=("slstm", "mingru", "lru", "gru", "lstm", "rnn"),
    layers=2,
    block=Residual(norm="layer", gate="glu"),
    parameters=16_000,
    learning_rate=(3e-3, 1e-2),
    seed=100,
    total_steps=2_000,
    batch_size=64,
    microbatches=1,
    kernel_init="orthogonal",
    schedule="cosine",
    clip_norm=1.0,
    log_every=50,
)
