"""Time scales as one knob: the adding problem by cell, with units opened for ever longer times.

    make experiment NAME=time_scales
    .venv/bin/python -m benchmarks.equal_terms time_scales

Untried as a whole.
"""

from lstm_jax import Adding, Experiment

experiment = Experiment(
    task=Adding(length=200),
    cell=("lstm", "mingru", "gru", "paragru", "slstm", "rglru"),
    chrono_steps=(0, 16, 64, 256, 1024),
    parameters=16_000,
    learning_rate=1e-2,
    seed=100,
    total_steps=500,
    batch_size=64,
    microbatches=1,
    kernel_init="orthogonal",
    schedule="cosine",
    clip_norm=1.0,
    log_every=50,
)
