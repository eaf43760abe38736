"""Whether a sentence about a film praises it.

    make experiment NAME=sentiment

It needs a file, `data/movie_snippets.tsv` (or `--task.dataset PATH`): a label, a tab, a text, a
line each. SENTIMENT
"""

from lstm_jax import Experiment, Text

experiment = Experiment(
    task=Text(dataset="data/movie_snippets.tsv", answer="mean", word_dropout=0.3),
    hidden_size=64,
    bidirectional=True,
    dropout=0.5,
    learning_rate=3e-3,
    seed=(0, 1, 2),
    kernel_init="orthogonal",
    optimizer="adamw",
    weight_decay=0.1,
    schedule="cosine",
    clip_norm=1.0,
    batch_size=64,
    microbatches=2,
    train_examples=8453 * 6,
    log_every=50,
    looks=12,
    keep="best",
)
