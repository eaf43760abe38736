"""The same model on scikit-learn's bundled 8x8 scans: no network, a few seconds.

make experiment NAME=digits
"""

from lstm_jax import Experiment, Images

experiment = Experiment(task=Images(dataset="digits"), hidden_size=64, train_examples=30_000)
