"""Writes the batches that all peers share, in the order in which lstm_jax itself takes them.

`python -m benchmarks.data FOLDER`: real MNIST, or where there is none random pictures, named so.
"""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import numpy as np

from benchmarks.task import NUM_BATCHES, Case
from lstm_jax.data.load import Split, epoch_order, load
from lstm_jax.errors import SurroundingsError
from lstm_jax.train.step import streams


def training_data() -> tuple[str, Split]:
    """The training split of MNIST, or of the same shape a synthetic one."""
    try:
        return "mnist", load("mnist", lambda line: print(line, file=sys.stderr)).train
    except SurroundingsError as error:
        print(f"{error}\nsynthetic pictures instead: speeds hold, losses mean nothing",
              file=sys.stderr)  # fmt: skip
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, size=20_000, dtype=np.int32)
    stroke = rng.random((10, 28, 28)) < 0.2  # one picture a class, and noise
    pictures = stroke[labels] * rng.integers(0, 256, size=(20_000, 28, 28))
    return "synthetic", Split(pictures.astype(np.uint8), labels)


def main(folder: Path) -> None:
    """`whole.npz`, and for the peers `batches.npz`: its first batches in seed 0's order."""
    source, split = training_data()
    order = epoch_order(streams(jax.numpy.uint32(0))["order"], 0, len(split.labels))
    first = np.asarray(order)[: NUM_BATCHES * Case().batch_size]
    np.savez(folder / "whole.npz", **split._asdict())
    np.savez(folder / "batches.npz", images=split.images[first], labels=split.labels[first])
    (folder / "source").write_text(source)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
