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
steps, does not start to learn. About 11 minutes on one CPU core shared with other work.
"""

from lstm_jax import Adding, Experiment

experiment = Experiment(
    task=Adding(length=200),
    cell=("paragru", "slstm", "rglru", "mingru", "lru", "indrnn", "gru", "lstm", "rnn"),
    parameters=16_000,
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
