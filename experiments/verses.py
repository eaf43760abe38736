"""x"""

from lstm_jax import Experiment, Translation

experiment = Experiment(
    task=Translation(
        dataset="data/verses.en-es.tsv",
        lowercase=True,
        max_words=20,
        max_vocabulary=3_000,
        attention=("luong", "none"),
        label_smoothing=0.1,
        word_dropout=0.1,
        validation="17176-17397,21574-21930,30096-30203,30370-30501",
        test="7024-7108,12583-12749,22367-22413,25876-26754",
    ),
    seed=(0, 1, 2),
    bidirectional=True,
    kernel_init="orthogonal",
    dropout=0.3,
    learning_rate=3e-3,
    schedule="cosine",
    warmup_steps=100,
    clip_norm=1.0,
    batch_size=64,
    microbatches=4,
    train_examples=10 * 10_800,
)
