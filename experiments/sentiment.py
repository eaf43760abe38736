"""Whether a sentence about a film praises it.

    make experiment NAME=sentiment

It needs a file, `data/movie_snippets.tsv` (or `--task.dataset PATH`): a label, a tab, a text, a
line each. Expect a test accuracy of 0.783 +- 0.023 (95 % interval, 3 seeds; validation 0.770), the
best of twelve looks at validation kept; the commonest class gets 0.50, naive Bayes on words and
pairs 0.794 (5 folds). Verdict: with 8,453 sentences to learn from, a recurrent network comes near
counting words and does not pass it. About 3 minutes on two CPU cores busy with other work.
"""

from lstm_jax import Experiment, Text

experiment = Experiment(
    task=Text(dataset="data/movie_snippets.tsv", pooling="mean", word_dropout=0.3),
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
    total_examples=8453 * 6,
    log_every=50,
    num_evals=12,
    restore_best=True,
)
