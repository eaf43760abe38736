"""Associative recall by cell, in a block whose convolution lets a value meet its key.

    make experiment NAME=recall
    .venv/bin/python -m benchmarks.equal_terms recall

The values of four keys, among 32 time steps, in one residual block of about 14,800 parameters, a
size that all nine cells can have. Its convolution has four taps, so that a cell reads a value
together with the key that came one time step before. Untried as a whole: about 15 minutes on one
CPU core. What was seen of it, one seed on validation, at a rate of 1e-2: mLSTM 0.992, gated
DeltaNet 0.966, GRU 0.294; without the convolution, gated DeltaNet 0.30. One of the four values at
random has about 0.25.
"""

from lstm_jax import AssociativeRecall, Experiment
from lstm_jax.config.blocks import Residual

experiment = Experiment(
    task=AssociativeRecall(pairs=4, length=32),
    cell=("gated_deltanet", "mlstm", "gru", "lstm", "slstm", "mingru", "paragru", "lru", "rnn"),
    block=Residual(norm="layer", conv=4),
    parameters=14_800,
    learning_rate=(3e-3, 1e-2),
    seed=100,
    total_steps=1_500,
    batch_size=64,
    microbatches=1,
    kernel_init="orthogonal",
    schedule="cosine",
    clip_norm=1.0,
    log_every=50,
)
