"""Time scales as one knob: the adding problem by cell, with units opened for ever longer times.

    make experiment NAME=time_scales
    .venv/bin/python -m benchmarks.equal_terms time_scales

`chrono_steps` sets the time scales of a cell's units uniformly from 1 to this number. About 16,000
parameters each, one layer without a block, 500 steps; the trivial score is 0.178. The second
command trains three seeds at the rate that `long_adding` chose. Expect a test squared error of 0.05
+- 0.22 without it and 0.00020 +- 0.00012 with 256 (LSTM; one seed learns nothing without it),
0.0040 +- 0.0016 and 0.0005 +- 0.0010 (minGRU), 0.0009 +- 0.0012 and 0.00022 +- 0.00011 (ParaGRU),
0.00016 +- 0.00008 and 0.00011 +- 0.00007 (GRU), 0.0003 +- 0.0004 and 0.00017 +- 0.00009 (RG-LRU),
0.00028 +- 0.00021 and 0.00007 +- 0.00004 (sLSTM). Verdict: one number closes most of the gap
between the cells. About 12 minutes of CPU time on one core.
"""

from lstm_jax import Adding
from lstm_jax.config.equal_terms import equal_terms

experiment = equal_terms(
    task=Adding(length=200),
    cell=("lstm", "mingru", "gru", "paragru", "slstm", "rglru"),
    chrono_steps=(0, 16, 64, 256, 1024),
    learning_rate=1e-2,
    total_steps=500,
    batch_size=64,
)
