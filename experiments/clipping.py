"""Gradient clipping decides between learning and divergence.

    make experiment NAME=clipping

An RNN of rectified linear units whose recurrent kernel starts as the identity (`irnn`, Le, Jaitly
and Hinton, 2015) is trained by SGD with momentum on the adding problem of 100 time steps, five
seeds; the constant answer 1 has an error of 0.167. Without clipping all five seeds diverge at step
1. Expect a test squared error of 0.042 +- 0.015 with a maximum norm of 1, and of 0.092 +- 0.058
with one of 0.1. Verdict: clipping answers the exploding gradient, as Pascanu, Mikolov and Bengio
(2013) say; a smaller norm does worse within this budget. About 3 minutes on two CPU cores shared
with other work.
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
    total_steps=3_000,
    batch_size=64,
    kernel_init="orthogonal",
    log_every=50,
)
