"""Language modelling: the next character of Shakespeare's plays.

    make experiment NAME=shakespeare

`lstm-jax predict shakespeare "ROMEO"` continues a text. Untried: the machine of this project has no
network. The data are `tiny_shakespeare` of TensorFlow Datasets, one million characters. Published
for small networks: 1.47 to 1.6 nats per character, 2.12 to 2.31 bits. The recipe is that of
`writing_code`.
"""

from lstm_jax import Experiment, Language
from lstm_jax.optim import Cosine

experiment = Experiment(
    task=Language(dataset="tiny_shakespeare", length=128),
    hidden_size=256,
    dropout=0.2,
    learning_rate=3e-3,
    seed=(0, 1, 2),
    kernel_init="orthogonal",
    schedule=Cosine(warmup_steps=100),
    clip_norm=1.0,
    batch_size=32,
    microbatches=2,
    total_examples=10 * 7_800,
    log_every=50,
)
