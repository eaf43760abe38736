"""Which part of an LSTM matters to a memory: nine variants that add two numbers far apart.

    make experiment NAME=odyssey_adding

The variants of Greff et al., "LSTM: A Search Space Odyssey" (2015), at learning rates drawn at
random, on the adding problem of 50 rows; always answering 1 costs 0.167. 45 draws, five rates for
each variant, five seeds each. Expect of the best setting, cifg, a test squared error of 0.00002 +-
0.00001; of the others, each at its best rate on validation: peephole 0.00005 +- 0.00002, lstm
0.00007 +- 0.00002, nog, niaf, noaf, fgr and nfg 0.0001, nig 0.0028 +- 0.0005. Below 0.01, that is
solved, are all 25 members of each variant but nfg, of which 19 are, and nig, of which 15 are (19
and 18 with 45 other draws). Verdict: every variant solves it at its best rate. Without the input
gate it is forty times as wrong; without the forget gate it fails at more of the rates, so this
gate matters, as they say. That the output's activation matters does not show, and coupled gates are
harmless, as they say. About 11 minutes on two CPU cores.
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
    total_examples=64 * 1_500,
    batch_size=64,
    microbatches=2,
    kernel_init="orthogonal",
    schedule="cosine",
    clip_norm=1.0,
    log_every=50,
)
search = Search(method="random", trials=45)
