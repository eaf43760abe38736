"""Harder than pixel by pixel: the 784 pixels in an order shuffled once for all.

make experiment NAME=permuted_mnist
"""

from lstm_jax import Experiment

experiment = Experiment(
    reading="permuted",
    hidden_size=64,
    learning_rate=3e-3,
    num_examples=4 * 55_000,
    kernel_init="orthogonal",
    schedule="cosine",
    warmup_steps=100,
    clip_norm=1.0,
)
