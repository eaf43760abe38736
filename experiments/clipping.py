"""clipping

make experiment NAME=clipping

"""

from lstm_jax import Adding, Experiment

experiment = Experiment(
    task=Adding(length=100),
    cell="irnn",
    clip_norm=(None, 0.1, 1.0),
    optimizer="sgd",
    learning_rate=1e-2,
    hidden_size=64,
    seed=(0, 1, 2, 3, 4),
    train_examples=64 * 3_000,
    batch_size=64,
    kernel_init="orthogonal",
    log_every=50,
)
