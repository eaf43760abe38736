"""Chaos.

make experiment NAME=mackey_glass
"""

from lstm_jax import Experiment, Forecast

experiment = Experiment(
    task=Forecast(horizon=84),
    hidden_size=64,
    seed=(0, 1, 2),
    kernel_init="orthogonal",
    learning_rate=3e-3,
    schedule="cosine",
    warmup_steps=100,
    clip_norm=1.0,
    train_examples=25 * 15_893,
    log_every=50,
)
