"""The next byte of Python's source code, by cells of both eras.

    make experiment NAME=eras_python
    .venv/bin/python -m benchmarks.equal_terms eras_python

About 34,000 parameters each, 2.8 epochs; the second command chooses each cell's rate of two on
validation, with one seed, and trains it with three others. How frequent each byte is has 4.561, the
best n-gram model 2.477. Expect a test bits per character of 2.69 +- 0.04 (sLSTM), 2.77 +- 0.07
(GRU), 2.83 +- 0.02 (tanh RNN), 2.86 +- 0.01 (ParaGRU), 2.90 +- 0.01 (RG-LRU), 2.91 +- 0.03 (LSTM),
2.91 +- 0.01 (minGRU), 2.96 +- 0.02 (IndRNN) and 3.13 +- 0.02 (LRU). Verdict: the sLSTM has the
least after as many steps, though its interval meets the GRU's, and its training took a tenth
longer. All cells are best at 1e-2, the highest rate tried, and none comes below counting. About 28
minutes on one CPU core shared with other work.
"""

from lstm_jax import Language
from lstm_jax.config.equal_terms import equal_terms

experiment = equal_terms(
    task=Language(length=128),
    cell=("rnn", "lstm", "gru", "indrnn", "lru", "mingru", "rglru", "slstm", "paragru"),
    parameters=34_000,
    total_steps=1_500,
    batch_size=32,
)
