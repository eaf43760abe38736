"""Selective copying by cell, inside two residual blocks: the cells of both eras on equal terms.

    make experiment NAME=inside_the_block
    .venv/bin/python -m benchmarks.equal_terms inside_the_block

Two blocks of a layer norm, the cell and a gated linear unit, about 16,000 parameters each. The
second command chooses each cell's rate of two on validation, with one seed, and trains it with
three others. The most frequent symbol has 0.066. Expect a test recall of 0.56 +- 0.14 (RG-LRU),
0.47 +- 0.04 (minGRU), 0.47 +- 0.07 (GRU), 0.28 +- 0.04 (LSTM), 0.26 +- 0.06 (sLSTM), 0.17 +- 0.04
(IndRNN), 0.08 +- 0.04 (LRU) and 0.06 (tanh RNN). Bare, with as many parameters, they have 0.25,
0.24, 0.08, 0.30, 0.19, 0.10, 0.09 and 0.10 (`selective_copying`). Verdict: the block doubles RG-LRU
and minGRU and wakes the GRU, and is no help to LSTM, sLSTM, LRU and tanh RNN: what a block gives
depends on the cell inside. About 52 minutes on one CPU core shared with other work.
"""

from lstm_jax import SelectiveCopying
from lstm_jax.config.blocks import Residual
from lstm_jax.config.equal_terms import equal_terms

experiment = equal_terms(
    task=SelectiveCopying(length=64),
    cell=("slstm", "rglru", "mingru", "lru", "indrnn", "gru", "lstm", "rnn"),
    layers=2,
    block=Residual(norm="layer", gate="glu"),
    total_steps=2_000,
    batch_size=64,
)
