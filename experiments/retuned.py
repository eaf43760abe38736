"""One LSTM under four recipes: how much of published progress is tuning.

    make experiment NAME=retuned
    .venv/bin/lstm-jax run retuned --optimizer rmsprop --optimizer.decay 0.99 --learning-rate 7e-4 \
        --schedule constant --clip-norm none --chrono-steps 0 --batch-size 128 --microbatches 8
    .venv/bin/lstm-jax run retuned --learning-rate 1e-3 --schedule constant --clip-norm none \
        --chrono-steps 0 --batch-size 100 --microbatches 5
    .venv/bin/lstm-jax run retuned --learning-rate 7.3e-3 --schedule warmup_stable_decay \
        --schedule.decay-share 0.17 --schedule.final-factor 0.1 --clip-norm 1.1 --chrono-steps 0 \
        --batch-size 128 --microbatches 8
    .venv/bin/lstm-jax compare retuned/4aa5 retuned/2110 retuned/be85 retuned/de12

Permuted MNIST of 14 x 14 pixels, 69,000 parameters, one epoch, three seeds. The first command is
ours; its rate and its chrono steps are the best of four settings on validation, with another seed.
The others are the recipes of expRNN, HiPPO and LEM, as their public code trains permuted MNIST. The
most frequent digit has 0.114. Expect a test accuracy of 0.847 +- 0.025 (ours), 0.746 +- 0.024
(LEM), 0.658 +- 0.058 (HiPPO) and 0.625 +- 0.059 (expRNN). With batches of 128 ours has 0.756 +-
0.037, with batches of 16 that of expRNN has 0.724 +- 0.020. Published, of all 784 pixels after many
epochs: 0.795 to 0.951 ("LSTM 81.9 to 98.9" where the pixels are in order). Verdict: in one epoch
the recipe alone makes 22 points, about half of them by small batches, so by more steps; whether
they stay after many epochs is not known: after four that of expRNN has 0.801 +- 0.032, ours
0.929 +- 0.005. About 6 minutes of one CPU core for all four.
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
