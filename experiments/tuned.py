"""The best row LSTM of 128 units that these tools found, chosen on validation accuracy.

make experiment NAME=tuned
"""

from lstm_jax import Experiment

experiment = Experiment(
    learning_rate=3e-3,
    seed=(0, 1, 2, 3, 4),
    num_examples=40 * 55_000,
    kernel_init="orthogonal",
    schedule="cosine",
    warmup_steps=400,
    clip_norm=1.0,
    shift=2,
    label_smoothing=0.05,
    log_every=430,
)
