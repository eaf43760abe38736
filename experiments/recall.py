"""Associative recall by cell, in a block whose convolution lets a value meet its key.

    make experiment NAME=recall
    .venv/bin/python -m benchmarks.equal_terms recall

The values of four keys, among 32 time steps, in one residual block of about 14,800 parameters, a
size that all these cells can have. Its convolution has four taps, so that a cell reads a value
together with the key that came one time step before. The second command chooses each cell's rate of
two on validation, with one seed, and trains it with three others. The most frequent value has
0.037, the most frequent of the four 0.295. Expect a test recall of 0.993 +- 0.026 (gated DeltaNet),
0.989 +- 0.031 (mLSTM), 0.29 to 0.30 (GRU, LSTM, IndRNN, sLSTM, minGRU, RG-LRU and ParaGRU), 0.254
+- 0.019 (LRU) and 0.13 +- 0.06 (tanh RNN). With `--block.conv 0`, at a
rate of 1e-2, mLSTM has 0.294 +- 0.007 and gated DeltaNet 0.297 +- 0.006. Verdict: in this budget
only a matrix memory recalls a value by its key, and only behind a convolution that puts both into
one time step. About 21 minutes on one CPU core shared with other work.
"""

from lstm_jax import AssociativeRecall
from lstm_jax.config.blocks import Residual
from lstm_jax.config.equal_terms import equal_terms

experiment = equal_terms(
    task=AssociativeRecall(pairs=4, length=32),
    cell=("gated_deltanet", "mlstm", "gru", "lstm", "slstm", "mingru", "rglru", "paragru", "lru",
          "indrnn", "rnn"),
    block=Residual(norm="layer", conv=4),
    parameters=14_800,
    total_steps=1_500,
    batch_size=64,
)  # fmt: skip
