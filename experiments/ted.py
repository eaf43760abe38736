"""Translation of talks from Portuguese into English: 52,000 sentences of TensorFlow Datasets.

    make experiment NAME=ted

Untried: the machine of this project has no network. A copy of the source has a BLEU of about 1;
recurrent networks with attention and far larger budgets have 25 to 35. The recipe is that of
`verses`.
"""

from lstm_jax import Experiment, Translation
from lstm_jax.optim import Cosine

experiment = Experiment(
    task=Translation(
        dataset="ted_hrlr_translate/pt_to_en",
        lowercase=True,
        max_words=20,
        max_vocabulary=8_000,
        attention=("luong", "none"),
        label_smoothing=0.1,
        word_dropout=0.1,
    ),
    seed=(0, 1, 2),
    bidirectional=True,
    kernel_init="orthogonal",
    dropout=0.3,
    learning_rate=3e-3,
    schedule=Cosine(warmup_steps=200),
    clip_norm=1.0,
    batch_size=64,
    microbatches=4,
    total_examples=10 * 35_000,
)
