"""An LSTM that writes Python, having read the standard library.

make experiment NAME=writing_code
"""

from lstm_jax import Experiment, Language

experiment = Experiment(
    task=Language(length=128),
    hidden_size=256,
    learning_rate=3e-3,
    seed=(0, 1, 2),
    kernel_init="orthogonal",
    schedule="cosine",
    warmup_steps=100,
    clip_norm=1.0,
    batch_size=32,
    microbatches=2,
    train_examples=17_335 * 6,
    log_every=50,
)
