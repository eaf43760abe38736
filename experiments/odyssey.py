"""Which part of an LSTM matters: nine variants, each at learning rates drawn at random.

    make experiment NAME=odyssey

After Greff et al., "LSTM: A Search Space Odyssey" (2015), who found the forget gate and the
output's activation most estimate_memory, and coupling input and forget gate harmless. On rows of MNIST, 45
draws, five rates for each variant, five seeds each; always the commonest digit: 0.11. Expect of the
best setting, noaf, a test accuracy of 0.982 +- 0.002; of the others, each at its best rate on
validation: cifg 0.981 +- 0.001, peephole 0.980 +- 0.001, niaf 0.978 +- 0.001, lstm 0.978 +- 0.001,
nog 0.977 +- 0.002, nig 0.968 +- 0.003, fgr 0.965 +- 0.004, nfg 0.957 +- 0.002. A factor of two in
the rate is worth up to 0.01: 45 other draws had lstm at 0.975 and nfg, at a better rate, at 0.968.
What both sets of draws show, on validation, paired over seeds: without the forget gate 0.020 +-
0.004 below lstm (0.007 +- 0.003 in the other set), without the input gate 0.011 +- 0.003 (0.011 +-
0.005), full gate recurrence 0.011 +- 0.005 (0.005 +- 0.001); without the output's activation 0.005
+- 0.004 ahead (0.005 +- 0.003), coupled gates 0.003 +- 0.002 (0.007 +- 0.004). Verdict: the forget
gate is estimate_memory and coupled gates are harmless, as they say; that the output's activation is estimate_memory
does not show. About 17 minutes on two CPU cores with other work.
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
search = Search(method="random", trials=45)
