"""Permuted MNIST of 14 x 14 pixels, by cell: 196 time steps of one pixel in a random order.

    make experiment NAME=pixels
    .venv/bin/python -m benchmarks.equal_terms pixels

About 16,000 parameters each, one layer without a block, one epoch; the second command chooses each
cell's rate of two on validation, with one seed, and trains it with three others. The most frequent
digit has 0.114. Expect a test accuracy of 0.800 +- 0.001 (LRU), 0.781 +- 0.019 (GRU), 0.769 +-
0.015 (tanh RNN), 0.742 +- 0.055 (sLSTM), 0.729 +- 0.029 (LSTM), 0.447 +- 0.028 (ParaGRU), 0.447 +-
0.011 (RG-LRU), 0.403 +- 0.020 (IndRNN) and 0.382 +- 0.032 (minGRU). Published, of all 784 pixels
after many epochs: 0.949 for expRNN with 16,000 parameters. Verdict: bare cells without a product in
the loop are far behind, except the LRU, which has the most, though its interval meets the GRU's; a
plain RNN is level with the gated classics in so short a budget. Chrono initialisation (196) helps
neither minGRU (0.402) nor GRU (0.764). About 60 minutes on one CPU core shared with much other
work, without sLSTM and RG-LRU.
"""

from lstm_jax import Images
from lstm_jax.config.equal_terms import equal_terms
from lstm_jax.optim import Cosine

experiment = equal_terms(
    task=Images(reading="permuted", pool=2),
    cell=("rnn", "lstm", "gru", "indrnn", "lru", "mingru", "rglru", "slstm", "paragru"),
    total_epochs=1,
    batch_size=32,
    schedule=Cosine(warmup_steps=100),
)
