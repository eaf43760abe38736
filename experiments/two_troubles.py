"""Placeholder.

make experiment NAME=two_troubles

"""

from lstm_jax import Adding, Experiment

experiment = Experiment(
    task=Adding(length=(50, 100, 200, 400)),
    cell=("rnn", "gru", "lstm"),
    hidden_size=32,
    learning_rate=3e-3,
    seed=(0, 1, 2, 3, 4),
    train_examples=64 * 2_000,
    batch_size=64,
    kernel_init="orthogonal",
    schedule="cosine",
    clip_norm=1.0,
    log_every=50,
)
