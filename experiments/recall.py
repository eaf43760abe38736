"""Associative recall by cell: the values of four keys, among 64 time steps.

    make experiment NAME=recall
    .venv/bin/python -m benchmarks.equal_terms recall

Untried as a whole: it takes about two hours on one CPU core. What was seen of it, one seed on
validation: after 4,500 of 6,000 steps gated DeltaNet has 0.530, and ParaGRU, whose steps take a
quarter of the time, 0.302 after 3,000; one of the four values at random has 0.25.
"""

from lstm_jax import AssociativeRecall, Experiment

experiment = Experiment(
    task=AssociativeRecall(pairs=4, length=64),
    cell=("paragru", "gated_deltanet", "mlstm", "slstm", "mingru", "lru", "gru", "lstm", "rnn"),
    parameters=16_000,
    learning_rate=(3e-3, 1e-2),
    seed=100,
    total_steps=6_000,
    batch_size=64,
    microbatches=1,
    kernel_init="orthogonal",
    schedule="cosine",
    clip_norm=1.0,
    log_every=50,
)
