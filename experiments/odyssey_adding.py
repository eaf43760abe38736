"""Which part of an LSTM matters to a memory: nine variants that add two numbers far apart.

    make experiment NAME=odyssey_adding

The variants of Greff et al., "LSTM: A Search Space Odyssey" (2015), at learning rates drawn at
random, on the adding problem of 50 rows; always answering 1 costs 0.167. 45 draws, five seeds each:
every variant solves it at its best rate, and their claim that the forget gate and the output's
activation matter most does not show. Coupled gates are harmless here too. Expect of the best, cifg,
a test squared error of 0.00002 +- 0.00001; of nfg 23 of 25 members solve it, of fgr 39 of 40, of
nig 9 of 10 (0.0066 +- 0.0019), of the others all. The draws spread unevenly, from 2 (nog, nig) to 8
a variant. About 35 minutes on two CPU cores with other work.
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
