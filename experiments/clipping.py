"""A bound on the gradient's norm decides between learning and diverging.

    make experiment NAME=clipping

A network of rectified units that starts from the identity (`irnn`, Le, Jaitly and Hinton, 2015),
trained by plain descent with momentum on the adding problem of 100 rows, five seeds. Always
answering 1 costs 0.167. Without a bound all five seeds diverge at step 1. Expect a test squared
error of 0.042 +- 0.015 with a bound of 1, and of 0.092 +- 0.058 with one of 0.1. Verdict: as
Pascanu, Mikolov and Bengio (2013) say, clipping answers the exploding gradient; a tighter bound
does worse in this budget. About 3 minutes on two CPU cores busy with other work.
"""

from lstm_jax import Adding, Experiment

experiment = Experiment(
    task=Adding(length=100),
    cell="irnn",
    clip_norm=(None, 0.1, 1.0),
    optimizer="sgd",
    learning_rate=1e-2,
    hidden_size=64,
    seed=(0, 1, 2, 3, 4),
    total_examples=64 * 3_000,
    batch_size=64,
    kernel_init="orthogonal",
    log_every=50,
)
