"""The usual test of a long memory: MNIST pixel by pixel, 784 steps, an LSTM of 64 units.

make experiment NAME=sequential_mnist
"""

from lstm_jax import Experiment

experiment = Experiment(
    reading="pixels",
    hidden_size=64,
    learning_rate=3e-3,
    num_examples=4 * 55_000,
    kernel_init="orthogonal",
    schedule="cosine",
    warmup_steps=100,
    clip_norm=1.0,
)
