"""Ten symbols to be said again after a delay, by three cells and three delays.

make experiment NAME=copying

"""

from lstm_jax import Copying, Experiment

experiment = Experiment(
    task=Copying(delay=(10, 30, 100)),
    cell=("rnn", "gru", "lstm"),
    hidden_size=64,
    learning_rate=3e-3,
    seed=(0, 1, 2, 3, 4),
    train_examples=32 * 4_000,
    batch_size=32,
    kernel_init="orthogonal",
    schedule="cosine",
    clip_norm=1.0,
    log_every=50,
)
