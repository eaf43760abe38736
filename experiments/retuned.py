"""One LSTM under four recipes: how much of published progress is tuning.

    make experiment NAME=retuned
    .venv/bin/lstm-jax run retuned --optimizer rmsprop --optimizer.decay 0.99 --learning-rate 7e-4 \
        --schedule constant --clip-norm none --chrono-steps 0 --batch-size 128 --microbatches 8
    .venv/bin/lstm-jax run retuned --learning-rate 1e-3 --schedule constant --clip-norm none \
        --chrono-steps 0 --batch-size 100 --microbatches 5
    .venv/bin/lstm-jax run retuned --learning-rate 7.3e-3 --schedule warmup_stable_decay \
        --schedule.decay-share 0.17 --schedule.final-factor 0.1 --clip-norm 1.1 --chrono-steps 0 \
        --batch-size 128 --microbatches 8

Permuted MNIST of 14 x 14 pixels, 69,000 parameters, one epoch, three seeds: our recipe, then those
of expRNN, HiPPO and LEM, as their public code trains permuted MNIST. Untried.
"""

from lstm_jax import Experiment, Images
from lstm_jax.optim import Cosine

experiment = Experiment(
    task=Images(reading="permuted", pool=2),
    cell="lstm",
    parameters=69_000,
    learning_rate=1e-2,
    seed=(0, 1, 2),
    total_epochs=1,
    batch_size=16,
    microbatches=1,
    kernel_init="orthogonal",
    forget_bias=0.0,
    chrono_steps=196,
    schedule=Cosine(warmup_steps=100),
    clip_norm=1.0,
    log_every=50,
)
