"""Translation of dates and numbers from words into figures: every character has to be right.

    make experiment NAME=dates

The data are generated and need no network; no date or number is in two splits. Expect a test
symbol accuracy of 1.0000, and 0.9997 +- 0.0014 of the 1,000 test sentences without a mistake
(greedy decoding, 3 seeds, 95 % interval). A copy of the source has none right. About 1 minute on
two CPU cores.
"""

from lstm_jax import Experiment, Translation
from lstm_jax.optim import Cosine

experiment = Experiment(
    task=Translation(),
    seed=(0, 1, 2),
    hidden_size=64,
    bidirectional=True,
    kernel_init="orthogonal",
    learning_rate=5e-3,
    schedule=Cosine(warmup_steps=50),
    clip_norm=1.0,
    batch_size=64,
    total_examples=5 * 14_000,
)
