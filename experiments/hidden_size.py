"""What width buys: five hidden sizes, three seeds each, else the notebook's run.

make experiment NAME=hidden_size
"""

from lstm_jax import Experiment

experiment = Experiment(hidden_size=(16, 32, 64, 128, 256), seed=(0, 1, 2))
