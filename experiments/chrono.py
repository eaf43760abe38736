"""chrono

make experiment NAME=chrono

"""

from lstm_jax import Copying, Experiment

experiment = Experiment(
    task=Copying(delay=100),
    forget_bias=(0.0, 1.0),
    chrono_steps=(0, 150),
    hidden_size=64,
    learning_rate=3e-3,
    seed=(0, 1, 2, 3, 4),
    train_examples=32 * 3_000,
    batch_size=32,
    kernel_init="orthogonal",
    schedule="cosine",
    clip_norm=1.0,
    log_every=50,
)
