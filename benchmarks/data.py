"""Writes the batches that all peers share, in the order in which lstm_jax itself takes them.

`python -m benchmarks.data FOLDER`: real MNIST, or where there is none random pictures, named so.
"""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import numpy as np

from benchmarks.task import NUM_BATCHES, Case
from lstm_jax.data.dataset import Arrays
from lstm_jax.data.images import load_images
from lstm_jax.errors import EnvironmentProblem
from lstm_jax.train.batches import epoch_order, streams


def training_data() -> tuple[str, Arrays]:
    """Returns the name and the training split of MNIST, or of synthetic data of the same shape."""
    try:
        return "mnist", load_images("mnist", lambda line: print(line, file=sys.stderr)).train
    except EnvironmentProblem as error:
        print(f"{error}\nsynthetic pictures instead: speeds hold, losses mean nothing",
              file=sys.stderr)  # fmt: skip
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, size=20_000, dtype=np.int32)
    stroke = rng.random((10, 28, 28)) < 0.2  # one picture a class, and noise
    pictures = stroke[labels] * rng.integers(0, 256, size=(20_000, 28, 28))
    return "synthetic", {"images": pictures.astype(np.uint8), "labels": labels}


def write(folder: Path, source: str, split: Arrays) -> None:
    """Writes the split to `whole.npz`, and its first batches in the order of seed 0 to
    `batches.npz`.
    """
    order = epoch_order(streams(jax.numpy.uint32(0))["order"], 0, len(split["labels"]))
    first = np.asarray(order)[: NUM_BATCHES * Case().batch_size]
    images, labels = split["images"], split["labels"]
    np.savez(folder / "whole.npz", images=images, labels=labels)
    np.savez(folder / "batches.npz", images=images[first], labels=labels[first])
    (folder / "source").write_text(source)


if __name__ == "__main__":
    write(Path(sys.argv[1]), *training_data())
