"""The two troubles of recurrent networks: which cells learn to add two distant numbers.

    make experiment NAME=two_troubles

The adding problem of Hochreiter and Schmidhuber (1997), 12 settings of five seeds; the constant
answer 1 has an error of 0.167. Expect a test squared error of 0.00016 +- 0.00009 (GRU) and 0.00031
+- 0.00018 (LSTM) at length 200, and of 0.0003 and 0.0006 at length 400: all their seeds solve all
four lengths (an error below 0.01). The tanh RNN has 0.0093 +- 0.0062 at length 50, 0.0645 +- 0.0202
at 100, and no more than the trivial score from 200 on (0.178, 0.177 on this test set). Bai et al.
(2018) report the same order of cells. Verdict: gates answer the vanishing gradient; without them
memory ends between 50 and 100 time steps. About 62 minutes on two CPU cores shared with other work.
"""

from lstm_jax import Adding, Experiment

experiment = Experiment(
    task=Adding(length=(50, 100, 200, 400)),
    cell=("rnn", "gru", "lstm"),
    hidden_size=32,
    learning_rate=3e-3,
    seed=(0, 1, 2, 3, 4),
    total_steps=2_000,
    batch_size=64,
    kernel_init="orthogonal",
    schedule="cosine",
    clip_norm=1.0,
    log_every=50,
)
