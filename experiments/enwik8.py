"""The next byte of Wikipedia's text, from a file of one's own.

    make experiment NAME=enwik8

Untried to its end here. It needs `data/enwik8.gz` (or `--task.dataset PATH`), plain or gzip: the
first 100 million bytes of a dump of Wikipedia. A slice is another set: say so beside a number.
Published on the whole: 1.23 bits a byte (47 million weights); hundreds of times this budget.
"""

from lstm_jax import Experiment, Language

experiment = Experiment(
    task=Language(dataset="data/enwik8.gz", length=128),
    hidden_size=512,
    learning_rate=2e-3,
    seed=(0, 1, 2),
    kernel_init="orthogonal",
    schedule="cosine",
    warmup_steps=200,
    clip_norm=1.0,
    batch_size=64,
    microbatches=4,
    train_examples=400_000,
    log_every=50,
)
