"""DOC"""

import os

from lstm_jax import Experiment, Forecast

experiment = Experiment(
    task=Forecast(
        file=os.environ.get("NYSE_CSV") or "nyse.csv",
        target="log_volume",
        columns="DJ_return,log_volume,log_volatility",
        window=5,
        split="train",
        time="date",
    ),
    hidden_size=64,
    seed=(0, 1, 2, 3, 4),
    kernel_init="orthogonal",
    dropout=0.6,
    optimizer="adamw",
    weight_decay=0.6,
    learning_rate=6e-3,
    schedule="cosine",
    clip_norm=1.0,
    microbatches=1,
    train_examples=120_000,
)
