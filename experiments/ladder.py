"""The steps from the LSTM to the xLSTM, one by one: cells by blocks, on enwik8's first 10 MB.

    make experiment NAME=ladder
    .venv/bin/python -m benchmarks.equal_terms ladder

Untried as a whole.
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
