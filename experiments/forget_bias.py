"""The initial bias of the forget gate (Jozefowicz, Zaremba and Sutskever, 2015).

    make experiment NAME=forget_bias

The adding problem of 200 time steps, five seeds, stopped after 1,000 steps, when not all seeds have
learned it; the constant answer 1 has an error of 0.167. Expect a test squared error of 0.0013 +-
0.0005 with a bias of 2. On validation it is 0.0015 +- 0.0006 with 2, 0.0022 +- 0.0019 with 1, and
0.060 +- 0.080 with 0, where some seeds have not started to learn. Verdict: a bias of at least 1 is
needed here, as the paper says; five seeds show no difference between 1 and 2. About 3 minutes on
two CPU cores shared with other work.
"""

from lstm_jax import Adding, Experiment

experiment = Experiment(
    task=Adding(length=200),
    hidden_size=32,
    forget_bias=(0.0, 1.0, 2.0),
    learning_rate=3e-3,
    seed=(0, 1, 2, 3, 4),
    total_steps=1_000,
    batch_size=64,
    kernel_init="orthogonal",
    schedule="cosine",
    clip_norm=1.0,
    log_every=50,
)
