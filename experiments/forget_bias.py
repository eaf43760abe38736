"""What a forget bias buys

make experiment NAME=forget_bias

"""

from lstm_jax import Adding, Experiment

experiment = Experiment(
    task=Adding(length=200),
    hidden_size=32,
    forget_bias=(0.0, 1.0, 2.0),
    learning_rate=3e-3,
    seed=(0, 1, 2, 3, 4),
    train_examples=64 * 1_000,
    batch_size=64,
    kernel_init="orthogonal",
    schedule="cosine",
    clip_norm=1.0,
    log_every=50,
)
