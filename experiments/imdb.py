"""Sentiment of film reviews: 25,000 reviews of TensorFlow Datasets.

    make experiment NAME=imdb

Untried: the machine of this project has no network. The most frequent class has a test accuracy of
0.50, and well-tuned LSTMs of one layer have 0.86 to 0.89. The recipe is that of `sentiment`, with
less word dropout.
"""

from lstm_jax import Experiment, Text
from lstm_jax.optim import AdamW

experiment = Experiment(
    task=Text(dataset="imdb_reviews", pooling="mean", word_dropout=0.3, max_length=400),
    hidden_size=64,
    bidirectional=True,
    dropout=0.5,
    learning_rate=3e-3,
    seed=(0, 1, 2),
    kernel_init="orthogonal",
    optimizer=AdamW(weight_decay=0.1),
    schedule="cosine",
    clip_norm=1.0,
    batch_size=64,
    microbatches=2,
    total_epochs=5,
    log_every=50,
    num_evals=12,
    restore_best=True,
)
