"""Which part of an LSTM matters: nine variants, each at learning rates drawn at random.

    make experiment NAME=odyssey

Untried to its end here. After Greff et al., "LSTM: A Search Space Odyssey" (2015), who found the
forget gate and the output's activation most needed, and coupling input and forget gate harmless;
on rows of MNIST, so easy a task that the claim may not show. Always the commonest digit: 0.11.
"""

from lstm_jax import Experiment, Search

experiment = Experiment(
    cell=(
        "lstm",
        "lstm_nig",
        "lstm_nfg",
        "lstm_nog",
        "lstm_niaf",
        "lstm_noaf",
        "lstm_cifg",
        "lstm_peephole",
        "lstm_fgr",
    ),
    hidden_size=64,
    kernel_init="orthogonal",
    learning_rate=(1e-4, 3e-2),
    schedule="cosine",
    seed=(0, 1, 2, 3, 4),
)
search = Search(search="random", trials=45)
