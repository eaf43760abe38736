"""Image captioning: a sentence describes two or three handwritten digits in a scene.

    make experiment NAME=captions

A small grammar generates the scenes and the sentences; the digits are from MNIST. No training scene
has a combination of classes and relations of the test. Expect a test symbol accuracy of 0.9885 +-
0.0008. Greedy decoding writes 0.920 +- 0.005 of the 2,000 test sentences without a mistake (3
seeds: 0.918, 0.921, 0.922, 95 % interval; validation 0.921; BLEU 97). About 17 minutes of CPU time
on one core, which other work shared.

It was 0.80 with an LSTM that read rows of 80,000 scenes. What helped, with one seed on validation:
after 80,000 examples an LSTM of 96 units wrote 0.06 of the sentences, and 0.57 where it read
columns, in which digits beside each other are one after the other. A GRU of 128 units had 0.89
after six epochs of 80,000 scenes; it wrote 0.98 of its training scenes, and 0.92 of new ones with
the same combinations and pictures. Hence five times the scenes, each read twice. What was wrong
there was a digit taken for another one, such as nine for seven or four, and never the form of a
sentence; a beam of 5 did not help (0.893, greedily 0.895). An aim of 0.95 is not reached in this
budget: two epochs read each picture of MNIST some 35 times, in other places, and digits are still
confused.
"""

from lstm_jax import Captions, Experiment
from lstm_jax.optim import Cosine

experiment = Experiment(
    task=Captions(
        dataset="mnist", shrink=2, num_scenes=400_000, reading="columns", target_dropout=0.6
    ),
    cell="gru",
    seed=(1, 2, 3),
    bidirectional=True,
    kernel_init="orthogonal",
    learning_rate=3e-3,
    schedule=Cosine(warmup_steps=200),
    clip_norm=1.0,
    batch_size=64,
    microbatches=2,
    total_epochs=2,
    num_evals=8,
)
