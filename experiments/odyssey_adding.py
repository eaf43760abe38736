"""Which part of an LSTM matters for memory: nine variants on the adding problem.

    make experiment NAME=odyssey_adding

The variants of Greff et al., "LSTM: A Search Space Odyssey" (2015), at random learning rates, on
the adding problem of 50 time steps; the constant answer 1 has an error of 0.167. 45 draws, five
rates for each variant, five seeds each. Expect of the best setting, cifg, a test squared error of
0.00002 +- 0.00001. The others, each at its best rate on validation: peephole 0.00005 +- 0.00002,
lstm 0.00007 +- 0.00002, nog, niaf, noaf, fgr and nfg 0.0001, nig 0.0028 +- 0.0005. All 25 members
of each variant solve the task (an error below 0.01), except for nfg, of which 19 do, and nig, of
which 15 do (19 and 18 in a second set of 45 draws). Verdict: every variant solves the task at its
best rate. Without the input gate the error is forty times as large. Without the forget gate more
rates fail, so this gate matters, as the paper says. A need for the output activation does not show,
and coupled gates do no harm, as the paper says. About 11 minutes on two CPU cores.
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
    total_steps=1_500,
    batch_size=64,
    microbatches=2,
    kernel_init="orthogonal",
    schedule="cosine",
    clip_norm=1.0,
    log_every=50,
)
search = Search(method="random", trials=45)
