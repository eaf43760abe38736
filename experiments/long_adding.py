"""The adding problem over 200 time steps, by cell.

    make experiment NAME=long_adding
    .venv/bin/python -m benchmarks.equal_terms long_adding

Untried.
"""

from lstm_jax import Adding, Experiment

experiment = Experiment(
    task=Adding(length=200),
    cell=("paragru", "slstm", "mingru", "lru", "indrnn", "gru", "lstm", "rnn"),
    parameters=16_000,
    learning_rate=(3e-3, 1e-2),
    seed=100,
    total_steps=1_500,
    batch_size=64,
    microbatches=1,
    kernel_init="orthogonal",
    schedule="cosine",
    clip_norm=1.0,
    log_every=50,
)
