"""Tomorrow's trading volume.

make experiment NAME=nyse
"""

from lstm_jax import Experiment, Forecast

experiment = Experiment(
    task=Forecast(
        file="nyse.csv",
        target="log_volume",
        columns="DJ_return,log_volume,log_volatility",
        window=5,
        split="train",
        time="date",
    ),
    hidden_size=16,
    seed=(0, 1, 2),
    kernel_init="orthogonal",
    learning_rate=3e-3,
    schedule="cosine",
    clip_norm=1.0,
    train_examples=30 * 3848,
)
