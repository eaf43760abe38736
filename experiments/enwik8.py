"""Language modelling: the next byte of Wikipedia's text, from a file of your own.

    make experiment NAME=enwik8

It needs a file with the first 10 million bytes of enwik8: `head -c 10000000 enwik8 | gzip >
data/enwik8-first-10MB.gz`. The numbers of this part are not those of the whole file, which is
`--task.dataset PATH` (published: 1.23 bits per byte, with 47 million weights). Expect a test bits
per character of 2.495 +- 0.039 (three seeds: 2.509, 2.478, 2.498; 95 % interval) after one and a
half epochs. The best n-gram model (up to five bytes, interpolated) has 2.424, one of four bytes
2.720, and single bytes have 5.104: the LSTM is 2.9 % behind the best one. Its curve still falls, so
`--total-examples 400000` is the next thing to try. About 25 minutes on two CPU cores shared with
other work.
"""

from lstm_jax import Experiment, Language
from lstm_jax.config.blocks import Residual
from lstm_jax.optim import Cosine

experiment = Experiment(
    task=Language(dataset="data/enwik8-first-10MB.gz", length=128),
    cell="rglru",
    hidden_size=192,
    layers=2,
    block=Residual(norm="layer", conv=4, gate="silu", mlp=2),
    learning_rate=3e-3,
    seed=(1, 2, 3),
    kernel_init="orthogonal",
    schedule=Cosine(warmup_steps=100),
    clip_norm=1.0,
    batch_size=32,
    microbatches=2,
    total_examples=100_000,
    log_every=50,
)
