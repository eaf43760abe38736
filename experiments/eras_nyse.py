"""Tomorrow's trading volume on the New York Stock Exchange, by cells of both eras.

    make experiment NAME=eras_nyse
    .venv/bin/python -m benchmarks.equal_terms eras_nyse

It needs the file of `nyse`, and has its regularisation, which was chosen for an LSTM. About 16,000
parameters each; the second command chooses each cell's rate of two on validation, with one seed,
and trains it with three others. A linear autoregression on the same window has 0.642, the last
value 0.896. Expect a test squared error of 0.634 +- 0.005 (LSTM), 0.634 +- 0.004 (sLSTM), 0.639 +-
0.001 (GRU), 0.649 +- 0.002 (tanh RNN), 0.656 +- 0.004 (LRU), 0.667 +- 0.014 (RG-LRU), 0.679 +-
0.003 (ParaGRU), 0.680 +- 0.001 (IndRNN) and 0.693 +- 0.001 (minGRU). Verdict: with five days of
input the classic gates are ahead, and three cells only of nine are below the linear model. About 6
minutes on one CPU core shared with other work.
"""

import os

from lstm_jax import Forecast
from lstm_jax.config.equal_terms import equal_terms
from lstm_jax.optim import AdamW

experiment = equal_terms(
    task=Forecast(
        file=os.environ.get("NYSE_CSV") or "nyse.csv",
        target="log_volume",
        columns="DJ_return,log_volume,log_volatility",
        window=5,
        split="train",
        time="date",
    ),
    cell=("rnn", "lstm", "gru", "indrnn", "lru", "mingru", "rglru", "slstm", "paragru"),
    learning_rate=(2e-3, 6e-3),
    total_steps=3_750,
    batch_size=32,
    dropout=0.6,
    optimizer=AdamW(weight_decay=0.6),
)
