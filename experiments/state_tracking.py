"""State tracking by cell: five automata, from parity to products in the group A5.

    make experiment NAME=state_tracking
    .venv/bin/python -m benchmarks.equal_terms state_tracking
    .venv/bin/python -m benchmarks.lengths state_tracking 40 80 160 256

About 15,600 parameters each, one layer without a block; the second command chooses each cell's rate
of two on validation, with one seed, and trains it with three others, a run for each cell and
problem; the third scores them on longer sequences. Expect a test accuracy of 1.00 (tanh RNN, LSTM,
GRU and sLSTM) on parity, arithmetic and S3, also after 256 symbols; on a ring of five places 0.997
+- 0.014, 1.00, 1.00 and 0.97 +- 0.12 after 40 symbols, and 0.97, 0.84, 0.96 and 0.6 after 256.
ParaGRU, whose state is read by one weight a unit, solves parity at all lengths, and has 0.335 +-
0.005 on S3 (a guess 0.19) and 0.196 +- 0.027 on the ring (a guess). IndRNN, with one weight a unit
too but a relu, and minGRU, RG-LRU and LRU, which are linear in their state, guess. On A5, a group
of 60, no cell learns anything in 2,000 steps. Danieli et al. (2025, table 1) print 100 for LSTM and
GRU, 90 for ParaGRU and 57 for Mamba-2 on a walk around a ring, and 40 and 36 for the latter two on
A5. Verdict: to follow a state over the order of symbols a cell has to read its state; one weight a
unit is enough for parity where gates or a tanh read it, and not for a group whose order matters.
About 30 minutes on one shared CPU core.
"""

from lstm_jax import StateTracking
from lstm_jax.config.equal_terms import equal_terms

experiment = equal_terms(
    task=StateTracking(problem=("parity", "cycle", "arithmetic", "s3", "a5"), length=40),
    cell=("rnn", "lstm", "gru", "indrnn", "slstm", "paragru", "mingru", "rglru", "lru"),
    parameters=15_600,
    total_steps=2_000,
    batch_size=64,
)
