"""Hidden size by learning rate: four sizes, five rates and three seeds are 60 members.

    make experiment NAME=hidden_by_lr

Expect hidden size 128 with a learning rate of 1e-3 as the best on validation, 0.961 +- 0.008 (95 %
interval, 3 seeds), with a test accuracy of 0.964 +- 0.005. The best rate falls from 1e-2 at 32
units to 3e-4 at 256. `docs/results.md` has the whole table. About 11.6 minutes on two CPU cores.
"""

from lstm_jax import Experiment

experiment = Experiment(
    hidden_size=(32, 64, 128, 256),
    learning_rate=(3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    seed=(0, 1, 2),
)
