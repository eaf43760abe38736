"""The whole grid: four hidden sizes, five learning rates, three seeds; 60 members together.

    make experiment NAME=hidden_by_lr

Expect hidden 128, learning rate 1e-3 as the best on validation, 0.961 +- 0.008 (95 % interval,
3 seeds), with a test accuracy of 0.964 +- 0.005; the best rate falls from 1e-2 at 32 units to 3e-4
at 256. The whole map is in the README. About 11.6 minutes on two CPU cores.
"""

from lstm_jax import Experiment

experiment = Experiment(
    hidden_size=(32, 64, 128, 256),
    learning_rate=(3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    seed=(0, 1, 2),
)
