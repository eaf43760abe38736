"""x"""

from lstm_jax import Captions, Experiment

experiment = Experiment(
    task=Captions(dataset="mnist", shrink=2, scenes=40_000),
    seed=(0, 1, 2),
    bidirectional=True,
    kernel_init="orthogonal",
    learning_rate=3e-3,
    schedule="cosine",
    warmup_steps=200,
    clip_norm=1.0,
    batch_size=64,
    microbatches=4,
    train_examples=5 * 40_000,
)
