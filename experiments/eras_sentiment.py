"""Sentiment of sentences about films, by cells of both eras.

    make experiment NAME=eras_sentiment
    .venv/bin/python -m benchmarks.equal_terms eras_sentiment

It needs the file of `sentiment`, and has its regularisation. About 400,000 parameters each, nearly
all of them for words; the second command chooses each cell's rate of two on validation, with one
seed, and trains it with three others. The most frequent class has 0.504, naive Bayes 0.808. Expect,
where the head reads the mean over all words, a test accuracy of 0.777 +- 0.015 (minGRU), 0.777 +-
0.019 (RG-LRU), 0.774 (LRU and ParaGRU), 0.769 (sLSTM), 0.768 (GRU), 0.764 (tanh RNN), 0.759
(IndRNN) and 0.757 +- 0.020 (LSTM); where it reads the last output, 0.776 +- 0.034 (GRU), 0.768
(LSTM), 0.766 (RG-LRU), 0.764 (sLSTM), 0.756 (ParaGRU), 0.744 (IndRNN), 0.723 +- 0.016 (minGRU),
0.717 +- 0.087 (tanh RNN) and 0.650 +- 0.177 (LRU). Verdict: the mean of all words makes the cells
level, and none comes up to counting words. About 40 minutes on one CPU core shared with much other
work.
"""

from lstm_jax import Text
from lstm_jax.config.equal_terms import equal_terms
from lstm_jax.optim import AdamW

experiment = equal_terms(
    task=Text(dataset="data/movie_snippets.tsv", pooling=("mean", "last"), word_dropout=0.5),
    cell=("rnn", "lstm", "gru", "indrnn", "lru", "mingru", "rglru", "slstm", "paragru"),
    parameters=400_000,
    total_epochs=6,
    batch_size=64,
    dropout=0.5,
    optimizer=AdamW(weight_decay=0.1),
    num_evals=12,
    restore_best=True,
)
