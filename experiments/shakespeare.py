"""The next character of Shakespeare's plays; then it writes on: `predict shakespeare "ROMEO"`.

    make experiment NAME=shakespeare

Untried: no network where this project is measured. The set is TensorFlow Datasets'
`tiny_shakespeare`, one million characters. Published for small networks: 1.47 to 1.6 nats a
character, 2.12 to 2.31 bits. The recipe is that of `writing_code`.
"""

from lstm_jax import Experiment, Language

experiment = Experiment(
    task=Language(dataset="tiny_shakespeare", length=128),
    hidden_size=256,
    dropout=0.2,
    learning_rate=3e-3,
    seed=(0, 1, 2),
    kernel_init="orthogonal",
    schedule="cosine",
    warmup_steps=100,
    clip_norm=1.0,
    batch_size=32,
    microbatches=2,
    total_examples=10 * 7_800,
    log_every=50,
)
