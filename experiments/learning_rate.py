"""What Adam's step size does at 128 units: six learning rates, three seeds each.

make experiment NAME=learning_rate
"""

from lstm_jax import Experiment

experiment = Experiment(learning_rate=(1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2), seed=(0, 1, 2))
