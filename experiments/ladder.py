"""The steps from the LSTM to the xLSTM, one by one: cells by blocks, on enwik8's first 10 MB.

    make experiment NAME=ladder
    .venv/bin/python -m benchmarks.equal_terms ladder

Three cells in two layers, bare, in residual blocks with a layer norm, and in wider ones with a
convolution: about 40,000 parameters each, a number that all nine can have. It needs the file that
`enwik8` describes. Untried as a whole: about 75 minutes on one CPU core. What was seen of it, one
seed on validation, the better rate of two (1e-2 for all), bits per character; single bytes have
5.10 on the test:

    cell     bare    residual, norm    wider, convolution
    LSTM     3.44    2.88              2.93
    sLSTM    3.43    2.84              2.90
    mLSTM    3.17    3.02              3.00

The residual sum and the norm make most of the way. Exponential gates add little to it, a wider
layer with a convolution nothing at equal parameters; the matrix memory is best bare and last inside
of a block.
"""

from lstm_jax import Experiment, Language
from lstm_jax.config.blocks import Plain, Residual

experiment = Experiment(
    task=Language(dataset="data/enwik8-first-10MB.gz", length=128),
    cell=("lstm", "slstm", "mlstm"),
    layers=2,
    block=(
        Plain(),
        Residual(norm="layer"),
        Residual(norm="layer", expand=2.0, conv=4),
    ),
    parameters=40_000,
    learning_rate=(3e-3, 1e-2),
    seed=100,
    total_steps=800,
    batch_size=32,
    microbatches=1,
    kernel_init="orthogonal",
    schedule="cosine",
    clip_norm=1.0,
    log_every=50,
)
