"""Mackey-Glass 84 values ahead, by cells of both eras.

    make experiment NAME=eras_mackey_glass
    .venv/bin/python -m benchmarks.equal_terms eras_mackey_glass

About 16,000 parameters each; the second command chooses each cell's rate of two on validation, with
one seed, and trains it with three others. The mean has 1.00, a linear autoregression on the same
window 0.30. Expect a test squared error of 0.0005 +- 0.0001 (LSTM), 0.0005 +- 0.0001 (GRU), 0.0006
+- 0.0002 (sLSTM), 0.0019 +- 0.0007 (tanh RNN), 0.008 +- 0.002 (ParaGRU), 0.016 +- 0.003 (RG-LRU),
0.025 +- 0.004 (minGRU), 0.051 +- 0.003 (IndRNN) and 0.325 +- 0.002 (LRU). Verdict: a chaotic series
asks for a recurrence that is not linear in its state. The bare LRU is no better than the linear
model, as it should be. About 7 minutes on one CPU core shared with other work.
"""

from lstm_jax import Forecast
from lstm_jax.config.equal_terms import equal_terms

experiment = equal_terms(
    task=Forecast(horizon=84),
    cell=("rnn", "lstm", "gru", "indrnn", "lru", "mingru", "rglru", "slstm", "paragru"),
    total_steps=5_000,
    batch_size=32,
)
