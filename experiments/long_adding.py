"""The adding problem over 200 time steps, by cell.

    make experiment NAME=long_adding
    .venv/bin/python -m benchmarks.equal_terms long_adding

About 16,000 parameters each, one layer without a block; the second command chooses each cell's rate
of two on validation, with one seed, and trains it with three others. The best answer that ignores
the input has 0.178. Expect a test squared error of 0.000030 +- 0.000008 (GRU), 0.000038 +- 0.000035
(sLSTM), 0.000045 +- 0.000041 (RG-LRU), 0.00011 +- 0.00013 (LSTM), 0.00011 +- 0.00025 (ParaGRU),
0.00080 +- 0.00031 (minGRU) and 0.178 (tanh RNN, IndRNN and LRU). Verdict: gates solve it whether
they read the state or the input alone; a linear recurrence without gates cannot multiply a number
by its mark, and the bare LRU learns nothing. IndRNN, which Li et al. (2018) train on 5,000 time
steps, does not start to learn. About 25 minutes on one CPU core shared with other work.
"""

from lstm_jax import Adding
from lstm_jax.config.equal_terms import equal_terms

experiment = equal_terms(
    task=Adding(length=200),
    cell=("paragru", "slstm", "rglru", "mingru", "lru", "indrnn", "gru", "lstm", "rnn"),
    total_steps=1_500,
    batch_size=64,
)
