"""The whole grid: four hidden sizes, five learning rates, three seeds; 60 members together.

make experiment NAME=hidden_by_lr
"""

from lstm_jax import Experiment

experiment = Experiment(
    hidden_size=(32, 64, 128, 256),
    learning_rate=(3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    seed=(0, 1, 2),
)
