"""The copying problem by cell and delay: ten symbols are repeated after a delay.

    make experiment NAME=copying

Hochreiter and Schmidhuber (1997), in the form of Arjovsky, Shah and Bengio (2016), who found that
an LSTM does not beat the trivial score at long delays. Five seeds, 4,000 steps; a guess recalls
0.125. Expect a test recall of 0.73 +- 0.06 (LSTM, a delay of 10 time steps). On validation, for
delays of 10, 30 and 100: LSTM 0.73, 0.35, 0.19; GRU 0.62, 0.60, 0.50 (+- 0.03 to 0.10); tanh RNN
0.12 each. Verdict: no cell solves it within this budget. The gated cells remember a part, the GRU
much more than the LSTM at long delays, and the tanh RNN nothing. About 13 minutes on two CPU cores
shared with other work.
"""

from lstm_jax import Copying, Experiment

experiment = Experiment(
    task=Copying(delay=(10, 30, 100)),
    cell=("rnn", "gru", "lstm"),
    hidden_size=64,
    learning_rate=3e-3,
    seed=(0, 1, 2, 3, 4),
    total_steps=4_000,
    batch_size=32,
    kernel_init="orthogonal",
    schedule="cosine",
    clip_norm=1.0,
    log_every=50,
)
