"""Selective copying by cell: sixteen symbols among blanks, repeated in their order.

    make experiment NAME=selective_copying
    .venv/bin/python -m benchmarks.equal_terms selective_copying

Untried.
"""

from lstm_jax import Experiment, SelectiveCopying

experiment = Experiment(
    task=SelectiveCopying(length=64),
    cell=("rnn", "lstm", "gru", "indrnn", "lru", "mingru", "rglru", "slstm", "paragru"),
    parameters=16_000,
    learning_rate=(1e-3, 3e-3, 1e-2),
    seed=100,
    total_steps=2_000,
    batch_size=64,
    microbatches=1,
    kernel_init="orthogonal",
    schedule="cosine",
    clip_norm=1.0,
    log_every=50,
)
