"""Which part of an LSTM matters to a memory: nine variants that add two numbers far apart.

    make experiment NAME=odyssey_adding

Untried to its end here. The variants of Greff et al., "LSTM: A Search Space Odyssey" (2015), at
learning rates drawn at random, on the adding problem of 50 rows; always answering 1 costs 0.167.
"""

from lstm_jax import Adding, Experiment, Search

experiment = Experiment(
    task=Adding(length=50),
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
    hidden_size=32,
    learning_rate=(3e-4, 3e-2),
    seed=(0, 1, 2, 3, 4),
    train_examples=64 * 1_500,
    batch_size=64,
    microbatches=2,
    kernel_init="orthogonal",
    schedule="cosine",
    clip_norm=1.0,
    log_every=50,
)
search = Search(search="random", trials=45)
