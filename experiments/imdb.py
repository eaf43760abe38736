"""Whether a review of a film praises it: 25,000 reviews to learn from, by TensorFlow Datasets.

    make experiment NAME=imdb

Untried: no network where this project is measured. Saying the commonest class gets 0.50 in test
accuracy; well-tuned LSTMs of one layer get 0.86 to 0.89. The recipe is that of `sentiment`.
"""

from lstm_jax import Experiment, Text

experiment = Experiment(
    task=Text(dataset="imdb_reviews", pooling="mean", word_dropout=0.3, max_length=400),
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
    total_examples=5 * 22_500,
    log_every=50,
    num_evals=12,
    restore_best=True,
)
