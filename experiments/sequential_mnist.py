"""The usual test of a long memory: MNIST pixel by pixel, 784 steps, an LSTM of 64 units.

    make experiment NAME=sequential_mnist

Chrono initialisation lets its units remember from the first step on. Expect a test accuracy of
0.965 after eight epochs (one seed). About 8 minutes on two CPU cores.
"""

from lstm_jax import Experiment
from lstm_jax.tasks.images import Images

experiment = Experiment(
    task=Images(reading="pixels"),
    hidden_size=64,
    learning_rate=3e-3,
    train_examples=8 * 55_000,
    kernel_init="orthogonal",
    forget_bias=0.0,
    chrono_steps=784,
    schedule="cosine",
    warmup_steps=100,
    clip_norm=1.0,
)
