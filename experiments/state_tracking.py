"""State tracking by cell: parity of bits, and products in the group S3, after 40 symbols.

    make experiment NAME=state_tracking
    .venv/bin/python -m benchmarks.equal_terms state_tracking
    .venv/bin/lstm-jax score state_tracking/1318 --task.length 40 80 160 256

About 16,000 parameters each, one layer without a block; the second command chooses each cell's rate
of two on validation, with one seed, and trains it with three others, a run for each cell and
problem; the third scores one of them on longer sequences. Expect a test accuracy of 1.00 (tanh RNN,
LSTM, GRU and sLSTM, on both problems), and no less after 256 symbols (0.999 to 1.0, every seed, at
a rate of 3e-3). ParaGRU, whose state is read by one weight a unit, solves parity at all lengths,
and not S3 (0.328 +- 0.008; a guess 0.19). IndRNN, with one weight a unit too but a relu, solves
neither (0.491 +- 0.016 and 0.169 +- 0.015), and so do minGRU (0.51 and 0.18), RG-LRU (0.49 and
0.16) and LRU (0.46 and 0.16), which are linear in their state: guesses. Danieli et al. (2025, table
1) print 100 for LSTM and GRU, 90 for ParaGRU and 57 for Mamba-2 on a walk around a ring, and 40 and
36 for the latter two on A5. Verdict: to follow a state over the order of symbols a cell has to read
its state; one weight a unit is enough for parity where gates or a tanh read it, and not for a group
whose order matters. About 11 minutes on one shared CPU core.
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
