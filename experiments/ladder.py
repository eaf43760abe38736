"""The steps from the LSTM to the xLSTM, one by one: cells by blocks, on enwik8's first 10 MB.

    make experiment NAME=ladder
    .venv/bin/python -m benchmarks.equal_terms ladder

Three cells in two layers, bare, in residual blocks with a layer norm, and in wider ones with a
convolution: about 40,000 parameters each, a number that all nine can have. It needs the file that
`enwik8` describes. The second command chooses each one's rate of two on validation, with one seed
(1e-2 for all), and trains it with three others. Single bytes have 5.10. Expect test bits per
character of 2.88 for the sLSTM in residual blocks, the best, and in all:

    cell     bare             residual, norm    wider, convolution
    LSTM     3.507 +- 0.077   2.922 +- 0.051    2.928 +- 0.070
    sLSTM    3.477 +- 0.071   2.879 +- 0.015    2.912 +- 0.022
    mLSTM    3.186 +- 0.027   3.065 +- 0.044    2.983 +- 0.021

Verdict: the residual sum and the norm make nearly all of the way, 0.59 bits for the LSTM. At equal
parameters exponential gates save 0.044 +- 0.036 more (paired); a wider layer and convolution help
the mLSTM alone, by 0.082 +- 0.023. The matrix memory is best bare and last in residual blocks.
About 20 minutes of one CPU core, 110 on the clock of a busy machine.
"""

from lstm_jax import Language
from lstm_jax.config.blocks import Plain, Residual
from lstm_jax.config.equal_terms import equal_terms

experiment = equal_terms(
    task=Language(dataset="data/enwik8-first-10MB.gz", length=128),
    cell=("lstm", "slstm", "mlstm"),
    layers=2,
    block=(
        Plain(),
        Residual(norm="layer"),
        Residual(norm="layer", expand=2.0, conv=4),
    ),
    parameters=40_000,
    total_steps=800,
    batch_size=32,
)
