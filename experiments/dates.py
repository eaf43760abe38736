"""x"""

from lstm_jax import Experiment, Translation

experiment = Experiment(
    task=Translation(),
    seed=(0, 1, 2),
    hidden_size=64,
    bidirectional=True,
    kernel_init="orthogonal",
    learning_rate=5e-3,
    schedule="cosine",
    warmup_steps=50,
    clip_norm=1.0,
    batch_size=64,
    train_examples=5 * 14_000,
)
