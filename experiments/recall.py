"""Associative recall by cell: the values of four keys, among 64 time steps.

    make experiment NAME=recall
    .venv/bin/python -m benchmarks.equal_terms recall

Untried.
"""

from lstm_jax import AssociativeRecall, Experiment

experiment = Experiment(
    task=AssociativeRecall(pairs=4, length=64),
    cell=("paragru", "gated_deltanet", "mlstm", "slstm", "mingru", "lru", "gru", "lstm", "rnn"),
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
