"""Selective copying by cell: sixteen symbols among blanks, repeated in their order.

    make experiment NAME=selective_copying
    .venv/bin/python -m benchmarks.equal_terms selective_copying

Sixteen symbols of sixteen kinds lie among 64 time steps; a guess recalls 0.066. About 16,000
parameters each, one layer without a block, 2,000 steps; the second command chooses each cell's rate
of three on validation, with one seed, and trains it with three others. Expect a test recall of 0.51
+- 0.11 (ParaGRU), 0.30 +- 0.02 (LSTM), 0.25 +- 0.00 (RG-LRU), 0.24 +- 0.01 (minGRU), 0.19 +- 0.10
(sLSTM), 0.10 +- 0.04 (tanh RNN), 0.10 +- 0.10 (IndRNN), 0.09 +- 0.06 (LRU) and 0.08 +- 0.07 (GRU).
Published, among 4,096 time steps: about 0.37 for one layer of minGRU and 0.995 for three (Feng et
al., 2024); 0.18 for S4, which like the LRU does not select, and 0.97 for the same with selection
(Gu and Dao, 2023). Verdict: among linear cells those whose gates read the input lead the LRU, which
has none, as Mamba's authors say; two cells whose gates read their state, LSTM and ParaGRU, are
ahead of them, and the GRU does not start to learn in this budget. ParaGRU, RG-LRU, minGRU and sLSTM
are best at the highest rate, 1e-2. About 33 minutes on one CPU core shared with other work.
"""

from lstm_jax import SelectiveCopying
from lstm_jax.config.equal_terms import equal_terms

experiment = equal_terms(
    task=SelectiveCopying(length=64),
    cell=("rnn", "lstm", "gru", "indrnn", "lru", "mingru", "rglru", "slstm", "paragru"),
    learning_rate=(1e-3, 3e-3, 1e-2),
    total_steps=2_000,
    batch_size=64,
)
