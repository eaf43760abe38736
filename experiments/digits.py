"""The model of the notebook on the 8x8 digits of scikit-learn, which need no network.

    make experiment NAME=digits

Expect a test accuracy of 0.903 (one seed). About 5 seconds on two CPU cores.
"""

from lstm_jax import Experiment
from lstm_jax.tasks.images import Images

experiment = Experiment(task=Images(dataset="digits"), hidden_size=64, total_examples=30_000)
