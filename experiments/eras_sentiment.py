"""Sentiment of sentences about films, by cells of both eras.

    make experiment NAME=eras_sentiment
    .venv/bin/python -m benchmarks.equal_terms eras_sentiment

It needs the file of `sentiment`, and has its regularisation.
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
